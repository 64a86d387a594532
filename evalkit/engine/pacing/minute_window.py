"""Limits an amount in any 60 seconds, and spreads it over them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_S = 60.0
SLACK_S = 0.5  # travel times vary: two requests that leave 60 s apart may arrive at the endpoint less than that apart
COUNTED_S = WINDOW_S + SLACK_S
SLICE_S = 0.1  # amounts spent within one slice leave the window together
BURST_S = 10.0  # this many seconds' worth of a limit may go at one moment


@dataclass(slots=True)
class WindowSlice:
    """The amounts spent within a tenth of a second."""

    first_s: float
    last_s: float
    amount: float = 0.0
    open: int = 0
    expired: bool = False


@dataclass(slots=True)
class WindowEntry:
    """One spent amount, and the slice that counts it."""

    slice: WindowSlice
    amount: float
    open: bool = True


class BurstLimit:
    """Spreads a limit over the minute: at most ten seconds' worth of it at one moment, the rest as it is refilled.

    A token bucket: it holds a sixth of ``limit``, and is refilled by ``limit`` per minute. An amount may go when the
    bucket holds at least 1; what it takes beyond the level must be refilled before the next may go.

    Parameters
    ----------
    limit : float
        Requests or tokens per minute.
    clock : callable
        Seconds, monotonic.
    """

    def __init__(self, limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._per_s = limit / WINDOW_S
        self._capacity = max(1.0, limit * BURST_S / WINDOW_S)
        self._lowest = self._capacity - limit  # one minute refills any overdraft
        self._level = self._capacity
        self._at = clock()

    def set_limit(self, limit: float) -> None:
        """Change the limit; what is in the bucket stays, up to its new size."""
        self._refilled()
        self._per_s = limit / WINDOW_S
        self._capacity = max(1.0, limit * BURST_S / WINDOW_S)
        self._lowest = self._capacity - limit
        self._level = min(max(self._level, self._lowest), self._capacity)

    def wait_s(self) -> float:
        """Seconds until the next amount may go; 0: now."""
        return max(0.0, (1.0 - self._refilled()) / self._per_s)

    def spend(self, amount: float) -> None:
        """Take ``amount`` out now."""
        self._level = max(self._refilled() - amount, self._lowest)

    def give_back(self, amount: float) -> None:
        """Put back what was taken out too much."""
        self._level = min(self._refilled() + amount, self._capacity)

    def _refilled(self) -> float:
        """The level now."""
        now = self._clock()
        self._level = min(self._level + (now - self._at) * self._per_s, self._capacity)
        self._at = now
        return self._level


class MinuteWindow:
    """At most ``limit`` in any 60 seconds, by the amounts known when each was spent.

    A spent amount counts for 60.5 s. The cost of a query does not grow with the number of amounts: the window consists
    of slices of a tenth of a second, each of which leaves it as a whole, which wastes at most 0.1 s of 60.

    Parameters
    ----------
    limit : float
        Requests or tokens per minute.
    clock : callable
        Seconds, monotonic.

    Attributes
    ----------
    open : int
        How many amounts in the window are not settled yet.
    burst : BurstLimit
        Keeps the whole limit from going at one moment; ``wait_s`` here considers the window only.
    """

    def __init__(self, limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.open = 0
        self.burst = BurstLimit(limit, clock)
        self._clock = clock
        self._slices: deque[WindowSlice] = deque()  # oldest first
        self._sum = 0.0

    def set_limit(self, limit: float) -> None:
        """Change the limit; what was spent under the old one counts."""
        self.limit = limit
        self.burst.set_limit(limit)

    def wait_s(self, amount: float) -> float:
        """Seconds until ``amount`` fits if nothing is settled before; 0: now.

        An amount above the whole limit fits when the window is empty.
        """
        now = self._clock()
        self._drop_expired(now)
        over = self._sum + min(amount, self.limit) - self.limit
        leaves = now
        for piece in self._slices:
            if over <= 0:
                break
            over -= piece.amount
            leaves = piece.last_s + COUNTED_S
        return leaves - now

    def spend(self, amount: float) -> WindowEntry:
        """Spend ``amount`` now; correct the entry later with ``settle``."""
        self.burst.spend(amount)
        return self._add_entry(amount)

    def _add_entry(self, amount: float) -> WindowEntry:
        now = self._clock()
        self._drop_expired(now)
        piece = self._slices[-1] if self._slices else None
        if piece is None or now - piece.first_s >= SLICE_S:
            piece = WindowSlice(now, now)
            self._slices.append(piece)
        piece.last_s = now
        piece.amount += amount
        piece.open += 1
        self._sum += amount
        self.open += 1
        return WindowEntry(piece, amount)

    def settle(self, spent: WindowEntry, amount: float) -> None:
        """Replace the estimate by the true amount, once; a second call does nothing.

        The excess over the estimate counts from when the estimate was spent or, if that has left the window, from now.
        """
        if not spent.open:
            return
        spent.open = False
        self._drop_expired(self._clock())
        piece, more = spent.slice, amount - spent.amount
        if more < 0:
            self.burst.give_back(-more)
        if not piece.expired:
            piece.open -= 1
            self.open -= 1
            piece.amount += more
            self._sum += more
        elif more > 0:
            spent = self._add_entry(more)
            spent.open = False
            spent.slice.open -= 1
            self.open -= 1

    def _drop_expired(self, now: float) -> None:
        slices = self._slices
        while slices and slices[0].last_s + COUNTED_S <= now:
            piece = slices.popleft()
            piece.expired = True
            self._sum -= piece.amount
            self.open -= piece.open
        if not slices:
            self._sum = 0.0  # removes rounding errors
