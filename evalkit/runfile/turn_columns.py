"""The finished turns of a run file as the columns of ``Run.turns`` and of exports, a group of rows at a time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from evalkit.datasets.content_parts import shown
from evalkit.runfile import json_checks
from evalkit.runfile.schema import JOIN_CORRECTED, JOIN_SCORE, ROW
from evalkit.scorers.json_equality import is_deep_text, is_deeper
from evalkit.scorers.reading.think_block import split

# the outcome of a turn in one word; text of white space alone is not an answer
BLANKS = "char(9, 10, 13, 32)"
_TEXT = f"trim(coalesce({{}}, ''), {BLANKS})"
OUTCOME = f"""CASE WHEN t.status = 'error' THEN 'failed' WHEN {_TEXT.format("t.refusal")} <> '' THEN 'refused'
      WHEN {_TEXT.format("t.answer")} <> '' THEN 'answered' WHEN t.tool_calls NOT NULL THEN 'tool_calls'
      WHEN {_TEXT.format("t.reasoning")} <> '' THEN 'reasoning_only' ELSE 'empty' END"""

ROWS_PER_GROUP = 1024  # few enough to stay in the processor's cache until they are in their columns

# column: kind, SQL; without SQL it is read from the row of the dataset
_COLUMNS: dict[str, tuple[str, str | None]] = {
    "conversation": ("text", "c.id"),
    "repeat": ("index", "t.repeat"),
    "turn": ("index", "t.turn"),
    "status": ("text", "t.status"),
    "answer": ("text", "t.answer"),
    "tool_calls": ("json", "t.tool_calls"),
    "finish_reason": ("text", "t.finish_reason"),
    "error_kind": ("text", "t.error_kind"),
    "error_message": ("text", "t.error_message"),
    "http_status": ("count", "t.http_status"),
    "attempts": ("count", "t.attempts"),
    "ttft_ms": ("number", "t.ttft_ns / 1e6"),
    "latency_ms": ("number", "t.latency_ns / 1e6"),
    "tpot_ms": ("number", "t.tpot_ns / 1e6"),
    "prompt_tokens": ("count", "t.prompt_tokens"),
    "output_tokens": ("count", "t.output_tokens"),
    "token_source": ("text", "t.token_source"),
    "score": ("number", "s.value"),
    "scorer": ("text", "s.scorer"),
    "extracted": ("json", "s.extracted"),
    "tags": ("tags", "coalesce(c.tags, '[]')"),
    "group": ("text", "c.cluster"),
    "outcome": ("text", OUTCOME),
    "refusal": ("text", "t.refusal"),
    "reasoning": ("text", "t.reasoning"),
    "reasoning_tokens": ("count", "t.reasoning_tokens"),
    "cached_tokens": ("count", "t.cached_tokens"),
    "cache_write_tokens": ("count", "t.cache_write_tokens"),
    "logprobs": ("json", "t.logprobs"),
    "question": ("text", None),
    "target": ("value", None),
    "reason": ("text", "s.reason"),
    "model": ("text", "(SELECT json_extract(endpoint, '$.model') FROM run)"),
}
KINDS = {name: kind for name, (kind, _) in _COLUMNS.items()}
TURNS = f"""
    SELECT {", ".join(sql for _, sql in _COLUMNS.values() if sql is not None)}, t.conversation
    FROM turn t JOIN conversation c ON c.position = t.conversation
      {JOIN_SCORE}
    ORDER BY t.conversation, t.repeat, t.turn"""  # noqa: S608 - names of our own columns


_STORED = [name for name, (_, sql) in _COLUMNS.items() if sql is not None]
_DATASET_ROWS = f"SELECT c.position, {ROW} FROM conversation c {JOIN_CORRECTED} ORDER BY c.position"  # noqa: S608


def columns(connection: sqlite3.Connection) -> Iterator[dict[str, tuple[Any, ...]]]:
    """All finished turns in the order of the dataset, in groups.

    Yields
    ------
    dict
        Columns by their names, in the order of ``KINDS``. Of the kind ``json`` JSON as text, of ``value`` any JSON
        value; missing values None.
    """
    dataset_rows = connection.execute(_DATASET_ROWS)
    at: int = -1
    dataset_turns: Sequence[Mapping[str, Any]] = ()
    cursor = connection.execute(TURNS)
    while rows := cursor.fetchmany(ROWS_PER_GROUP):
        *stored, positions = zip(*rows, strict=True)
        found = dict(zip(_STORED, stored, strict=True))
        questions, targets = [], []
        for position, turn in zip(positions, found["turn"], strict=True):
            while at < position:
                at, row = next(dataset_rows)
                dataset_turns = orjson.loads(row)["turns"] if at == position else ()
            user, target = dataset_turns[turn - 1]["user"], dataset_turns[turn - 1].get("target")
            questions.append(user if type(user) is str else shown(user))
            targets.append(_as_text_if_deep(target) if type(target) in (dict, list) else target)
        found |= {"question": tuple(questions), "target": tuple(targets)}
        yield {name: found[name] for name in KINDS}


def _as_text_if_deep(value: Any) -> Any:
    return json.dumps(value) if is_deeper(value) else value


def groups(connection: sqlite3.Connection) -> Iterator[Iterator[tuple[Any, ...]]]:
    """The same groups, each as rows of ``KINDS``."""
    for group in columns(connection):
        yield zip(*group.values(), strict=True)


def model_texts(outcome: str, answer: str | None, refusal: str | None, reasoning: str | None) -> list[tuple[str, str]]:
    """The texts of the model that a view shows, each with its kind: ``answer``, ``refusal`` or ``reasoning``.

    Parameters
    ----------
    outcome : str
        The value of ``OUTCOME``. Of a ``failed`` turn the part received is shown, if any.
    answer, refusal, reasoning : str or None
        As stored in the run file. Reasoning comes first, and so does that which is in the text of the answer.
    """
    text, in_text = split(answer or "")
    thoughts = [("reasoning", thought) for thought in (reasoning, in_text) if thought and thought.strip()]
    if len(thoughts) == 2:
        thoughts = [("reasoning", f"{reasoning}\n\n{in_text}")]
    if outcome in ("answered", "tool_calls", "empty"):
        return [*thoughts, ("answer", text.lstrip() if in_text else text)]
    texts = {"answer": text, "refusal": refusal}
    return [*thoughts, *((name, text) for name, text in texts.items() if text and text.strip())]


def json_value(text: str | None) -> Any:
    """The value of a JSON text in a run file; None: there is none. The text itself if it is nested too deeply."""
    return text if text is None or is_deep_text(text) else json_checks.read(text)
