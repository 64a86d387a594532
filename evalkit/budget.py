"""At most so much of something in any 60 seconds."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_S = 60.0
SLACK_S = 0.5  # requests take unequal time to the endpoint: two that leave 60 s apart may arrive less than that apart
HELD_S = WINDOW_S + SLACK_S
SLICE_S = 0.1  # what is spent within it leaves the window together


@dataclass(slots=True)
class Slice:
    """What was spent within a tenth of a second."""

    first_s: float
    last_s: float
    amount: float = 0.0
    open: int = 0
    gone: bool = False


@dataclass(slots=True)
class Spent:
    """One amount, as it is entered in its slice."""

    slice: Slice
    amount: float
    open: bool = True


class Budget:
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
    """

    def __init__(self, limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.open = 0
        self._clock = clock
        self._slices: deque[Slice] = deque()  # oldest first
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

    def spend(self, amount: float) -> Spent:
        """Note ``amount`` as spent now; the entry can be corrected with ``settle``."""
        now = self._clock()
        self._forget(now)
        piece = self._slices[-1] if self._slices else None
        if piece is None or now - piece.first_s >= SLICE_S:
            piece = Slice(now, now)
            self._slices.append(piece)
        piece.last_s = now
        piece.amount += amount
        piece.open += 1
        self._sum += amount
        self.open += 1
        return Spent(piece, amount)

    def settle(self, spent: Spent, amount: float) -> None:
        """Put the true amount in place of the estimate, once; a second time does nothing.

        What is more than the estimate counts from when that was spent or, if it has left the window since, from now.
        """
        if not spent.open:
            return
        spent.open = False
        self._forget(self._clock())
        piece, more = spent.slice, amount - spent.amount
        if not piece.gone:
            piece.open -= 1
            self.open -= 1
            piece.amount += more
            self._sum += more
        elif more > 0:
            spent = self.spend(more)
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
