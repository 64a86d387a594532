"""Detects from the reads of a stream that it was buffered on its way."""

from __future__ import annotations

from bisect import bisect_right

from evalkit.record import Answer, Timing, Usage

BUFFERED = "buffered"
FIRST_READ_LATE = "first_read_late"

_NEARLY_NS = 2_000_000
_AN_EVENT_NS = 250_000  # faster than any model generates tokens, but reading a large answer takes time too
_SHARE = 0.05  # of a time to first token
_TOKENS, _CHARACTERS = 8, 40  # an event of this size holds more than a few tokens generated together


def buffering_flags(timing: Timing, answer: Answer | None = None, usage: Usage | None = None) -> tuple[str, ...]:
    """The flags of a good streamed answer whose first-token time may be wrong.

    ``buffered``: most of the answer arrived almost simultaneously, so its first-token time is that of the whole answer.
    More than half of its token-bearing events arrived within 2 ms of the first, or at more than 4,000 per second within
    a twentieth of the time to first token; or there was a single event, with 8 tokens or more by the server's count,
    or 40 characters or more if the server reports no count. The cause is not known: a proxy may have buffered the
    stream, or the server may have generated it that fast.

    ``first_read_late``: the first read held several events that took some time to generate: at the pace of the later
    ones, more than a twentieth of the time to first token and more than 2 ms. Tokens that an endpoint generates several
    at a time look the same.

    Parameters
    ----------
    timing : Timing
    answer : Answer, optional
    usage : Usage, optional
    """
    arrivals, events = timing.arrivals, timing.arrival_events
    total = sum(events)
    if total < 2:
        return (BUFFERED,) if total and _is_long(answer, usage) else ()
    short = _SHARE * (arrivals[0] - timing.sent)
    near = bisect_right(arrivals, arrivals[0] + max(_NEARLY_NS, min(short, _AN_EVENT_NS * total)))
    if 2 * sum(events[:near]) > total:
        return (BUFFERED,)
    pace = (arrivals[-1] - arrivals[0]) / (total - events[0])
    late = (events[0] - 1) * pace
    return (FIRST_READ_LATE,) if late > max(_NEARLY_NS, short) else ()


def _is_long(answer: Answer | None, usage: Usage | None) -> bool:
    if usage is not None and usage.output_tokens is not None:
        return usage.output_tokens >= _TOKENS
    if answer is None:
        return False
    calls = sum(len(call.arguments) for call in answer.tool_calls)
    return len(answer.text) + len(answer.reasoning) + len(answer.refusal or "") + calls >= _CHARACTERS
