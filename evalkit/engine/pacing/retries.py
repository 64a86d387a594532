"""Which failed requests are sent again, and after how long."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from evalkit.record import LASTING_CODES, Failure

RETRYABLE = frozenset({"rate_limited", "server", "connection", "truncated", "empty"})
LONGEST_WAIT_S = 120.0

BUDGET_EXHAUSTED = "Not tried again: too many of the last requests failed."
WAIT_TOO_LONG = "Not tried again: the endpoint asks to wait {wait:,.0f} s, longer than {longest:,.0f} s."


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
        Shared by all requests to the endpoint; None: no such limit.
    """

    retries: int = 2
    base_s: float = 0.5
    cap_s: float = 30.0
    longest_s: float = LONGEST_WAIT_S
    rng: random.Random = field(default_factory=random.Random)  # processes must not retry in step
    budget: RetryBudget | None = None

    def decide(self, failure: Failure, number: int) -> RetryDecision:
        """Decide after the ``number``-th try; a yes is counted in the budget, so call this once per try."""
        if failure.kind not in RETRYABLE or failure.code in LASTING_CODES or number > self.retries:
            return RetryDecision(None)
        requested = failure.retry_after_s
        if requested is not None and requested > self.longest_s:
            return RetryDecision(None, WAIT_TOO_LONG.format(wait=requested, longest=self.longest_s))
        if self.budget is not None and not self.budget.allow():
            return RetryDecision(None, BUDGET_EXHAUSTED)
        jittered = self.rng.uniform(0, min(self.cap_s, self.base_s * 2.0 ** (min(number, 60) - 1)))
        return RetryDecision(jittered if requested is None else requested + min(jittered, self.base_s))


class Pause:
    """Holds back all requests to an endpoint that asked one of them to wait.

    Parameters
    ----------
    longest_s : float
        Longer waits are cut to this.
    spread_s : float
        Each waiter continues at a random moment within this time after the end (within half the wait, if that is
        shorter), so that they do not all return together.
    clock : callable
        Seconds, monotonic.
    sleep : callable
        Accepts seconds.

    Attributes
    ----------
    on : bool
        ``wait`` must be awaited. Stays True after the end until the first waiter notices.
    until : float
        The end of the latest hold, by the clock.
    """

    def __init__(
        self,
        longest_s: float = LONGEST_WAIT_S,
        spread_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self.on = False
        self.until = -math.inf
        self._longest_s, self._spread_s, self._clock, self._sleep = longest_s, spread_s, clock, sleep
        self._spread = 0.0
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret

    def hold(self, seconds: float) -> None:
        """Hold back requests that come from now on; a hold never shortens an earlier, longer one."""
        if not seconds > 0:
            return
        seconds = min(seconds, self._longest_s)
        until = self._clock() + seconds
        if until > self.until:
            self.until, self.on = until, True
            self._spread = min(self._spread_s, seconds / 2)

    async def wait(self) -> None:
        """Return when requests are no longer held back."""
        while (left := self.until - self._clock()) > 0:
            await self._sleep(left + self._rng.uniform(0, self._spread))
        self.on = False
