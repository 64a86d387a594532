"""What came of asking: stamps, usage, attempts, turns and scores.

All stamps are integer nanoseconds of one monotonic clock (``time.perf_counter_ns``), differences only; a run
session keeps one wall-clock anchor. A metric that does not hold is None, never 0. ``docs/metrics.md`` has the words.
What is made for every turn is a named tuple: immutable, and made in a quarter of the time of a frozen dataclass.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from evalkit.conversation import Message, ToolCall

LASTING_CODES = frozenset({"insufficient_quota", "length", "content_filter"})  # asking again changes nothing
# flags of an attempt
UNCONFIRMED, IN_DOUBT = "no_finish_reason", "in_doubt"
CALL_NOT_DEMANDED, NO_TOOL_ROUNDS = "call_not_demanded", "no_tool_rounds"  # it was asked in another way

NO_RESULT = "(no result)"

ERROR_KINDS = (
    "auth",
    "not_found",
    "bad_request",
    "rate_limited",
    "server",
    "connection",
    "timeout",
    "truncated",
    "empty",
    "protocol",
    "cancelled",
)


class Timing(NamedTuple):
    """Stamps of one attempt.

    Parameters
    ----------
    due : int
        When the schedule wanted the request; closed loop: when its slot came free.
    slot : int
        Concurrency slot and rate-limit permit in hand.
    sent : int
        Just before the request was written; the connection is open by then.
    headers : int or None
        Status line and headers in hand.
    arrivals : tuple of int
        For every read that brought a token-bearing event: when the read returned, before decoding.
    arrival_events : tuple of int
        How many token-bearing events each of those reads held; same length as ``arrivals``.
    first_visible : int or None
        First arrival with content, a refusal or a tool call (not reasoning).
    end : int or None
        Body complete or stream closed.
    """

    due: int
    slot: int
    sent: int
    headers: int | None = None
    arrivals: tuple[int, ...] = ()
    arrival_events: tuple[int, ...] = ()
    first_visible: int | None = None
    end: int | None = None


class Usage(NamedTuple):
    """Token counts as the server told them; ``output_tokens`` already holds the reasoning tokens."""

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None


class Answer(NamedTuple):
    """What the model said; partial when the attempt failed on the way."""

    text: str = ""
    reasoning: str = ""
    refusal: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None

    @property
    def empty(self) -> bool:
        """No text, refusal, reasoning or call at all."""
        return not (self.text or self.reasoning or self.refusal or self.tool_calls)


_BEGIN, _END = "\x02", "\x03"  # around what an endpoint sent, until the message is made


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call failed: data, not an exception.

    Parameters
    ----------
    kind : str
        One of ``ERROR_KINDS``.
    message : str
        One or two plain sentences: what happened, what to try. Never holds the key.
    http_status : int or None
        As received.
    code : str or None
        The endpoint's own error code, as text.
    retry_after_s : float or None
        How long the endpoint asked to wait.
    sent : tuple of (int, int), optional
        From where to where the message holds what the endpoint sent, and with it perhaps the key; a message that is
        made with ``sent`` brings them with it. None: unknown, so that all of it may be.
    """

    kind: str
    message: str
    http_status: int | None = None
    code: str | None = None
    retry_after_s: float | None = None
    sent: tuple[tuple[int, int], ...] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if _BEGIN not in self.message:
            return
        message, spans = "", []
        for part in re.split(f"({_BEGIN}[^{_END}]*{_END})", self.message):
            if part.startswith(_BEGIN):
                part = part[1:-1]
                spans.append((len(message), len(message) + len(part)))
            message += part
        object.__setattr__(self, "message", message)
        object.__setattr__(self, "sent", tuple(spans))


def sent(text: str) -> str:
    """What an endpoint sent, free of control characters, as a part of the message of a ``Failure``."""
    text = text.replace(_BEGIN, "").replace(_END, "")
    return f"{_BEGIN}{text}{_END}" if text else ""


class Attempt(NamedTuple):
    """One HTTP exchange.

    Parameters
    ----------
    timing : Timing
    number : int
        1 for the first try of this request, 2 for its first retry.
    round : int
        0 for the turn's own request; n for the request after the n-th round of tool results.
    streamed : bool
        The answer came as server-sent events.
    http_status : int or None
        None: no status line came.
    answer : Answer or None
        What came, also when the attempt failed on the way.
    usage : Usage or None
        None: the server told none.
    failure : Failure or None
        None: a good attempt.
    flags : tuple of str
        Oddities, sorted: ``buffered`` (most tokens came nearly at once), ``first_read_late`` (several in the first
        read, see ``buffering.held_back``), ``json_for_stream``, ``no_done``, ``no_finish_reason``.
    connection_opened : bool
        A new connection was opened for it.
    connection_lost_on_reuse : bool
        A kept connection was closed by the endpoint just as it was used again, before any byte of an answer:
        worth one immediate retry.
    provenance : dict or None
        Where the answer came from, as far as that is not as it was asked for: see ``provenance.Provenance.note``.
    """

    timing: Timing
    number: int = 1
    round: int = 0
    streamed: bool = False
    http_status: int | None = None
    answer: Answer | None = None
    usage: Usage | None = None
    failure: Failure | None = None
    flags: tuple[str, ...] = ()
    connection_opened: bool = False
    connection_lost_on_reuse: bool = False
    provenance: dict[str, str] | None = None

    @property
    def ttft_ns(self) -> int | None:
        """First token-bearing arrival − sent. None: not streamed, or no token came."""
        arrivals = self.timing.arrivals
        return arrivals[0] - self.timing.sent if self.streamed and arrivals else None

    @property
    def ttfv_ns(self) -> int | None:
        """First content, refusal or tool arrival − sent. None: only reasoning came, or not streamed."""
        visible = self.timing.first_visible
        return visible - self.timing.sent if self.streamed and visible is not None else None

    @property
    def latency_ns(self) -> int | None:
        """Last token-bearing arrival − sent; not streamed, or nothing in it: end − sent. None: the attempt failed."""
        timing, answer = self.timing, self.answer
        if self.failure is not None:
            return None
        if self.streamed and timing.arrivals:
            last: int | None = timing.arrivals[-1]
        else:  # a stream that held something has an arrival
            last = None if self.streamed and answer is not None and not answer.empty else timing.end
        return None if last is None else last - timing.sent

    @property
    def censored_ns(self) -> int | None:
        """Lower bound of the latency of an attempt that timed out or was cancelled here; None for any other."""
        if self.failure is None or self.failure.kind not in ("timeout", "cancelled") or self.timing.end is None:
            return None
        return self.timing.end - self.timing.sent

    @property
    def tpot_ns(self) -> float | None:
        """(last − first arrival) / (N − n1); None: N unknown, N ≤ n1, or one arrival.

        N is the server's output token count. n1, the tokens of the first arrival, is known when there was one
        event for each of the N tokens; else it is taken as 1.
        """
        timing = self.timing
        tokens = None if self.usage is None else self.usage.output_tokens
        if self.failure is not None or not self.streamed or tokens is None or len(timing.arrivals) < 2:
            return None
        first = timing.arrival_events[0] if sum(timing.arrival_events) == tokens else 1
        return (timing.arrivals[-1] - timing.arrivals[0]) / (tokens - first) if tokens > first else None

    @property
    def queue_delay_ns(self) -> int:
        """Slot − due."""
        return self.timing.slot - self.timing.due


class Interrupted(asyncio.CancelledError):
    """The caller was cancelled during an exchange; ``attempt`` is what there is of it."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__()
        self.attempt = attempt


def named(calls: Sequence[ToolCall], turn: int, round: int) -> tuple[ToolCall, ...]:
    """The calls, each with an id: a legacy function call has none, and a result must name its call.

    No two calls of a conversation get one id, and each gets the same in every session.
    """
    return tuple(
        call if call.id else call._replace(id=f"call_{turn}_{round}_{number}") for number, call in enumerate(calls)
    )


class TurnRecord(NamedTuple):
    """One turn of one conversation, asked once per repeat.

    Parameters
    ----------
    conversation : str
        Conversation id.
    repeat, turn : int
        Both counted from 1.
    attempts : tuple of Attempt
        In the order they were made; empty when the turn was never asked.
    exchange : tuple of Message
        What tool rounds added after the user message: calls and results, not the last answer.
    failure : Failure or None
        Why there is no good attempt. None: the last attempt is the good one.
    scheduled : bool
        A schedule of arrivals, and not a free slot, said when it was due (open loop).
    """

    conversation: str
    repeat: int
    turn: int
    attempts: tuple[Attempt, ...] = ()
    exchange: tuple[Message, ...] = ()
    failure: Failure | None = None
    scheduled: bool = False

    @property
    def status(self) -> str:
        """``answered`` or ``error``."""
        return "answered" if self.failure is None else "error"

    @property
    def interrupted(self) -> bool:
        """The session ended while it was being asked: the endpoint did not fail, and ``resume`` asks it again."""
        return self.failure is not None and self.failure.kind == "cancelled" and bool(self.attempts)

    @property
    def good(self) -> Attempt | None:
        """The attempt whose answer and timing are the turn's."""
        return self.attempts[-1] if self.failure is None and self.attempts else None

    @property
    def answer(self) -> Answer | None:
        """What the model said; of a failed turn, the part that came."""
        return self.attempts[-1].answer if self.attempts else None

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """Every call the model made in this turn, tool rounds included, in order."""
        earlier = tuple(call for message in self.exchange for call in message.tool_calls)
        return earlier + (self.answer.tool_calls if self.answer else ())

    @property
    def seen_later(self) -> list[Message]:
        """What follows the user message where later turns see the model's own answers: a call of it needs a result."""
        answer = self.answer or Answer()
        rounds = sum(message.role == "assistant" for message in self.exchange)
        calls = named(answer.tool_calls, self.turn, rounds)
        text = answer.text or answer.refusal or (None if calls else "")
        unanswered = [Message("tool", NO_RESULT, tool_call_id=call.id) for call in calls]
        return [*self.exchange, Message("assistant", text, calls), *unanswered]

    @property
    def turn_time_ns(self) -> int | None:
        """First attempt's due to the good attempt's end, back-off and tool rounds included; None: it failed."""
        good = self.good
        if good is None or good.timing.end is None:
            return None
        return good.timing.end - self.attempts[0].timing.due

    @property
    def schedule_latency_ns(self) -> int | None:
        """From the first attempt's due to the end that the latency has; None: closed loop, or the turn failed."""
        good = self.good
        if not self.scheduled or good is None or good.latency_ns is None:
            return None
        return good.timing.sent + good.latency_ns - self.attempts[0].timing.due


@dataclass(frozen=True, slots=True)
class Score:
    """What a scorer said of a turn.

    Parameters
    ----------
    scorer : str
        Its name; of several, all their names: ``number+length``.
    value : float or None
        0 to 1; None: it could not judge, ``reason`` says why.
    reason : str or None
        In words a reader can check.
    extracted : any JSON value
        What it took from the answer to compare with the target.
    parts : list of dict or None
        When several scorers made it, what each said: ``scorer``, ``weight``, ``value``, ``reason``, ``extracted``.
    """

    scorer: str
    value: float | None
    reason: str | None = None
    extracted: Any = field(default=None)
    parts: list[dict[str, Any]] | None = None
