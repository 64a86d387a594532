"""What the asking process and its parent tell each other, and how records travel: messages, each a line of JSON.

A message is a list whose first item is its name. The same lines are the spool, which may outlive both.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import orjson

from evalkit.conversation import Conversation, Message, ScorerSpec, ToolCall, Turn
from evalkit.record import Answer, Attempt, Failure, Timing, TurnRecord, Usage

# from the asking process
BEGUN = "begun"  # (stamp, wall clock): the first request is about to go
TURNS = "turns"  # ([(position, repeat, conversation if it is its first, whether it is its last, record), …])
CALL = "call"  # (number, function, arguments)
END = "end"  # (outcome, trust, error name or None, error text, failures)
# to it
COMMITTED = "committed"  # (turns committed so far)
STOP = "stop"  # (outcome): ask nothing new; "stopped": be quick about it
RESULT = "result"  # (number, text)

_turn = attrgetter("user", "target", "assistant")
_NOTHING: dict[str, Any] = {}
_failure = attrgetter("kind", "message", "http_status", "code", "retry_after_s")
_flags = attrgetter("number", "round", "streamed", "http_status", "flags", "connection_opened")


class FrameReader:
    """Cuts what was read into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[list[Any]]:
        """The messages that end in these bytes."""
        *lines, self._rest = (self._rest + data if self._rest else data).split(b"\n")
        return [orjson.loads(line) for line in lines]


def frame(*message: Any) -> bytes:
    """One message as bytes."""
    return orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE)


def pack_conversation(conversation: Conversation) -> tuple[Any, ...]:
    """A conversation as tuples of plain values."""
    return (
        conversation.id,
        conversation.system,
        tuple([(*_turn(turn), _pack_scorer(turn.scorer)) for turn in conversation.turns]),
        tuple([_pack_message(message) for message in conversation.context]),
        conversation.tools,
        dict(conversation.tool_results) if conversation.tool_results else _NOTHING,
        dict(conversation.params) if conversation.params else _NOTHING,
        conversation.tags,
        conversation.group,
        dict(conversation.meta) if conversation.meta else _NOTHING,
    )


def unpack_conversation(packed: list[Any]) -> Conversation:
    """The inverse of ``pack_conversation``, after a way as JSON."""
    name, system, turns, context, tools, tool_results, params, tags, group, meta = packed
    return Conversation(
        name,
        tuple([_unpack_turn(*turn) for turn in turns]),
        system,
        tuple([_unpack_message(message) for message in context]),
        tuple(tools),
        tool_results,
        params,
        tuple(tags),
        group,
        meta,
    )


def pack(record: TurnRecord) -> tuple[Any, ...]:
    """A turn's record as tuples of plain values."""
    failure = record.failure
    return (
        record.conversation,
        record.repeat,
        record.turn,
        tuple([_pack_attempt(attempt) for attempt in record.attempts]),
        tuple([_pack_message(message) for message in record.exchange]),
        None if failure is None else _failure(failure),
        record.scheduled,
    )


def unpack(packed: list[Any]) -> TurnRecord:
    """The inverse of ``pack``, after a way as JSON."""
    conversation, repeat, turn, attempts, exchange, failure, scheduled = packed
    return TurnRecord(
        conversation,
        repeat,
        turn,
        tuple([_unpack_attempt(attempt) for attempt in attempts]),
        tuple([_unpack_message(message) for message in exchange]),
        None if failure is None else Failure(*failure),
        scheduled,
    )


def _pack_scorer(scorer: ScorerSpec | None) -> tuple[Any, ...] | None:
    if scorer is None:
        return None
    return scorer.name, dict(scorer.options), scorer.weight, tuple(map(_pack_scorer, scorer.parts))


def _unpack_turn(user: str, target: Any, assistant: str | None, scorer: list[Any] | None) -> Turn:
    return Turn(user, target, None if scorer is None else _unpack_scorer(*scorer), assistant)


def _unpack_scorer(name: str, options: dict[str, Any], weight: float, parts: list[Any]) -> ScorerSpec:
    return ScorerSpec(name, options, weight, tuple([_unpack_scorer(*part) for part in parts]))


def _pack_attempt(attempt: Attempt) -> tuple[Any, ...]:
    answer, usage, failure = attempt.answer, attempt.usage, attempt.failure
    return (
        tuple(attempt.timing),
        _flags(attempt),
        None if answer is None else _pack_answer(answer),
        None if usage is None else tuple(usage),
        None if failure is None else _failure(failure),
    )


def _unpack_attempt(packed: list[Any]) -> Attempt:
    timing, (number, round, streamed, http_status, flags, opened), answer, usage, failure = packed
    due, slot, sent, headers, arrivals, arrival_events, first_visible, end = timing
    return Attempt(
        Timing(due, slot, sent, headers, tuple(arrivals), tuple(arrival_events), first_visible, end),
        number,
        round,
        streamed,
        http_status,
        None if answer is None else _unpack_answer(answer),
        None if usage is None else Usage(*usage),
        None if failure is None else Failure(*failure),
        tuple(flags),
        opened,
    )


def _pack_answer(answer: Answer) -> tuple[Any, ...]:
    calls = tuple([tuple(call) for call in answer.tool_calls]) if answer.tool_calls else ()
    return answer.text, answer.reasoning, answer.refusal, calls, answer.finish_reason


def _unpack_answer(packed: list[Any]) -> Answer:
    text, reasoning, refusal, calls, finish_reason = packed
    return Answer(text, reasoning, refusal, tuple([ToolCall(*call) for call in calls]), finish_reason)


def _pack_message(message: Message) -> tuple[Any, ...]:
    return message.role, message.content, tuple([tuple(call) for call in message.tool_calls]), message.tool_call_id


def _unpack_message(packed: list[Any]) -> Message:
    role, content, calls, tool_call_id = packed
    return Message(role, content, tuple([ToolCall(*call) for call in calls]), tool_call_id)
