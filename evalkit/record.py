"""The results of requests: time stamps, usage, attempts, turns and scores.

All time stamps are integer nanoseconds of one monotonic clock (``time.perf_counter_ns``): only differences have a
meaning; a session also stores one wall-clock time. A metric that does not apply is None, never 0. ``docs/metrics.md``
defines the terms. Objects made for every turn are named tuples: immutable, and created in a quarter of the time of a
frozen dataclass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from evalkit.conversation import Message, ToolCall
from evalkit.errors import Failure

TurnKey = tuple[int, int, int]  # position of the conversation in its dataset, repeat, turn

# flags of an attempt
UNKNOWN_FINISH_REASON, LEFT_OPEN, LENIENT_HTTP = "unknown_finish_reason", "left_open", "lenient_http"
UNCONFIRMED, IN_DOUBT = "no_finish_reason", "in_doubt"
# the request was changed
CALL_NOT_DEMANDED, NO_TOOL_ROUNDS, KEYS_LEFT_OUT = "call_not_demanded", "no_tool_rounds", "keys_left_out"
OUTPUT_CORRECTED = "output_tokens_corrected"

NO_RESULT = "(no result)"
REASONING_TEXTS = ("reasoning_content", "reasoning", "reasoning_text")  # keys of a message whose value is its reasoning


class Timing(NamedTuple):
    """Time stamps of one attempt.

    Parameters
    ----------
    due : int
        When the request was due by the schedule; closed loop: when its slot became free.
    slot : int
        When it had its concurrency slot and its rate-limit permit.
    sent : int
        Just before the request was written; the connection is open by then.
    headers : int or None
        When status line and headers had been read.
    arrivals : tuple of int
        For every read with at least one token-bearing event: when the read returned, before decoding.
    arrival_events : tuple of int
        How many token-bearing events each of those reads contained; same length as ``arrivals``.
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
    """Token counts as reported by the server.

    Parameters
    ----------
    prompt_tokens : int or None
        Including those read from or written to a cache.
    output_tokens : int or None
        Including the reasoning tokens.
    reasoning_tokens : int or None
    cached_tokens : int or None
        Prompt tokens that were read from the endpoint's cache.
    cache_write_tokens : int or None
        Prompt tokens that were written to it.
    """

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class Answer(NamedTuple):
    """The model's answer; partial when the attempt failed midway.

    ``logprobs`` are the log probabilities of its tokens, if the request asked for them: see ``client.logprobs``.
    ``extra``: of a message with calls, the keys that go back with it in the tool round (``client/call_extras``).
    """

    text: str = ""
    reasoning: str = ""
    refusal: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    logprobs: Mapping[str, list[dict[str, Any]]] | None = None
    extra: Mapping[str, Any] | None = None

    @property
    def empty(self) -> bool:
        """No text, refusal, reasoning or call at all."""
        return not (self.text or self.reasoning or self.refusal or self.tool_calls)


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
        What was received, also when the attempt failed midway.
    usage : Usage or None
        None: the server reported none.
    failure : Failure or None
        None: a good attempt.
    flags : tuple of str
        Irregularities, sorted: ``buffered`` (most tokens came almost simultaneously), ``first_read_late`` (several in
        the first read, see ``buffering.held_back``), ``json_for_stream``, ``left_open`` (the answer had ended, and
        the endpoint closed neither stream nor connection), ``lenient_http`` (its HTTP breaks the rules, but can be
        read), ``no_done``, ``no_finish_reason``, ``output_tokens_corrected`` (the endpoint's count left out the
        reasoning tokens), ``unknown_finish_reason``.
    connection_opened : bool
        A new connection was opened for it.
    connection_lost_on_reuse : bool
        A kept connection was closed by the endpoint just as it was used again, before any byte of an answer:
        worth one immediate retry.
    provenance : dict or None
        Where the answer came from, if that differs from what was requested: see ``provenance.ProvenanceTracker.note``.
        ``finish_reason``: the endpoint's own word, if ``Answer.finish_reason`` is another.
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
        """First token-bearing arrival − sent. None: not streamed, or no token was received."""
        arrivals = self.timing.arrivals
        return arrivals[0] - self.timing.sent if self.streamed and arrivals else None

    @property
    def ttfv_ns(self) -> int | None:
        """First content, refusal or tool arrival − sent. None: only reasoning was received, or not streamed."""
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
        else:  # a stream with content has an arrival
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
    """The caller was cancelled during an exchange; ``attempt`` is what was received."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__()
        self.attempt = attempt


def with_call_ids(calls: Sequence[ToolCall], turn: int, round: int) -> tuple[ToolCall, ...]:
    """The calls, each with an id: a legacy function call has none, and a result must name its call.

    Ids are unique within a conversation, and the same in every session.
    """
    return tuple(
        call if call.id else call._replace(id=f"call_{turn}_{round}_{number}") for number, call in enumerate(calls)
    )


class TurnRecord(NamedTuple):
    """One turn of one repeat of a conversation.

    Parameters
    ----------
    conversation : str
        Conversation id.
    repeat, turn : int
        Both counted from 1.
    attempts : tuple of Attempt
        In order; empty when the turn was never sent.
    exchange : tuple of Message
        Messages that tool rounds added after the user message: calls and results, not the last answer.
    failure : Failure or None
        Why there is no good attempt. None: the last attempt is the good one.
    scheduled : bool
        It was due by a schedule of arrivals (open loop), not when a slot became free.
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
        """The session ended while it was running: the endpoint did not fail, and ``resume`` sends it again."""
        return self.failure is not None and self.failure.kind == "cancelled" and bool(self.attempts)

    @property
    def good(self) -> Attempt | None:
        """The attempt whose answer and timing are the turn's."""
        return self.attempts[-1] if self.failure is None and self.attempts else None

    @property
    def answer(self) -> Answer | None:
        """The model's answer; of a failed turn, the part received."""
        return self.attempts[-1].answer if self.attempts else None

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """Every call the model made in this turn, tool rounds included, in order."""
        earlier = tuple(call for message in self.exchange for call in message.tool_calls)
        return earlier + (self.answer.tool_calls if self.answer else ())

    @property
    def seen_later(self) -> list[Message]:
        """The messages after the user message that later turns see under ``history="own"``; every call has a result."""
        answer = self.answer or Answer()
        rounds = sum(message.role == "assistant" for message in self.exchange)
        calls = with_call_ids(answer.tool_calls, self.turn, rounds)
        text = answer.text or answer.refusal or (None if calls else "")
        unanswered = [Message("tool", NO_RESULT, tool_call_id=call.id, name=call.name) for call in calls]
        extra = answer.extra or (self._reasoning_of_last() if rounds else None)
        return [*self.exchange, Message("assistant", text, calls, extra=extra), *unanswered]

    def _reasoning_of_last(self) -> dict[str, Any] | None:
        """The reasoning of the answer after tool rounds, under the name that it had in them.

        Endpoints that demand the reasoning of calls back demand it of all messages of such a turn.
        """
        answer, names = self.answer, {name for message in self.exchange for name in message.extra or ()}
        texts = [name for name in REASONING_TEXTS if name in names]
        return dict.fromkeys(texts, answer.reasoning) if texts and answer and answer.reasoning else None

    @property
    def turn_time_ns(self) -> int | None:
        """First attempt's due to the good attempt's end, including back-off and tool rounds; None: it failed."""
        good = self.good
        if good is None or good.timing.end is None:
            return None
        return good.timing.end - self.attempts[0].timing.due

    @property
    def times_ms(self) -> dict[str, float | None]:
        """``headers``, ``ttft``, ``ttfv``, ``latency`` and ``end`` of its last attempt, in ms since that was sent.

        ``end``: the body was complete, or the connection closed. None: missing, as in ``Attempt``.
        """
        last = self.attempts[-1] if self.attempts else None
        names = ("headers", "ttft", "ttfv", "latency", "end")
        if last is None:
            return dict.fromkeys(names)
        timing = last.timing
        headers, end = (None if at is None else at - timing.sent for at in (timing.headers, timing.end))
        spans = (headers, last.ttft_ns, last.ttfv_ns, last.latency_ns, end)
        return {name: None if span is None else span / 1e6 for name, span in zip(names, spans, strict=True)}

    @property
    def schedule_latency_ns(self) -> int | None:
        """First attempt's due to the end used for the latency; None: closed loop, or the turn failed."""
        good = self.good
        if not self.scheduled or good is None or good.latency_ns is None:
            return None
        return good.timing.sent + good.latency_ns - self.attempts[0].timing.due


@dataclass(frozen=True, slots=True)
class Score:
    """The score of a turn.

    Parameters
    ----------
    scorer : str
        Name of the scorer; of several, all their names: ``number+length``.
    value : float or None
        0 to 1; None: the scorer could not judge, ``reason`` says why.
    reason : str or None
        An explanation that a reader can check.
    extracted : any JSON value
        What the scorer extracted from the answer to compare with the target.
    parts : list of dict or None
        The results of several scorers: ``scorer``, ``weight``, ``value``, ``reason``, ``extracted``.
    """

    scorer: str
    value: float | None
    reason: str | None = None
    extracted: Any = field(default=None)
    parts: list[dict[str, Any]] | None = None
