"""What was held back of a stream on its way, told from its reads alone."""

from __future__ import annotations

from bisect import bisect_right

from evalkit.record import Answer, Timing, Usage

AT_ONCE = "buffered"
FIRST_READ_LATE = "first_read_late"

_NEARLY_NS = 2_000_000
_AN_EVENT_NS = 250_000  # no model makes tokens so fast, while a large answer takes its time to be read
_SHARE = 0.05  # of a time to first token
_TOKENS, _CHARACTERS = 8, 40  # an event of so much holds more than a few tokens that were made together


def held_back(timing: Timing, answer: Answer | None = None, usage: Usage | None = None) -> tuple[str, ...]:
    """The flags of a good answer that was streamed: why its first-token time may not be that.

    ``buffered``: most of it came nearly at once, so that its first-token time is that of the whole answer. More than
    half of its token-bearing events came within 2 ms of the first, or at more than 4,000 a second within a twentieth of
    the time to first token; or there was one event, of 8 tokens or more by the server's count, of 40 characters or more
    where it counts none. It does not say why: a proxy may have held the stream back, or a server made it so fast.

    ``first_read_late``: the first read held several events that took a while to be made. At the pace of the later ones
    that was more than a twentieth of the time to first token, and more than 2 ms. Tokens that an endpoint makes several
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
        return (AT_ONCE,) if total and _is_long(answer, usage) else ()
    short = _SHARE * (arrivals[0] - timing.sent)
    near = bisect_right(arrivals, arrivals[0] + max(_NEARLY_NS, min(short, _AN_EVENT_NS * total)))
    if 2 * sum(events[:near]) > total:
        return (AT_ONCE,)
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
