"""The transcripts of a run, read from its file one at a time: terminal, report, widget and JUnit file show these."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import orjson

from evalkit.conversation import FUNCTION
from evalkit.datasets.content_parts import shown
from evalkit.runfile.schema import JOIN_CORRECTED, JOIN_SCORE, ROW
from evalkit.runfile.turn_columns import OUTCOME, json_value, model_texts

TOKENS = ("prompt_tokens", "output_tokens", "reasoning_tokens", "cached_tokens", "cache_write_tokens")
_ROWS = f"""
    SELECT t.conversation, t.repeat, c.id, {ROW},
      t.turn, t.finish_reason, t.attempts, {OUTCOME}, t.answer, t.refusal, t.reasoning, t.tool_calls, t.exchange,
      t.error_kind, t.error_message, t.ttft_ns, t.latency_ns, t.tpot_ns, coalesce(t.latency_ns, t.end_ns - t.sent_ns),
      s.value, s.scorer, s.reason, s.extracted, {", ".join(f"t.{name}" for name in TOKENS)}
    FROM turn t JOIN conversation c ON c.position = t.conversation
      {JOIN_SCORE} {JOIN_CORRECTED}
    {{}} ORDER BY t.conversation, t.repeat, t.turn"""  # noqa: S608 - SQL of our own


class AnsweredCall(NamedTuple):
    """A function call of the model, its arguments as they came, and what was returned; None: it ended the turn."""

    name: str
    arguments: str
    result: str | None


@dataclass(frozen=True, slots=True)
class TranscriptTurn:
    """One finished turn of a transcript, as it is stored.

    Parameters
    ----------
    asked : mapping
        The turn of the dataset, with the target and the golden answer that count.
    tokens : mapping
        The counts of ``TOKENS``; unknown ones are None.
    turn : int
    finish_reason : str or None
    attempts : int
        0: it was never sent.
    outcome : str
        ``answered``, ``refused``, ``tool_calls``, ``reasoning_only``, ``empty`` or ``failed``.
    answer, refusal, reasoning : str or None
    tool_calls_json, exchange_json, extracted_json : str or None
        JSON text: the calls of all tool rounds, the messages of these rounds, and what the scorer extracted.
    error_kind, error_message : str or None
        None: the turn did not fail.
    ttft_ns, latency_ns, tpot_ns : float or None
    took_ns : int or None
        Its latency; of a failed turn, the duration of its last attempt. None: no request was sent.
    score : float or None
    scorer, reason : str or None
    """

    asked: Mapping[str, Any]
    tokens: Mapping[str, int | None]
    turn: int
    finish_reason: str | None
    attempts: int
    outcome: str
    answer: str | None
    refusal: str | None
    reasoning: str | None
    tool_calls_json: str | None
    exchange_json: str | None
    error_kind: str | None
    error_message: str | None
    ttft_ns: float | None
    latency_ns: float | None
    tpot_ns: float | None
    took_ns: int | None
    score: float | None
    scorer: str | None
    reason: str | None
    extracted_json: str | None

    @property
    def user(self) -> str:
        """The user message as text."""
        return shown(self.asked["user"])

    @property
    def target(self) -> Any:
        """Any JSON value; None: the turn is not scored."""
        return self.asked.get("target")

    @property
    def texts(self) -> list[tuple[str, str]]:
        """The model's texts, as ``turn_columns.model_texts`` returns them."""
        return model_texts(self.outcome, self.answer, self.refusal, self.reasoning)

    @property
    def tool_calls(self) -> Any:
        """The calls of all tool rounds, a list, or None."""
        return json_value(self.tool_calls_json)

    @property
    def extracted(self) -> Any:
        """What the scorer extracted from the answer: any JSON value, or None."""
        return json_value(self.extracted_json)

    @property
    def error(self) -> str | None:
        """Kind and message of a failure."""
        return None if self.error_kind is None else f"{self.error_kind}: {self.error_message}"

    @property
    def took_s(self) -> float | None:
        """``took_ns`` in seconds."""
        return None if self.took_ns is None else self.took_ns / 1e9

    @property
    def verdict(self) -> str:
        """``error``, ``unscored``, ``wrong`` (the score is below 1) or ``right``."""
        if self.error_kind is not None:
            return "error"
        if self.score is None:
            return "unscored"
        return "wrong" if self.score < 1 else "right"

    @property
    def cut_off(self) -> bool:
        """Whether the answer ended at a limit: finish reason ``length``."""
        return self.error_kind is None and self.finish_reason == "length"

    def answered_calls(self) -> list[AnsweredCall]:
        """All calls of the turn, in order, with their results."""
        calls = [call[FUNCTION] for call in self.tool_calls or ()]
        results = list(_results(orjson.loads(self.exchange_json))) if self.exchange_json else []
        results += [None] * (len(calls) - len(results))
        return [
            AnsweredCall(str(call["name"]), str(call["arguments"]), result)
            for call, result in zip(calls, results, strict=False)
        ]


@dataclass(frozen=True, slots=True)
class Transcript:
    """The finished turns of one conversation in one repeat, in order.

    Parameters
    ----------
    conversation : str
        Its id.
    repeat : int
        Counted from 1.
    turns : tuple of TranscriptTurn
    row : mapping
        Its row of the dataset, with the targets that count.
    """

    conversation: str
    repeat: int
    turns: tuple[TranscriptTurn, ...]
    row: Mapping[str, Any]


def transcripts(connection: sqlite3.Connection) -> Iterator[Transcript]:
    """Every conversation with a finished turn, in the order of the dataset; one at a time is in memory."""
    return _read(connection.execute(_ROWS.format("")))


def transcripts_at(connection: sqlite3.Connection, position: int) -> Iterator[Transcript]:
    """Every repeat of the conversation at a position of the dataset."""
    return _read(connection.execute(_ROWS.format("WHERE t.conversation = ?"), (position,)))


def transcript_of(connection: sqlite3.Connection, conversation: str, repeat: int) -> Transcript | None:
    """One repeat of the conversation with an id; None: it has no finished turn."""
    rows = connection.execute(_ROWS.format("WHERE c.id = ? AND t.repeat = ?"), (conversation, repeat))
    return next(_read(rows), None)


def _read(rows: Iterable[tuple[Any, ...]]) -> Iterator[Transcript]:
    for (_, repeat), group in groupby(rows, key=lambda row: row[:2]):
        turns = list(group)
        _, _, name, text, *_ = turns[0]
        row = json_value(text)
        yield Transcript(name, repeat, tuple(_turn(row["turns"], *columns) for _, _, _, _, *columns in turns), row)


def _turn(dataset_turns: list[dict[str, Any]], turn: int, *columns: Any) -> TranscriptTurn:
    stored, tokens = columns[: -len(TOKENS)], dict(zip(TOKENS, columns[-len(TOKENS) :], strict=True))
    return TranscriptTurn(dataset_turns[turn - 1], tokens, turn, *stored)


def _results(exchange: Iterable[Mapping[str, Any]]) -> Iterator[str | None]:
    """The results of the calls in the messages of tool rounds, in the order of the calls."""
    ids: list[Any] = []
    found: dict[int, str] = {}
    for message in exchange:
        if message["role"] == "assistant":
            first, ids = len(ids), [*ids, *(call.get("id") for call in message.get("tool_calls") or ())]
        elif message["role"] == "tool":  # ids may be those of an earlier round, or equal
            places = (place for place in range(first, len(ids)) if ids[place] == message.get("tool_call_id"))
            place = next((place for place in places if place not in found), None)
            if place is not None:
                found[place] = shown(message["content"])
    return (found.get(place) for place in range(len(ids)))
