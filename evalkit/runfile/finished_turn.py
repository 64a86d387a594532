"""A finished turn on its way into the run file, and turns of a run file as records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from evalkit.conversation import Conversation, Message, ToolCall, Turn
from evalkit.datasets import native_rows
from evalkit.record import Answer, Attempt, Timing, TurnRecord
from evalkit.runfile import record_rows, schema
from evalkit.runfile.schema import Row

_NO_TIMING = Timing(0, 0, 0)


class LazyConversation:
    """A conversation, or its JSON value, whose row is made only when it is needed, unless it is given."""

    __slots__ = ("_conversation", "_row", "position")

    def __init__(self, position: int, conversation: Conversation | dict[str, Any], row: Row | None = None) -> None:
        self.position = position
        self._conversation = conversation
        self._row = row

    @property
    def row(self) -> Row:
        """Its row in the table of conversations."""
        if self._row is None:
            conversation = self._conversation
            value = conversation if isinstance(conversation, dict) else conversation.to_json()
            self._row = record_rows.conversation_row(self.position, value)
        return self._row

    @property
    def turns(self) -> int:
        """Its number of turns."""
        conversation = self._conversation
        return len(conversation["turns"] if isinstance(conversation, dict) else conversation.turns)


class FinishedTurn:
    """One finished turn on its way into the run file, as rows made in the asking process.

    Parameters
    ----------
    conversation : LazyConversation
    turn : Row
    attempts : list of Row

    Attributes
    ----------
    position : int
        Position of its conversation in the dataset.
    turn_row : Row
    attempt_rows : list of Row
    error_kind : str or None
        Why it failed; None: it was answered.
    """

    __slots__ = ("_conversation", "attempt_rows", "error_kind", "position", "turn_row")

    def __init__(self, conversation: LazyConversation, turn: Row, attempts: list[Row]) -> None:
        self.position = conversation.position
        self._conversation = conversation
        self.turn_row = turn
        self.attempt_rows = attempts
        self.error_kind: str | None = schema.value("turn", turn, "error_kind")

    @property
    def interrupted(self) -> bool:
        """See ``TurnRecord.interrupted``."""
        return self.error_kind == "cancelled" and bool(self.attempt_rows)

    @property
    def conversation_row(self) -> Row:
        """Row of its conversation."""
        return self._conversation.row

    @property
    def turns(self) -> int:
        """Number of turns of its conversation."""
        return self._conversation.turns

    @property
    def key(self) -> tuple[int, int, int]:
        """Position, repeat and turn."""
        position, repeat, turn = self.turn_row[1][:3]
        return position, repeat, turn


class StoredTurn(NamedTuple):
    """What scoring needs of a conversation: one turn, how many it has, and its tools."""

    turn: Turn
    turns: int
    tools: Sequence[Mapping[str, Any]]


def stored_turn(row: str, number: int) -> StoredTurn:
    """A turn, by its number, from the row of its conversation in the run file.

    Of a row only this turn is checked, and rows read in order are parsed once each.
    """
    conversation = _parsed(row)
    turns = conversation["turns"]
    return StoredTurn(native_rows.read_turn(turns[number - 1]), len(turns), conversation.get("tools", ()))


@lru_cache(maxsize=1)
def _parsed(row: str) -> dict[str, Any]:
    parsed: dict[str, Any] = orjson.loads(row)
    return parsed


def stored_answer(
    text: str | None, refusal: str | None, calls: str | None, finish_reason: str | None, reasoning: str | None
) -> Answer:
    """The stored answer of a turn in the form that scorers accept: with the calls of all its tool rounds."""
    return Answer(text or "", reasoning or "", refusal, _calls(orjson.loads(calls)) if calls else (), finish_reason)


def stored_record(
    name: str,
    repeat: int,
    turn: int,
    text: str | None,
    refusal: str | None,
    calls: str | None,
    exchange: str | None,
    reasoning: str | None = None,
) -> TurnRecord:
    """A stored turn as a record, without its stamps."""
    messages: tuple[Message, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    if exchange:
        messages = tuple(map(Message.from_json, orjson.loads(exchange)))
    if calls:
        earlier = sum(len(message.tool_calls) for message in messages)
        tool_calls = _calls(orjson.loads(calls)[earlier:])
    attempt = Attempt(_NO_TIMING, answer=Answer(text or "", reasoning or "", refusal, tool_calls))
    return TurnRecord(name, repeat, turn, (attempt,), messages)


def _calls(rows: Iterable[Mapping[str, Any]]) -> tuple[ToolCall, ...]:
    return tuple(map(ToolCall.from_json, rows))
