"""How many requests or conversations may run in parallel."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from evalkit.errors import SettingsError


class Slots:
    """At most ``limit`` slots in use at a time; waiters get them in the order in which they came.

    For one event loop; not for threads. Release each acquired slot exactly once.

    Parameters
    ----------
    limit : int
        At least 1. You can change it at any time: a higher limit lets waiters in immediately, a lower one makes new
        callers wait until enough slots are released.

    Attributes
    ----------
    in_use : int
        Slots acquired and not released, including those given to waiters that have not resumed yet.

    Raises
    ------
    SettingsError
        The limit is below 1.
    """

    __slots__ = ("_limit", "_waiters", "in_use")

    def __init__(self, limit: int) -> None:
        self.in_use = 0
        self._waiters: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self.limit = limit

    @property
    def limit(self) -> int:
        """How many slots there are."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        if limit < 1:
            raise SettingsError(f"{limit} requests in parallel would send nothing: use 1 or more")
        self._limit = limit
        self._wake_waiters()

    def try_acquire(self) -> bool:
        """Take a slot if one is free and nobody waits; return whether it did."""
        if self.in_use < self._limit and not self._waiters:
            self.in_use += 1
            return True
        return False

    async def acquire(self) -> None:
        """Take a slot as soon as one is free; when one is free now, without yielding to the event loop.

        Raises
        ------
        asyncio.CancelledError
            The waiter was cancelled. It holds no slot; one that it had just been given goes to the next waiter.
        """
        if self.in_use < self._limit and not self._waiters:
            self.in_use += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None
        try:
            await waiter
        except BaseException:
            self._waiters.pop(waiter, None)
            if not waiter.cancelled():  # it was given a slot just before
                self.release()
            raise

    def release(self) -> None:
        """Give a slot back, to the first waiter if there is one."""
        self.in_use -= 1
        if self._waiters:
            self._wake_waiters()

    def _wake_waiters(self) -> None:
        while self._waiters and self.in_use < self._limit:
            waiter, _ = self._waiters.popitem(last=False)
            if not waiter.done():
                self.in_use += 1
                waiter.set_result(None)
