"""Requests and tokens per minute: when a request may go."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from evalkit.engine.pacing.minute_window import MinuteWindow, WindowEntry

CHARACTERS_PER_TOKEN = 4  # for estimates only
FIRST_OUTPUT = 500  # tokens expected of an answer before any was counted
ENOUGH = 8  # answers needed to estimate their mean length
MEMORY = 256  # answers
SAFETY = 4.5  # typical errors of unsettled requests that are kept free; with 4, one window in 120,000 was above tpm
POLL_S = 0.1  # requests settled meanwhile may let the next go earlier than the clock alone would


@dataclass(slots=True)
class Permit:
    """Permission for one request; pass it to ``RateLimiter.settle`` at its end."""

    prompt_tokens: float
    max_output: int | None
    spent: WindowEntry


class SlotSource(Protocol):
    """Where a request gets its slot, besides its permit; it holds neither while it waits for the other."""

    def check(self) -> None:
        """Called repeatedly while the request waits for its permit; an exception ends the wait."""

    async def acquire(self) -> None:
        """Wait for a slot, and take it."""

    def release(self) -> None:
        """Give the slot back: meanwhile the permit has become unavailable."""


class _UnlimitedSlots:
    """A source whose slots never run out."""

    def check(self) -> None: ...

    async def acquire(self) -> None: ...

    def release(self) -> None: ...


class RateLimiter:
    """Gives permits: each counts as one request of ``rpm``, and its tokens count against ``tpm``.

    A request's tokens, of prompt and answer, count from the moment of its permit. Their number is known only at its
    end, so a permit reserves the expected number: the estimate for the prompt, corrected by how far earlier estimates
    were off, and the mean length of the latest answers, but no more than the request's own limit. Until eight answers
    have been counted, the answer's share is that limit or, without one, the longest answer so far and at least 500.
    ``settle`` replaces the reservation by the true count. If that is lower, the difference is free immediately; if
    higher, it is taken from the permits that follow.

    Guarantees for any 60 seconds:

    - requests permitted never exceed ``rpm``;
    - neither limit is used up in one moment: at most ten seconds' worth (a sixth) plus one request goes at a time, the
      rest evenly over the minute;
    - the true tokens of the requests permitted never exceed ``tpm`` by more than the amount by which those not yet
      settled, when the last of them was permitted, exceeded their reservations. To compensate for that, 4.5 times
      their typical error is kept free: the random error of each, and the error of the mean that all their reservations
      were based on. In 36 simulated endpoints with exponentially distributed answers no window was above ``tpm``, and
      at least 95 % of it was used where answers took up to 8 s. The longer answers take, the more must be kept free (at
      20 s 90 % was used, at one minute 72 %);
    - a request that exceeds ``tpm`` by itself goes when nothing else is in the window, and nothing else goes with it.

    Parameters
    ----------
    rpm, tpm : float or None
        Requests and tokens per minute; None: no limit.
    clock : callable
        Seconds, monotonic.
    sleep : callable
        Accepts seconds.

    Attributes
    ----------
    unlimited : bool
        There is no limit: ``permit`` need not be awaited, and its result is None.
    """

    def __init__(
        self,
        rpm: float | None = None,
        tpm: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.unlimited = not rpm and not tpm
        self._requests = MinuteWindow(rpm, clock) if rpm else None
        self._tokens = MinuteWindow(tpm, clock) if tpm else None
        self._expected = ExpectedTokens()
        self._sleep = sleep
        self._queue = asyncio.Lock()

    def set_limits(self, rpm: float | None, tpm: float | None) -> None:
        """Change limits that exist; permits given before count."""
        if self._requests is not None and rpm:
            self._requests.set_limit(rpm)
        if self._tokens is not None and tpm:
            self._tokens.set_limit(tpm)

    async def permit(
        self, prompt_tokens: float, max_output: int | None = None, slots: SlotSource | None = None
    ) -> Permit | None:
        """Wait until a request may go, first come, first served; always pass the permit to ``settle`` afterwards.

        Parameters
        ----------
        prompt_tokens : float
            An estimate, such as characters divided by ``CHARACTERS_PER_TOKEN``.
        max_output : int, optional
            The request's own limit for the answer, in tokens.
        slots : SlotSource, optional
            Its slot is acquired when this returns. The first in line waits for it once the permit is available.

        Returns
        -------
        Permit or None
            None: there is no token limit, so there is nothing to settle.
        """
        slots = slots or _UnlimitedSlots()
        if self.unlimited:
            await slots.acquire()
            return None
        async with self._queue:
            while True:
                slots.check()
                if (wait := self._wait_s(prompt_tokens, max_output)) > 0:
                    await self._sleep(min(wait, POLL_S))
                    continue
                await slots.acquire()
                if self._wait_s(prompt_tokens, max_output) <= 0:
                    return self._spend(prompt_tokens, max_output)
                slots.release()

    def settle(
        self,
        permit: Permit | None,
        prompt_tokens: int | None = None,
        output_tokens: int | None = None,
        characters: int | None = None,
    ) -> None:
        """Replace the reservation by what was used.

        Parameters
        ----------
        permit : Permit or None
            None does nothing.
        prompt_tokens, output_tokens : int or None
            As the server counted them. Without a count for the prompt its estimate stays.
        characters : int or None
            Length of the answer, used when the server did not count. With neither, the reservation stays, as after a
            failure: what the endpoint counted is unknown then.
        """
        if permit is None or self._tokens is None:
            return
        if output_tokens is None and characters is not None:
            output_tokens = math.ceil(characters / CHARACTERS_PER_TOKEN)
        if output_tokens is None:
            self._tokens.settle(permit.spent, permit.spent.amount)
            return
        if permit.spent.open:
            self._expected.learn(permit.prompt_tokens, permit.max_output, prompt_tokens, output_tokens)
        used = self._expected.prompt(permit.prompt_tokens) if prompt_tokens is None else prompt_tokens
        self._tokens.settle(permit.spent, used + output_tokens)

    def _wait_s(self, prompt_tokens: float, max_output: int | None) -> float:
        wait = 0.0
        if self._requests:
            wait = max(self._requests.wait_s(1), self._requests.burst.wait_s())
        if self._tokens is None:
            return wait
        wait = max(wait, self._tokens.burst.wait_s())
        likely_error = self._expected.error(self._tokens.open + 1)
        return max(wait, self._tokens.wait_s(self._expected.total(prompt_tokens, max_output) + SAFETY * likely_error))

    def _spend(self, prompt_tokens: float, max_output: int | None) -> Permit | None:
        if self._requests:
            self._requests.spend(1)
        if self._tokens is None:
            return None
        return Permit(prompt_tokens, max_output, self._tokens.spend(self._expected.total(prompt_tokens, max_output)))


class ExpectedTokens:
    """How many tokens a request will probably use, learned from earlier ones; the latest 256 count most."""

    def __init__(self) -> None:
        self._count = 0
        self._counted_prompts = self._estimated_prompts = 0.0  # tokens, with decaying weights
        self._output = 0.0
        self._longest = FIRST_OUTPUT
        self._square_error = 0.0

    def error(self, requests: int) -> float:
        """Typical error of the expected total of this many requests, in tokens."""
        if self._count < ENOUGH:
            return 0.0
        return math.sqrt(self._square_error * (requests + requests * requests / min(self._count, MEMORY)))

    def prompt(self, estimate: float) -> int:
        """Expected tokens of a prompt."""
        return math.ceil(
            estimate * self._counted_prompts / self._estimated_prompts if self._estimated_prompts else estimate
        )

    def output(self, max_output: int | None) -> int:
        """Expected tokens of an answer."""
        if self._count < ENOUGH:
            return self._longest if max_output is None else max_output
        mean = math.ceil(self._output)
        return mean if max_output is None else min(mean, max_output)

    def total(self, estimate: float, max_output: int | None) -> int:
        """Expected tokens of both."""
        return self.prompt(estimate) + self.output(max_output)

    def learn(self, estimate: float, max_output: int | None, prompt_tokens: int | None, output_tokens: int) -> None:
        """Learn from what a request has used."""
        self._count += 1
        weight = 1 / min(self._count, MEMORY)
        mean = self._output if max_output is None else min(self._output, max_output)
        error = output_tokens - mean
        self._longest = max(self._longest, output_tokens)
        self._output += weight * (output_tokens - self._output)
        if prompt_tokens is not None:
            error += prompt_tokens - self.prompt(estimate)
            self._counted_prompts += prompt_tokens - self._counted_prompts * weight
            self._estimated_prompts += estimate - self._estimated_prompts * weight
        if self._count > 1:  # the first has nothing to be compared with
            self._square_error += (error * error - self._square_error) / min(self._count - 1, MEMORY)
