"""The finished turns of a run file as the columns of ``Run.turns`` and of exports, a group of rows at a time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import orjson

from evalkit.runfile.schema import JOIN_SCORE
from evalkit.scorers.json_equality import is_deep_text

# the outcome of a turn in one word; text of white space alone is not an answer
_TEXT = "trim(coalesce({}, ''), char(9, 10, 13, 32))"
OUTCOME = f"""CASE WHEN t.status = 'error' THEN 'failed' WHEN {_TEXT.format("t.refusal")} <> '' THEN 'refused'
      WHEN {_TEXT.format("t.answer")} <> '' THEN 'answered' WHEN t.tool_calls NOT NULL THEN 'tool_calls'
      WHEN {_TEXT.format("t.reasoning")} <> '' THEN 'reasoning_only' ELSE 'empty' END"""

ROWS_PER_GROUP = 1024  # few enough to stay in the processor's cache until they are in their columns

# column: kind, SQL
_COLUMNS = {
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
}
KINDS = {name: kind for name, (kind, _) in _COLUMNS.items()}
TURNS = f"""
    SELECT {", ".join(sql for _, sql in _COLUMNS.values())}
    FROM turn t JOIN conversation c ON c.position = t.conversation
      {JOIN_SCORE}
    ORDER BY t.conversation, t.repeat, t.turn"""  # noqa: S608 - names of our own columns


def groups(connection: sqlite3.Connection) -> Iterator[list[tuple[Any, ...]]]:
    """All finished turns in the order of the dataset: rows of ``KINDS``, JSON values as text, missing values None."""
    cursor = connection.execute(TURNS)
    while rows := cursor.fetchmany(ROWS_PER_GROUP):
        yield rows


def columns(connection: sqlite3.Connection) -> Iterator[dict[str, tuple[Any, ...]]]:
    """The same groups, each as columns."""
    for rows in groups(connection):
        yield dict(zip(KINDS, zip(*rows, strict=True), strict=True))


def model_texts(outcome: str, answer: str | None, refusal: str | None, reasoning: str | None) -> list[tuple[str, str]]:
    """The texts of the model that a view shows, each with its kind: ``answer``, ``refusal`` or ``reasoning``.

    Parameters
    ----------
    outcome : str
        The value of ``OUTCOME``. Of a ``failed`` turn the part received is shown, if any.
    answer, refusal, reasoning : str or None
        As stored in the run file. Reasoning is shown only if there is no other text.
    """
    if outcome in ("answered", "tool_calls", "empty"):
        return [("answer", answer or "")]
    texts = {"answer": answer, "refusal": refusal, "reasoning": reasoning}
    present = [(name, text) for name, text in texts.items() if text and text.strip()]
    return [part for part in present if part[0] != "reasoning"] or present


def json_value(text: str | None) -> Any:
    """The value of a JSON text in a run file; None: there is none. The text itself if it is nested too deeply."""
    if text is None or is_deep_text(text):
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)  # accepts Infinity and NaN too, which a scorer may have extracted
