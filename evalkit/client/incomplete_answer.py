"""What an answer lacks that can be read: it was broken off, cut off before its text, withheld, or is empty."""

from __future__ import annotations

from typing import NamedTuple

from evalkit.client import finish_reasons
from evalkit.client.answer_parts import AnswerParts
from evalkit.client.quoting import one_line
from evalkit.errors import sent

_KEPT = "The part received is kept."
_PART_KEPT = "The part received is kept; if it happens again, check the endpoint's log."
_CHECK_LOG = "The model or its server has most likely failed: check the endpoint's log."


class Incompleteness(NamedTuple):
    """Why an answer is not a good one.

    Parameters
    ----------
    kind : str
        One of ``errors.ERROR_KINDS``.
    did, advice : str
        What the endpoint did, after "The endpoint", and what to do.
    quote : str
        Its own words; empty: none.
    code : str or None
    """

    kind: str
    did: str
    advice: str
    quote: str = ""
    code: str | None = None


def incompleteness(parts: AnswerParts, *, events: int | None, done: bool, complete: bool) -> Incompleteness | None:
    """What a readable answer lacks; None: nothing.

    Parameters
    ----------
    parts : AnswerParts
    events : int or None
        Number of events with tokens; None: it was no stream.
    done : bool
        Whether ``[DONE]`` was received.
    complete : bool
        Whether the whole body was received, by the HTTP framing.
    """
    reason = parts.finish_reason
    if reason is not None and reason != "stop" and finish_reasons.meaning(reason) == finish_reasons.FAILED:
        return _broken_off(parts, reason)
    ended = done or reason is not None
    if not parts.empty:
        if events is None or ended:
            return None
        did = f"broke off its stream after {events} event{'s' * (events != 1)} with tokens"
        return Incompleteness("truncated", f"{did}, with neither a finish reason nor [DONE]", _PART_KEPT)
    if reason == "length":
        advice = "Raise max_tokens or shorten the conversation."
        return Incompleteness("empty", "reached its token limit before sending any text", advice, code=reason)
    if reason == "content_filter":
        did = "withheld the whole answer because of a content filter"
        return Incompleteness("empty", did, "Change the messages.", code=reason)
    if _model_ended(parts, streamed=events is not None):
        return None  # the model answered with an empty text
    if ended or complete:
        return Incompleteness("empty", "ended its answer without any text or tool call", _CHECK_LOG)
    return Incompleteness("connection", "closed the connection before sending any text", _CHECK_LOG)


def _broken_off(parts: AnswerParts, reason: str) -> Incompleteness:
    kind, advice = finish_reasons.failure(reason)
    reason = one_line(reason, 80)
    did = f'broke off its answer with the finish reason "{sent(reason)}"'
    kept = "" if parts.empty else f" {_KEPT}"
    return Incompleteness(kind, did, advice + kept, one_line(parts.finish_detail), code=reason)


def _model_ended(parts: AnswerParts, *, streamed: bool) -> bool:
    """Whether the model itself ended an empty answer.

    A stream must report its token count too: proxies end an interrupted stream with a ``stop`` of their own.
    """
    usage = parts.usage()
    counted = usage is not None and usage.output_tokens is not None
    return finish_reasons.meaning(parts.finish_reason or "") == finish_reasons.ENDED and (counted or not streamed)
