"""A finished turn on its way into the run file: as records where it was asked, as rows where it is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import orjson

from evalkit.conversation import Conversation, Message, ToolCall, Turn
from evalkit.datasets import reader
from evalkit.record import Answer, Attempt, Timing, TurnRecord
from evalkit.runfile import schema
from evalkit.runfile.schema import Row

_NO_TIMING = Timing(0, 0, 0)


class Talk:
    """A conversation, as it is or as the JSON value it came as, of which a turn alone is read when it is needed."""

    __slots__ = ("_asked", "_row", "position")

    def __init__(self, position: int, asked: Conversation | dict[str, Any]) -> None:
        self.position = position
        self._asked = asked
        self._row: Row | None = None

    @property
    def row(self) -> Row:
        """What the table of conversations takes of it."""
        if self._row is None:
            asked = self._asked
            value = asked if isinstance(asked, dict) else asked.to_json()
            self._row = schema.conversation_row(self.position, value)
        return self._row

    @property
    def turns(self) -> int:
        """How many it has."""
        asked = self._asked
        return len(asked["turns"] if isinstance(asked, dict) else asked.turns)


class Done:
    """One finished turn on its way into the run file, in the rows that were made where it was asked.

    Parameters
    ----------
    talk : Talk
        Its conversation.
    turn : Row
    attempts : list of Row

    Attributes
    ----------
    position : int
        Of its conversation in the dataset.
    turn_row : Row
    attempt_rows : list of Row
    error_kind : str or None
        Why it failed; None: it is answered.
    """

    __slots__ = ("_talk", "attempt_rows", "error_kind", "position", "turn_row")

    def __init__(self, talk: Talk, turn: Row, attempts: list[Row]) -> None:
        self.position = talk.position
        self._talk = talk
        self.turn_row = turn
        self.attempt_rows = attempts
        self.error_kind: str | None = schema.value("turn", turn, "error_kind")

    @property
    def interrupted(self) -> bool:
        """As ``TurnRecord.interrupted``."""
        return self.error_kind == "cancelled" and bool(self.attempt_rows)

    @property
    def conversation_row(self) -> Row:
        """What the table of conversations takes."""
        return self._talk.row

    @property
    def turns(self) -> int:
        """How many turns that has."""
        return self._talk.turns

    @property
    def key(self) -> tuple[int, int, int]:
        """Position, repeat and turn."""
        position, repeat, turn = self.turn_row[1][:3]
        return position, repeat, turn


@lru_cache(maxsize=1)
def stored_turns(row: str) -> tuple[Turn, ...]:
    """What the turns of a conversation ask for, by its row in the run file; read in order, each is parsed once."""
    return reader.parse_row(orjson.loads(row)).turns


def stored_answer(text: str | None, refusal: str | None, calls: str | None, finish_reason: str | None) -> Answer:
    """The answer of a turn as the run file keeps it, as scorers take it: with the calls of all its tool rounds."""
    return Answer(text or "", "", refusal, _calls(orjson.loads(calls)) if calls else (), finish_reason)


def stored_record(
    name: str, repeat: int, turn: int, text: str | None, refusal: str | None, calls: str | None, exchange: str | None
) -> TurnRecord:
    """A turn as the run file keeps it; its stamps stay there."""
    messages: tuple[Message, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    if exchange:
        messages = tuple(_message(row) for row in orjson.loads(exchange))
    if calls:
        earlier = sum(len(message.tool_calls) for message in messages)
        tool_calls = _calls(orjson.loads(calls)[earlier:])
    attempt = Attempt(_NO_TIMING, answer=Answer(text or "", "", refusal, tool_calls))
    return TurnRecord(name, repeat, turn, (attempt,), messages)


def _message(row: Mapping[str, Any]) -> Message:
    return Message(row["role"], row["content"], _calls(row.get("tool_calls", ())), row.get("tool_call_id"))


def _calls(rows: Iterable[Mapping[str, Any]]) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(row["function"]["name"], row["function"]["arguments"], row["id"]) for row in rows)
