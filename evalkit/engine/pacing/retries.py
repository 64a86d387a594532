"""Which failed requests are sent again, and after how long."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from evalkit.errors import AT_CAPACITY, DAILY_QUOTA, LASTING_CODES, LOADING, Failure, shown_wait

RETRYABLE = frozenset({"rate_limited", "server", "connection", "truncated", "empty"})
LONGEST_WAIT_S = 120.0
LOADING_S = 120.0
LOADING_ALONE_S = 30.0  # of a request, while others are answered: another server behind the same address may load

BUDGET_EXHAUSTED = "Not tried again: too many of the last requests failed."
WAIT_TOO_LONG = "Not tried again: the endpoint asks to wait {wait}, longer than {longest}."
STILL_LOADING = "It has been loading for {waited} since the first request."
LOADING_ALONE = "It has said so for {waited} of this request, and answered others."


def slows_all(failure: Failure) -> bool:
    """Whether a failure concerns all requests, which are then held back, rather than the one that failed."""
    return not renews_later(failure) and (failure.kind == "rate_limited" or failure.pending in (LOADING, AT_CAPACITY))


def renews_later(failure: Failure) -> bool:
    """Whether a failure is the refusal of a quota that is used up for longer than a session waits."""
    if failure.kind != "rate_limited":
        return False
    wait_s = failure.retry_after_s
    return (
        failure.code in LASTING_CODES
        or failure.pending == DAILY_QUOTA
        or (wait_s is not None and wait_s > LONGEST_WAIT_S)
    )


class RetryDecision(NamedTuple):
    """Whether to send a request again.

    Parameters
    ----------
    delay_s : float or None
        Seconds to wait first; None: do not send it again.
    note : str
        Why not, as a sentence to append to the failure's message; empty when the failure or the number of tries is
        reason enough.
    """

    delay_s: float | None
    note: str = ""


class RetryBudget:
    """Limits retries to a share of the first tries, so that a failing endpoint is not hammered.

    In any 60 seconds at most ``share`` times the first tries of that time are retries, plus ``reserve``, so that a
    short run can retry at all. A slice of one second leaves the window as a whole.

    Parameters
    ----------
    share : float
    reserve : int
    clock : callable
        Seconds, monotonic.
    """

    def __init__(self, share: float = 0.2, reserve: int = 10, clock: Callable[[], float] = time.monotonic) -> None:
        self._share, self._reserve, self._clock = share, reserve, clock
        self._slices: deque[list[int]] = deque()  # [second, first tries, retries], oldest first
        self._tries = self._retries = 0

    def note_first_try(self) -> None:
        """Count the first try of a request."""
        self._slice()[1] += 1
        self._tries += 1

    def allow(self) -> bool:
        """Return whether the budget has room for one more retry, and count it if so."""
        piece = self._slice()
        if self._retries + 1 > self._reserve + self._share * self._tries:
            return False
        piece[2] += 1
        self._retries += 1
        return True

    def _slice(self) -> list[int]:
        second, slices = int(self._clock()), self._slices
        if slices and slices[-1][0] == second:
            return slices[-1]
        while slices and slices[0][0] < second - 60:
            _, tries, retries = slices.popleft()
            self._tries -= tries
            self._retries -= retries
        slices.append([second, 0, 0])
        return slices[-1]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Which failures are retried, and when.

    Time-outs are not: the endpoint may still be working on the first request, and each try costs the whole time limit.

    Parameters
    ----------
    retries : int
        Tries after the first.
    base_s, cap_s : float
        Exponential back-off with full jitter: the n-th wait is uniform in 0 … min(cap, base·2ⁿ⁻¹). A wait that the
        endpoint asks for is obeyed up to ``longest_s``; after a longer one the request is not sent again.
    budget : RetryBudget or None
        Shared by all requests to the endpoint; None: no such limit. A retry after a failure for which all requests
        are held back (``slows_all``) is not counted.
    loading_s : float
        A failure because the endpoint is still loading its model counts as no try until it has answered nothing else
        for this long; ``LOADING_ALONE_S`` if it answers other requests.
    """

    retries: int = 2
    base_s: float = 0.5
    cap_s: float = 30.0
    longest_s: float = LONGEST_WAIT_S
    rng: random.Random = field(default_factory=random.Random)  # processes must not retry in step
    budget: RetryBudget | None = None
    loading_s: float = LOADING_S

    def decide(self, failure: Failure, number: int, refused_s: float = 0.0, alone: bool = False) -> RetryDecision:
        """Decide after the ``number``-th try; a yes may be counted in the budget, so call this once per try.

        Parameters
        ----------
        failure : Failure
        number : int
            Tries so far, without those that ended because the endpoint was still loading its model.
        refused_s : float
            For how long the endpoint has answered this request with nothing but such failures.
        alone : bool
            It has answered others since.
        """
        if failure.kind not in RETRYABLE or failure.code in LASTING_CODES or failure.pending == DAILY_QUOTA:
            return RetryDecision(None)
        requested = failure.retry_after_s
        if requested is not None and requested > self.longest_s:
            return RetryDecision(
                None, WAIT_TOO_LONG.format(wait=shown_wait(requested), longest=shown_wait(self.longest_s))
            )
        if failure.pending == LOADING:
            if not self.retries:
                return RetryDecision(None)
            if refused_s < (min(self.loading_s, LOADING_ALONE_S) if alone else self.loading_s):
                return RetryDecision(max(requested or 0.0, 1 + refused_s * self.rng.uniform(0.5, 1)) if alone else 0.0)
            note = LOADING_ALONE if alone else STILL_LOADING
            return RetryDecision(None, note.format(waited=shown_wait(refused_s)))
        if number > self.retries:
            return RetryDecision(None)
        if not slows_all(failure) and self.budget is not None and not self.budget.allow():
            return RetryDecision(None, BUDGET_EXHAUSTED)
        jittered = self.rng.uniform(0, min(self.cap_s, self.base_s * 2.0 ** (min(number, 60) - 1)))
        return RetryDecision(jittered if requested is None else requested + min(jittered, self.base_s))
