"""The turns of a run as a report stores them: columns of plain values, limited in number and length."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from evalkit.client.request_as_code import KEY_VARIABLE, ReachedBy
from evalkit.conversation import Message, with_names
from evalkit.datasets import content_parts
from evalkit.inputs.addresses import route_of
from evalkit.runfile import store
from evalkit.runfile.finished_turn import stored_record
from evalkit.runfile.schema import JOIN_CORRECTED, JOIN_SCORE, ROW
from evalkit.runfile.turn_columns import OUTCOME, json_value, model_texts

MOST_TURNS = 50_000
MOST_CHARACTERS = 48_000_000  # in all texts together
LONGEST_TEXT = 20_000  # characters
LONGEST_PART = 2_000_000  # characters of an image or another part
_FAILED_SHARE = 4  # one part in 4 of a sample is reserved for conversations with a failed turn

_TURNS = f"""
    SELECT t.conversation, t.repeat, t.turn, t.status, t.answer, t.refusal, t.reasoning, t.tool_calls, t.exchange,
      t.error_kind, t.error_message, t.attempts, t.ttft_ns, t.latency_ns, t.tpot_ns, t.prompt_tokens, t.output_tokens,
      s.value, s.scorer, s.reason, s.extracted, {OUTCOME}, c.id, {ROW}
    FROM turn t JOIN conversation c ON c.position = t.conversation {JOIN_SCORE} {JOIN_CORRECTED}
    WHERE t.conversation = ? ORDER BY t.conversation, t.repeat, t.turn"""  # noqa: S608 - SQL of our own
_COUNTS = """
    SELECT conversation, count(*), max(error_kind NOT NULL) FROM turn GROUP BY conversation ORDER BY conversation"""
# characters
_LENGTH = f"""
    SELECT length(c.row) + total(min(coalesce(length(t.answer), 0), {LONGEST_TEXT})
      + min(coalesce(length(t.refusal), 0), {LONGEST_TEXT})
      + min(coalesce(length(t.reasoning), 0), {LONGEST_TEXT})
      + 2 * coalesce(length(t.tool_calls), 0) + coalesce(length(t.exchange), 0) + coalesce(length(s.reason), 0))
    FROM conversation c JOIN turn t ON t.conversation = c.position {JOIN_SCORE} WHERE c.position = ?"""  # noqa: S608 - SQL of our own
_COLUMNS = (
    "conversation", "repeat", "turn", "status", "user", "answer", "cut", "golden", "later", "target", "calls",
    "error", "attempts", "ttft", "latency", "tpot", "prompt_tokens", "output_tokens", "score",
    "scorer", "reason", "extracted", "outcome", "refusal", "reasoning", "parts",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Transcripts:
    """Turns of a run, or a sample of them.

    Parameters
    ----------
    data : dict
        ``conversations`` and ``turns``, each a dict of columns, and what all requests have in common. The ``status``
        of a turn is one letter: right, partly right, wrong, error, unscored; ``answer``, ``refusal`` and ``reasoning``
        are what is shown of the model's output; ``later`` are the messages of the turn that later turns saw, if these
        are more than its answer; ``parts`` are those of the user message, if it is more than text. Times in ms; missing
        values are None.
    turns, total : int
        Turns in ``data``, and turns of the run.
    """

    data: dict[str, Any]
    turns: int
    total: int


def transcripts(connection: sqlite3.Connection, *, most_turns: int = MOST_TURNS, seed: int = 0) -> Transcripts:
    """Read the turns of a run, or a sample of whole conversations if there are too many.

    The sample is random and seeded; up to a quarter of its turns is reserved for conversations with a failed turn. Its
    texts have at most ``MOST_CHARACTERS`` in total.

    Parameters
    ----------
    connection : sqlite3.Connection
        A run file opened for reading.
    most_turns : int
    seed : int
    """
    info = store.run_info(connection)
    history = info["settings"].get("history", "own")
    columns = _Columns(own=history == "own")
    total = int(connection.execute("SELECT count(*) FROM turn").fetchone()[0])
    for position in _chosen(connection, total, most_turns, seed):
        columns.add(connection.execute(_TURNS, (position,)).fetchall())
    endpoint = info["endpoint"]
    data = {
        "endpoint": {
            **{name: endpoint.get(name) for name in ("base_url", "model", "params")},
            "url": route_of(endpoint.get("base_url") or ""),
            "curl_lines": ReachedBy.for_report(endpoint).curl_lines(),
            "key_env": KEY_VARIABLE if endpoint.get("key_env") else None,
        },
        "history": history,
        "stream": info["settings"].get("stream", True),
        "seed": info["settings"].get("seed"),
        "conversations": columns.conversations,
        "turns": columns.turns,
    }
    return Transcripts(data, len(columns.turns["turn"]), total)


def _chosen(connection: sqlite3.Connection, total: int, most_turns: int, seed: int) -> list[int]:
    """Return the positions of the conversations to show, in order: a random sample if there are too many."""
    positions, sizes, failed = array("q"), array("q"), array("b")
    for position, size, has_failed in connection.execute(_COUNTS):
        positions.append(position)
        sizes.append(size)
        failed.append(has_failed)
    order = np.random.default_rng(seed).permutation(len(positions)).tolist()
    if total > most_turns:
        first = set(_fitting([place for place in order if failed[place]], sizes, most_turns // _FAILED_SHARE))
        left = most_turns - sum(sizes[place] for place in first)
        rest = set(_fitting([place for place in order if place not in first], sizes, left))
        order = [place for place in order if place in first or place in rest]
    lengths = {place: connection.execute(_LENGTH, (positions[place],)).fetchone()[0] for place in order}
    return sorted(positions[place] for place in _fitting(order, lengths, MOST_CHARACTERS))


def _fitting(order: Iterable[int], sizes: Mapping[int, int] | Sequence[int], most: int) -> Iterator[int]:
    """Yield places in this order as long as they fit; one that is too large is skipped."""
    for place in order:
        if sizes[place] <= most:
            most -= sizes[place]
            yield place


class _Columns:
    """Collects the columns of turns and conversations."""

    def __init__(self, *, own: bool) -> None:
        self._own = own  # later turns saw the model's own answers
        self.turns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        self.conversations: dict[str, list[Any]] = {
            name: [] for name in ("id", "tags", "system", "context", "tools", "params")
        }

    def add(self, rows: list[tuple[Any, ...]]) -> None:
        """Add the turns of one conversation."""
        if not rows:
            return
        dataset_row = orjson.loads(rows[0][-1])
        conversations = self.conversations
        place = len(conversations["id"])
        conversations["id"].append(rows[0][-2])
        conversations["tags"].append(dataset_row.get("tags", []))
        for name in ("system", "tools", "params"):
            conversations[name].append(dataset_row.get(name))
        conversations["context"].append(_context(dataset_row.get("context", ())) or None)
        for row in rows:
            values = _turn(place, row, dataset_row["turns"][row[2] - 1])
            if self._own and values["status"] != "e":
                values["later"] = _later(row, values["answer"])
            for name, column in self.turns.items():
                column.append(values[name])


def _turn(place: int, row: tuple[Any, ...], dataset_turn: Mapping[str, Any]) -> dict[str, Any]:
    (
        _, repeat, turn, status, answer, refusal, reasoning, calls, _, kind, message, attempts, ttft, latency,
        tpot, prompt, output_tokens, value, scorer, reason, extracted, outcome, _, _,
    ) = row  # fmt: skip
    output = dict(model_texts(outcome, answer, refusal, reasoning))
    texts = {name: output.get(name) for name in ("answer", "refusal", "reasoning")}
    shown = {name: None if text is None else text[:LONGEST_TEXT] for name, text in texts.items()}
    return {
        "conversation": place,
        "repeat": repeat,
        "turn": turn,
        "status": _letter(status, value),
        "user": content_parts.shown(dataset_turn["user"]),
        "parts": _parts(dataset_turn["user"]),
        **shown,
        "outcome": outcome,
        "cut": sum(max(len(text) - LONGEST_TEXT, 0) for text in output.values()),
        "golden": dataset_turn.get("assistant"),
        "target": dataset_turn.get("target"),
        "calls": json_value(calls),
        "later": None,
        "error": None if kind is None else f"{kind}: {message}",
        "attempts": attempts,
        "ttft": _ms(ttft),
        "latency": _ms(latency),
        "tpot": _ms(tpot),
        "prompt_tokens": prompt,
        "output_tokens": output_tokens,
        "score": value,
        "scorer": scorer,
        "reason": reason,
        "extracted": json_value(extracted),
    }


def _context(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The messages before the first turn as they were sent: results have the names of their functions."""
    sent = with_names([Message.from_json(message) for message in messages])
    return [_context_message(message.to_json()) for message in sent]


def _context_message(message: Mapping[str, Any]) -> Mapping[str, Any]:
    parts = _parts(message.get("content"))
    return message if parts is None else {**message, "content": None, "parts": parts}


def _parts(content: Any) -> list[dict[str, Any]] | None:
    """The parts of a message, each as it is sent and as it is shown; None: it is text.

    ``sent`` is None if it is too long for a report, and names a ``file`` that is not in the run file.
    """
    if not isinstance(content, list):
        return None
    parts = []
    for part in content:
        fits = content_parts.text_length(part) <= LONGEST_PART
        sent = {key: value for key, value in part.items() if key != content_parts.FROM_FILE} if fits else None
        file = content_parts.file_name(part) if content_parts.FROM_FILE in part else None
        parts.append({"sent": sent, "shown": content_parts.note(part), "file": file})
    return parts


def _later(row: tuple[Any, ...], shown: str | None) -> list[dict[str, Any]] | bool | None:
    """Return the messages of this turn that later turns saw; None: its answer as shown; False: too long to store."""
    _, repeat, turn, _, answer, refusal, _, calls, exchange, *_ = row
    messages = stored_record("", repeat, turn, answer, refusal, calls, exchange).seen_later
    if any(len(message.content or "") > LONGEST_TEXT for message in messages):
        return False
    sent = [message.to_json() for message in messages]
    return None if sent == [{"role": "assistant", "content": shown}] else sent


def _letter(status: str, value: float | None) -> str:
    if status == "error":
        return "e"
    if value is None:
        return "u"
    return "r" if value >= 1 else "w" if value <= 0 else "p"


def _ms(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else round(nanoseconds / 1e6, 1)
