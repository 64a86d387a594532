"""How many requests may be under way at once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from evalkit.errors import SettingsError


class Slots:
    """Lets at most ``limit`` in at once; the others wait, first come, first served.

    For one event loop; not for threads. Who has entered must leave, once.

    Parameters
    ----------
    limit : int
        At least 1. It can be changed at any time: a higher one lets waiters in at once, a lower one holds back
        whoever comes next until enough of those inside have left.

    Attributes
    ----------
    inside : int
        Who has entered and not left, with waiters that were let in and have not run yet.

    Raises
    ------
    SettingsError
        The limit is below 1.
    """

    __slots__ = ("_limit", "_waiters", "inside")

    def __init__(self, limit: int) -> None:
        self.inside = 0
        self._waiters: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self.limit = limit

    @property
    def limit(self) -> int:
        """How many may be inside."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        if limit < 1:
            raise SettingsError(f"{limit} requests at once would ask nothing: use 1 or more")
        self._limit = limit
        self._let_in()

    def try_enter(self) -> bool:
        """Enter if there is room and nobody waits; whether it did."""
        if self.inside < self._limit and not self._waiters:
            self.inside += 1
            return True
        return False

    async def enter(self) -> None:
        """Enter, as soon as there is room; with room, without giving way to other tasks.

        Raises
        ------
        asyncio.CancelledError
            The waiter was cancelled; it is not inside, and the place it may have had already is another's.
        """
        if self.inside < self._limit and not self._waiters:
            self.inside += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None
        try:
            await waiter
        except BaseException:
            self._waiters.pop(waiter, None)
            if not waiter.cancelled():  # it was let in just before
                self.leave()
            raise

    def leave(self) -> None:
        """Give the place to the first who waits."""
        self.inside -= 1
        if self._waiters:
            self._let_in()

    def _let_in(self) -> None:
        while self._waiters and self.inside < self._limit:
            waiter, _ = self._waiters.popitem(last=False)
            if not waiter.done():
                self.inside += 1
                waiter.set_result(None)
