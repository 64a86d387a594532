"""A probe: what it sends, why it matters, and a function that judges what came."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from evalkit.checkup.probes.call import Call, Replies
from evalkit.checkup.probes.reply import Reply
from evalkit.checkup.probes.verdicts import CONFORMS, DIFFERS, FAILED, IGNORED, NOT_JUDGED, UNSUPPORTED


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict of a probe.

    Parameters
    ----------
    verdict : str
        One of ``verdicts.VERDICTS``: ``conforms`` to the chat-completions reference; ``differs`` from it;
        ``unsupported``, which the endpoint says itself; ``ignored``: accepted without an error, and without an effect;
        ``not_judged``: what came does not tell; ``failed``: the call had no answer.
    came : str
        What came, in words.
    """

    verdict: str
    came: str


@dataclass(frozen=True, slots=True)
class Probe:
    """One question about an endpoint.

    Parameters
    ----------
    name : str
        Unique; a key of ``--json``.
    subject : str
        The group it belongs to.
    asks : str
        What is sent and looked at, in a few words.
    why : str
        What the answer means for a user of the official client.
    calls : tuple of Call
        The call under test, then those that it is compared with.
    judge : callable
        Accepts the replies in the order of ``calls``.
    judges_refusals : bool
        ``judge`` also gets refusals; else a refusal of the first call is ``unsupported``.
    optional : tuple of Call
        Further calls for ``judge``, which gets None for those that were not made.
    over_all : bool
        ``judge`` gets the replies of all probes, in one sequence.
    """

    name: str
    subject: str
    asks: str
    why: str
    calls: tuple[Call, ...]
    judge: Callable[..., Judgement]
    judges_refusals: bool = False
    optional: tuple[Call, ...] = ()
    over_all: bool = False

    def verdict(self, replies: Replies) -> Judgement:
        """The judgement on the replies."""
        if self.over_all:
            return self.judge(list(replies.values()))
        made = [replies[call] for call in self.calls if call in replies]
        if len(made) < len(self.calls):
            return Judgement(NOT_JUDGED, "the replies to other calls left nothing to send")
        for call, reply in zip(self.calls, made, strict=True):
            if reply.status is None or (reply.failure and not reply.left):
                return _unanswered(reply, first=call is self.calls[0])
            if not reply.ok and not reply.left and not self.judges_refusals:
                return _refused(reply, first=call is self.calls[0])
        return self.judge(*made, *(replies.get(call) for call in self.optional))


def _unanswered(reply: Reply, *, first: bool) -> Judgement:
    if first:
        return Judgement(FAILED, reply.failure)
    return Judgement(NOT_JUDGED, f"the call to compare with failed: {reply.failure}")


def _refused(reply: Reply, *, first: bool) -> Judgement:
    if not first:
        return Judgement(NOT_JUDGED, f"the call to compare with was refused: {reply.outcome}")
    if reply.refused_before and reply.refused_before[-1].status == reply.status != 500:
        return Judgement(FAILED, f"{reply.outcome}, twice")
    return Judgement(UNSUPPORTED, f"refused with {reply.outcome}")


def conforms(came: str) -> Judgement:
    """The reference asks for this."""
    return Judgement(CONFORMS, came)


def differs(came: str) -> Judgement:
    """The reference asks for something else."""
    return Judgement(DIFFERS, came)


def ignored(came: str) -> Judgement:
    """Accepted, without an effect."""
    return Judgement(IGNORED, came)


def not_judged(came: str) -> Judgement:
    """What came does not tell."""
    return Judgement(NOT_JUDGED, came)


def unsupported(came: str) -> Judgement:
    """The endpoint says that it does not do this."""
    return Judgement(UNSUPPORTED, came)


def without_faults(faults: Iterable[str], otherwise: str) -> Judgement:
    """``differs`` with the first faults, or ``conforms`` if there are none."""
    found = list(dict.fromkeys(faults))
    if not found:
        return conforms(otherwise)
    more = f"; {len(found) - 3} more" if len(found) > 3 else ""
    return differs("; ".join(found[:3]) + more)


def shown(value: Any) -> str:
    """A short value of the endpoint in words."""
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
