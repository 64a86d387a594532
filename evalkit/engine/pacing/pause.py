"""Holds all requests back while the endpoint asks for that, and lets them go again step by step."""

from __future__ import annotations

import asyncio
import heapq
import math
import random
import time
from collections.abc import Awaitable, Callable

from evalkit.engine.pacing.retries import LONGEST_WAIT_S

FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S = 1.0, 8.0
FORGET_S = 60.0  # without a refusal for this long, back-off starts at its beginning
STEP_S = 0.5  # while nothing is answered, requests go one per this time
MARGIN_S = 0.02  # after a wait, so that requests do not arrive just before its end
GROWTH = 1.25  # requests that go for each one answered


class Pause:
    """Holds back all requests to an endpoint that asked one of them to wait.

    ``hold`` is for a wait after which all may go: each waiter continues at a random moment within ``spread_s`` after
    it. ``back_off`` is for refusals, such as a 429: after the wait, requests go one by one, first those that were
    refused most often. Each answer lets 1.25 more go, so that an endpoint with a quota refuses few of them, and then
    each failure of another kind lets one go in its place; without answers, one goes every half second. A refusal that
    names no wait doubles the last one, from 1 s to 8 s, unless an answer came in between; then it is repeated.

    Parameters
    ----------
    longest_s : float
        Longer waits are cut to this.
    spread_s : float
        See above; within half the wait, if that is shorter.
    clock : callable
        Seconds, monotonic.
    sleep : callable
        Accepts seconds.

    Attributes
    ----------
    on : bool
        ``wait`` must be awaited. Stays True after the end until the first waiter notices, and while others wait.
    until : float
        The end of the latest hold, by the clock.
    answers : int
        Answers noted so far.
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
        self.answers = 0
        self._longest_s, self._spread_s, self._clock, self._sleep = longest_s, spread_s, clock, sleep
        self._spread = 0.0
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        # of the latest back-off
        self._refused_at = self._refused_since = -math.inf
        self._back_off_s = 0.0
        self._answered = True  # since the latest refusal
        self._step_by_step = False
        self._credit = 0.0  # requests that may go now
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []  # a heap: refused most often first, then oldest
        self._number = 0
        self._more = asyncio.Event()
        self._letting_go: asyncio.Task[None] | None = None

    @property
    def left_s(self) -> float:
        """Seconds until the end of the hold; 0: there is none."""
        return max(0.0, self.until - self._clock())

    @property
    def refused_s(self) -> float:
        """For how long the endpoint has refused all requests; 0: it has not, or has answered since."""
        return 0.0 if self._answered else self._clock() - self._refused_since

    def hold(self, seconds: float) -> None:
        """Hold back requests that come from now on; a hold never shortens an earlier, longer one."""
        if not seconds > 0:
            return
        seconds = min(seconds, self._longest_s)
        until = self._clock() + seconds
        if until > self.until:
            self.until, self.on = until, True
            self._spread = min(self._spread_s, seconds / 2)

    def back_off(self, seconds: float | None, sent_s: float) -> None:
        """Hold back all requests after a refusal.

        Parameters
        ----------
        seconds : float or None
            The wait that the endpoint asks for; None: it names none.
        sent_s : float
            How long ago the refused request was sent. One that was sent before the latest refusal says nothing new.
        """
        now = self._clock()
        new = now - sent_s >= self._refused_at
        if seconds is not None:
            seconds += self._rng.uniform(MARGIN_S, MARGIN_S + min(0.5, seconds / 4))
        elif new:
            seconds = self._next_back_off_s(now) * self._rng.uniform(1, 1.25)
        if new and self._answered:
            self._answered, self._refused_since = False, now
        self._refused_at = now
        self._step_by_step = self.on = True
        self._credit = 1.0
        self.hold(seconds or 0.0)

    def _next_back_off_s(self, now: float) -> float:
        if self._back_off_s == 0 or now - self._refused_at > FORGET_S + self._back_off_s:
            self._back_off_s = FIRST_BACK_OFF_S
        elif not self._answered:
            self._back_off_s = min(2 * self._back_off_s, LONGEST_BACK_OFF_S)
        return self._back_off_s

    def note_answer(self, sent_s: float) -> None:
        """Take note of an answer, while ``on``: more requests may go.

        Parameters
        ----------
        sent_s : float
            How long ago the request was sent. One that was sent before the latest refusal says nothing new.
        """
        if self._clock() - sent_s < self._refused_at:
            return
        self._answered = True
        self.answers += 1
        self._let_more_go(GROWTH)

    def note_failure(self, sent_s: float) -> None:
        """Take note of a request that failed and was not refused, while ``on``: another may go in its place.

        Without this, an endpoint that answers fewer than four of five requests would never get back to its rate. One
        that has answered none since it refused is spared.

        Parameters
        ----------
        sent_s : float
            As for ``note_answer``.
        """
        if self._answered and self._clock() - sent_s >= self._refused_at:
            self._let_more_go(1.0)

    def _let_more_go(self, count: float) -> None:
        self._credit += count
        self._more.set()

    async def wait(self, refusals: int = 0) -> None:
        """Return when this request is no longer held back.

        Parameters
        ----------
        refusals : int
            How often it was refused.
        """
        if self._step_by_step:
            await self._wait_in_line(refusals)
            return
        while (left := self.left_s) > 0:
            await self._sleep(left + self._rng.uniform(0, self._spread))
        if not self._step_by_step:
            self.on = False

    async def _wait_in_line(self, refusals: int) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._number += 1
        heapq.heappush(self._waiters, (-refusals, self._number, waiter))
        if self._letting_go is None or self._letting_go.done():
            self._letting_go = asyncio.get_running_loop().create_task(self._let_go())
        await waiter

    async def _let_go(self) -> None:
        """Let waiters go, until none has come for one step."""
        idle = False
        while True:
            while (left := self.left_s) > 0:
                await self._sleep(left)
                idle = False
            while self._waiters and self._credit >= 1:
                *_, waiter = heapq.heappop(self._waiters)
                if not waiter.done():
                    waiter.set_result(None)
                    self._credit -= 1
            if not self._waiters and (idle or self._answered):
                break
            self._more.clear()
            idle = not self._waiters
            try:
                await asyncio.wait_for(self._more.wait(), STEP_S)
            except TimeoutError:
                self._credit = max(self._credit, 1.0)
        self._step_by_step = self.on = False
