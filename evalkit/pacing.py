"""When a request may go: requests and tokens per minute, and what is worth asking again after how long."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from evalkit.budget import Budget, Spent
from evalkit.record import Failure

RETRYABLE = frozenset({"rate_limited", "server", "connection", "truncated", "empty"})
LASTING_CODES = frozenset({"insufficient_quota", "length", "content_filter"})  # asking again changes nothing
LONGEST_WAIT_S = 120.0

CHARACTERS_A_TOKEN = 4  # for estimates alone
FIRST_OUTPUT = 500  # tokens an answer is taken to have before any was seen
ENOUGH = 8  # answers, to know their mean length
MEMORY = 256  # answers
SAFETY = 4.5  # likely errors of what is on its way that are kept free; with 4, one window in 120,000 was above
LOOK_S = 0.1  # what is settled meanwhile may let a request go earlier than the clock alone would

BUDGET_SPENT = "Not tried again: too many of the last requests failed."
WAIT_TOO_LONG = "Not tried again: the endpoint asks to wait {wait:,.0f} s, longer than {longest:,.0f} s."


class Ruling(NamedTuple):
    """Whether to ask again.

    Parameters
    ----------
    delay_s : float or None
        After how long; None: not again.
    note : str
        What a reader should know of why not, as a sentence to put behind the failure's message; empty when the failure
        or the number of tries says it all.
    """

    delay_s: float | None
    note: str = ""


class RetryBudget:
    """How many retries there may be, so that a failing endpoint is not hammered: a share of the first tries.

    In any 60 seconds at most ``share`` of that time's first tries are asked again, and ``reserve`` more, so that a
    short run can retry at all. A slice of a second leaves the window as a whole.

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
        """A request is asked for the first time."""
        self._slice()[1] += 1
        self._tries += 1

    def allow(self) -> bool:
        """Whether one more retry is within the budget; if so, it is counted."""
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
class Retry:
    """Which failures are asked again, and when.

    Time-outs are not: the endpoint may still be working on the first one, and each try costs the whole limit.

    Parameters
    ----------
    retries : int
        Tries after the first.
    base_s, cap_s : float
        Exponential back-off with full jitter: the n-th wait is uniform in 0 … min(cap, base·2ⁿ⁻¹). A wait that
        the endpoint asks for is kept to, up to ``longest_s``; a longer one ends the trying.
    budget : RetryBudget or None
        Shared by all requests to the endpoint; None: there is none.
    """

    retries: int = 2
    base_s: float = 0.5
    cap_s: float = 30.0
    longest_s: float = LONGEST_WAIT_S
    rng: random.Random = field(default_factory=random.Random)  # another in every process: they must not keep step
    budget: RetryBudget | None = None

    def ruling(self, failure: Failure, number: int) -> Ruling:
        """Whether to ask again after the ``number``-th try; a yes is counted in the budget, so ask once a try."""
        if failure.kind not in RETRYABLE or failure.code in LASTING_CODES or number > self.retries:
            return Ruling(None)
        asked = failure.retry_after_s
        if asked is not None and asked > self.longest_s:
            return Ruling(None, WAIT_TOO_LONG.format(wait=asked, longest=self.longest_s))
        if self.budget is not None and not self.budget.allow():
            return Ruling(None, BUDGET_SPENT)
        jittered = self.rng.uniform(0, min(self.cap_s, self.base_s * 2.0 ** (min(number, 60) - 1)))
        return Ruling(jittered if asked is None else asked + min(jittered, self.base_s))


class Pause:
    """Holds back all requests to an endpoint that asked one of them to wait.

    Parameters
    ----------
    longest_s : float
        A longer wait is cut to this.
    spread_s : float
        Who waited goes on at a random moment within this after the end (within half the wait, if that is shorter), so
        that not all come back at once.
    clock : callable
        Seconds, monotonic.
    sleep : callable
        Takes seconds.

    Attributes
    ----------
    on : bool
        ``wait`` has to be awaited. It stays True after the end until somebody has found that out.
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
        """Hold back whoever comes from now on; a hold never ends an earlier, longer one."""
        if not seconds > 0:
            return
        seconds = min(seconds, self._longest_s)
        until = self._clock() + seconds
        if until > self.until:
            self.until, self.on = until, True
            self._spread = min(self._spread_s, seconds / 2)

    async def wait(self) -> None:
        """Return when nothing holds requests back any more."""
        while (left := self.until - self._clock()) > 0:
            await self._sleep(left + self._rng.uniform(0, self._spread))
        self.on = False


@dataclass(slots=True)
class Permit:
    """Leave for one request; goes back to ``Pacer.settle``."""

    prompt_tokens: float
    max_output: int | None
    spent: Spent


class Door(Protocol):
    """What a request waits for beside its permit: it holds neither while it waits for the other."""

    def look(self) -> None:
        """Called now and then while others are waited for; what it raises ends the wait."""

    async def enter(self) -> None:
        """Wait for a place, and take it."""

    def leave(self) -> None:
        """Give it back: the permit is not there any more."""


class _Open:
    """A door that nobody waits at."""

    def look(self) -> None: ...

    async def enter(self) -> None: ...

    def leave(self) -> None: ...


class Pacer:
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
        self._requests = Budget(rpm, clock) if rpm else None
        self._tokens = Budget(tpm, clock) if tpm else None
        self._expected = Expected()
        self._sleep = sleep
        self._turnstile = asyncio.Lock()

    async def permit(
        self, prompt_tokens: float, max_output: int | None = None, door: Door | None = None
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
        door = door or _Open()
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


class Expected:
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
