"""When the requests of an open loop are due, whether or not earlier ones have ended."""

from __future__ import annotations

import asyncio
import math
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count

from evalkit.errors import SettingsError

KINDS = ("constant", "poisson")
SEEDS = 1_000_000  # few digits: a seed may have to be typed
EARLY_NS = 1_000_000  # event loops sleep whole milliseconds: the rest is waited without sleeping


@dataclass(frozen=True, slots=True)
class Arrivals:
    """An endless schedule: its iterator yields due times, integer ns since the start, never falling.

    The schedule is a pure function of its parameters. It does not depend on when a time is taken from it, so a late
    client does not shift later requests: a request is *due* when the schedule says, it is sent when the client gets
    to it, and the difference is part of its schedule latency. Every iterator starts from the beginning.

    Parameters
    ----------
    rate_per_s : float
        Requests per second, on average. Read as the decimal number it prints as: 0.1 is one in exactly 10 s.
    kind : str
        ``constant``: the i-th (from 0) is due at i / rate, rounded down to a whole ns; rounding errors do not add up.
        ``poisson``: gaps, including the one before the first, are exponential with mean 1 / rate.
    seed : int
        For ``poisson``.

    Raises
    ------
    SettingsError
        The rate is not above 0, or the kind is unknown.

    Examples
    --------
    >>> due = iter(Arrivals(3))
    >>> [next(due) for _ in range(4)]
    [0, 333333333, 666666666, 1000000000]
    """

    rate_per_s: float
    kind: str = "constant"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.rate_per_s < math.inf:
            raise SettingsError(f"a rate of {self.rate_per_s} requests per second is not possible: use one above 0")
        if self.kind not in KINDS:
            raise SettingsError(f"arrivals {self.kind!r} are unknown: use one of {', '.join(KINDS)}")

    def __iter__(self) -> Iterator[int]:
        """Start the schedule."""
        return self._constant() if self.kind == "constant" else self._poisson()

    def _constant(self) -> Iterator[int]:
        gap = 1_000_000_000 / Fraction(repr(self.rate_per_s))
        return (number * gap.numerator // gap.denominator for number in count())

    def _poisson(self) -> Iterator[int]:
        draw = random.Random(f"arrivals {self.seed}").random  # noqa: S311 - a schedule, not a secret
        due, mean = 0, 1e9 / self.rate_per_s
        while True:
            due += round(-math.log(1.0 - draw()) * mean)
            yield due


def new_seed() -> int:
    """A new random seed: runs with equal gaps would share their bursts, and agree for that reason alone."""
    return secrets.randbelow(SEEDS)


def check_seed(seed: int | None, kind: str) -> None:
    """Refuse a seed that is not valid, or that nothing would use.

    Raises
    ------
    SettingsError
    """
    if seed is None:
        return
    if type(seed) is not int or seed < 0:
        raise SettingsError(f"seed is {seed!r}: it must be a whole number, 0 or more")
    if kind != "poisson":
        raise SettingsError("a seed applies to poisson arrivals only: give a rate and arrivals 'poisson' too")


async def wait_until(
    due_ns: int,
    clock: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Return at or just after ``due_ns``, never before; immediately when it has passed.

    It sleeps until shortly before and then yields to other tasks repeatedly, so it is late by at most one iteration of
    the event loop. A late caller yields once too, so that catching up does not delay reads.

    Parameters
    ----------
    due_ns : int
        On ``clock``: the schedule's start plus a time from ``Arrivals``.
    clock : callable
        Monotonic, integer ns.
    sleep : callable
        Accepts seconds.
    """
    left = due_ns - clock()
    if left > EARLY_NS:
        await sleep((left - EARLY_NS) / 1e9)
    await sleep(0)
    while clock() < due_ns:
        await sleep(0)
