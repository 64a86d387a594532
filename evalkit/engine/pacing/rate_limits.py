"""When a request may go: requests and tokens per minute."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from evalkit.engine.pacing.minute_window import MinuteWindow, WindowEntry

CHARACTERS_A_TOKEN = 4  # for estimates alone
FIRST_OUTPUT = 500  # tokens an answer is taken to have before any was seen
ENOUGH = 8  # answers, to know their mean length
MEMORY = 256  # answers
SAFETY = 4.5  # likely errors of what is on its way that are kept free; with 4, one window in 120,000 was above
LOOK_S = 0.1  # what is settled meanwhile may let a request go earlier than the clock alone would


@dataclass(slots=True)
class Permit:
    """Leave for one request; goes back to ``Pacer.settle``."""

    prompt_tokens: float
    max_output: int | None
    spent: WindowEntry


class SlotSource(Protocol):
    """What a request waits for beside its permit: it holds neither while it waits for the other."""

    def look(self) -> None:
        """Called now and then while others are waited for; what it raises ends the wait."""

    async def enter(self) -> None:
        """Wait for a place, and take it."""

    def leave(self) -> None:
        """Give it back: the permit is not there any more."""


class _UnlimitedSlots:
    """A door that nobody waits at."""

    def look(self) -> None: ...

    async def enter(self) -> None: ...

    def leave(self) -> None: ...


class RateLimiter:
    """Gives permits: one request against the request budget, its tokens against the token budget.

    A request's tokens, prompt and answer, are counted at the moment of its permit. How many they are is known only at
    its end, so a permit reserves what is expected: the estimate of the prompt, corrected by how far earlier estimates
    were off, and the mean length of the latest answers, but no more than the request's own limit; until eight answers
    have been counted, that limit itself or, without one, the longest answer so far and at least 500. ``settle`` puts
    the true count in its place. What it is below the reservation is free at once; what it is above is taken from the
    permits that follow.

    What is guaranteed, for any 60 seconds:

    - requests permitted never exceed ``rpm``;
    - neither budget goes at one moment: ten seconds' worth of it (a sixth), and one request more, at most; the rest as
      it comes in, evenly over the minute;
    - the true tokens of the requests permitted never exceed ``tpm`` by more than what those not yet settled, when the
      last of them was permitted, took above their reservations. To make up for these, 4.5 times their likely error is
      kept free: that of each by chance, and that of the mean they all were reserved by. Over 36 simulated endpoints
      with exponentially distributed answers no window was above ``tpm``, and at least 95 % of it was used where
      answers took up to 8 s; the longer they take, the more has to be kept free (of 20 s: 90 % was used, of one
      minute: 72 %);
    - a request that exceeds ``tpm`` alone goes when nothing else is in the window, and nothing else goes with it.

    Parameters
    ----------
    rpm, tpm : float or None
        Requests and tokens per minute; None: no limit.
    clock : callable
        Seconds, monotonic.
    sleep : callable
        Takes seconds.

    Attributes
    ----------
    unlimited : bool
        There is no limit: ``permit`` need not be awaited, its permit is None.
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
        self._turnstile = asyncio.Lock()

    async def permit(
        self, prompt_tokens: float, max_output: int | None = None, door: SlotSource | None = None
    ) -> Permit | None:
        """Wait until a request may go, first come, first served; the permit goes to ``settle``, whatever happens.

        Parameters
        ----------
        prompt_tokens : float
            Estimated; ``CHARACTERS_A_TOKEN`` helps.
        max_output : int, optional
            The request's own limit of the answer, in tokens.
        door : Door, optional
            Passed by the time this returns. Who comes first waits at it, once the permit is there to be had.

        Returns
        -------
        Permit or None
            None: there is no token limit, so nothing to settle.
        """
        door = door or _UnlimitedSlots()
        if self.unlimited:
            await door.enter()
            return None
        async with self._turnstile:
            while True:
                door.look()
                if (wait := self._wait_s(prompt_tokens, max_output)) > 0:
                    await self._sleep(min(wait, LOOK_S))
                    continue
                await door.enter()
                if self._wait_s(prompt_tokens, max_output) <= 0:
                    return self._spend(prompt_tokens, max_output)
                door.leave()

    def settle(
        self,
        permit: Permit | None,
        prompt_tokens: int | None = None,
        output_tokens: int | None = None,
        characters: int | None = None,
    ) -> None:
        """Put what was used in place of what was reserved.

        Parameters
        ----------
        permit : Permit or None
            None does nothing.
        prompt_tokens, output_tokens : int or None
            As the server counted them. Without the prompt's its estimate stays.
        characters : int or None
            Length of the answer, for when the server did not count. None, and no count: what was reserved stays, as
            after a failure that does not tell what the endpoint has counted.
        """
        if permit is None or self._tokens is None:
            return
        if output_tokens is None and characters is not None:
            output_tokens = math.ceil(characters / CHARACTERS_A_TOKEN)
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
            wait = max(self._requests.wait_s(1), self._requests.spread.wait_s())
        if self._tokens is None:
            return wait
        wait = max(wait, self._tokens.spread.wait_s())
        likely_error = self._expected.error(self._tokens.open + 1)
        return max(wait, self._tokens.wait_s(self._expected.total(prompt_tokens, max_output) + SAFETY * likely_error))

    def _spend(self, prompt_tokens: float, max_output: int | None) -> Permit | None:
        if self._requests:
            self._requests.spend(1)
        if self._tokens is None:
            return None
        return Permit(prompt_tokens, max_output, self._tokens.spend(self._expected.total(prompt_tokens, max_output)))


class ExpectedTokens:
    """What a request is likely to use, learnt from those before it; the latest 256 count most."""

    def __init__(self) -> None:
        self._count = 0
        self._told = self._guessed = 0.0  # tokens of prompts, fading
        self._output = 0.0
        self._longest = FIRST_OUTPUT
        self._square = 0.0

    def error(self, requests: int) -> float:
        """Typical error of what so many requests are expected to use together, in tokens."""
        if self._count < ENOUGH:
            return 0.0
        return math.sqrt(self._square * (requests + requests * requests / min(self._count, MEMORY)))

    def prompt(self, estimate: float) -> int:
        """Tokens of a prompt."""
        return math.ceil(estimate * self._told / self._guessed if self._guessed else estimate)

    def output(self, max_output: int | None) -> int:
        """Tokens of an answer."""
        if self._count < ENOUGH:
            return self._longest if max_output is None else max_output
        mean = math.ceil(self._output)
        return mean if max_output is None else min(mean, max_output)

    def total(self, estimate: float, max_output: int | None) -> int:
        """Tokens of both."""
        return self.prompt(estimate) + self.output(max_output)

    def learn(self, estimate: float, max_output: int | None, prompt_tokens: int | None, output_tokens: int) -> None:
        """Take in what a request has used."""
        self._count += 1
        weight = 1 / min(self._count, MEMORY)
        mean = self._output if max_output is None else min(self._output, max_output)
        error = output_tokens - mean
        self._longest = max(self._longest, output_tokens)
        self._output += weight * (output_tokens - self._output)
        if prompt_tokens is not None:
            error += prompt_tokens - self.prompt(estimate)
            self._told += prompt_tokens - self._told * weight
            self._guessed += estimate - self._guessed * weight
        if self._count > 1:  # the first has nothing to be compared with
            self._square += (error * error - self._square) / min(self._count - 1, MEMORY)
