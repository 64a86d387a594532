"""At most so much of something in any 60 seconds, spread over them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_S = 60.0
SLACK_S = 0.5  # requests take unequal time to the endpoint: two that leave 60 s apart may arrive less than that apart
HELD_S = WINDOW_S + SLACK_S
SLICE_S = 0.1  # what is spent within it leaves the window together
BURST_S = 10.0  # so many seconds' worth of a budget may go at one moment


@dataclass(slots=True)
class WindowSlice:
    """What was spent within a tenth of a second."""

    first_s: float
    last_s: float
    amount: float = 0.0
    open: int = 0
    gone: bool = False


@dataclass(slots=True)
class WindowEntry:
    """One amount, as it is entered in its slice."""

    slice: WindowSlice
    amount: float
    open: bool = True


class BurstLimit:
    """Lets a minute's budget go evenly: ten seconds' worth of it at one moment at most, the rest as it comes in.

    A bucket: it holds a sixth of ``limit``, and gets ``limit`` a minute. Something may go as long as there is at least
    one of it; what it takes above that has to come in before the next.

    Parameters
    ----------
    limit : float
        Requests or tokens a minute.
    clock : callable
        Seconds, monotonic.
    """

    def __init__(self, limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._each_s = limit / WINDOW_S
        self._most = max(1.0, limit * BURST_S / WINDOW_S)
        self._least = self._most - limit  # a minute makes up for whatever was taken
        self._held = self._most
        self._at = clock()

    def wait_s(self) -> float:
        """Seconds until something may go; 0: now."""
        return max(0.0, (1.0 - self._now()) / self._each_s)

    def spend(self, amount: float) -> None:
        """Note ``amount`` as gone now."""
        self._held = max(self._now() - amount, self._least)

    def give_back(self, amount: float) -> None:
        """Less has gone than was noted."""
        self._held = min(self._now() + amount, self._most)

    def _now(self) -> float:
        now = self._clock()
        self._held = min(self._held + (now - self._at) * self._each_s, self._most)
        self._at = now
        return self._held


class MinuteWindow:
    """At most ``limit`` of something in any 60 seconds, by the amounts known when each was let go.

    What is spent counts for 60.5 s. Asking costs the same however much was spent: the window is kept in slices of a
    tenth of a second, which leave it as a whole, so that at most 0.1 s of 60 is given away by that.

    Parameters
    ----------
    limit : float
        Requests or tokens a minute.
    clock : callable
        Seconds, monotonic.

    Attributes
    ----------
    open : int
        How many of the amounts in the window have not been settled.
    spread : Spread
        When something may go so that not all of the limit goes at one moment; ``wait_s`` knows the window alone.
    """

    def __init__(self, limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.open = 0
        self.spread = BurstLimit(limit, clock)
        self._clock = clock
        self._slices: deque[WindowSlice] = deque()  # oldest first
        self._sum = 0.0

    def wait_s(self, amount: float) -> float:
        """Seconds until ``amount`` fits if nothing is settled before; 0: now.

        More than the whole limit fits when nothing else is there.
        """
        now = self._clock()
        self._forget(now)
        over = self._sum + min(amount, self.limit) - self.limit
        leaves = now
        for piece in self._slices:
            if over <= 0:
                break
            over -= piece.amount
            leaves = piece.last_s + HELD_S
        return leaves - now

    def spend(self, amount: float) -> WindowEntry:
        """Note ``amount`` as spent now; the entry can be corrected with ``settle``."""
        self.spread.spend(amount)
        return self._enter(amount)

    def _enter(self, amount: float) -> WindowEntry:
        now = self._clock()
        self._forget(now)
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
        """Put the true amount in place of the estimate, once; a second time does nothing.

        What is more than the estimate counts from when that was spent or, if it has left the window since, from now.
        """
        if not spent.open:
            return
        spent.open = False
        self._forget(self._clock())
        piece, more = spent.slice, amount - spent.amount
        if more < 0:
            self.spread.give_back(-more)
        if not piece.gone:
            piece.open -= 1
            self.open -= 1
            piece.amount += more
            self._sum += more
        elif more > 0:
            spent = self._enter(more)
            spent.open = False
            spent.slice.open -= 1
            self.open -= 1

    def _forget(self, now: float) -> None:
        slices = self._slices
        while slices and slices[0].last_s + HELD_S <= now:
            piece = slices.popleft()
            piece.gone = True
            self._sum -= piece.amount
            self.open -= piece.open
        if not slices:
            self._sum = 0.0  # what rounding left
