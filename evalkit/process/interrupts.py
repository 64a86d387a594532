"""Ctrl-C and SIGTERM while a run goes: requests to it, and no exceptions at any place of the code."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

HELD_DOWN_S = 0.4  # a key that is held down repeats sooner: that is one interrupt still
LEAVE = 3  # the interrupt that waits for nothing


class Interrupts:
    """Counts interrupts instead of raising them, for as long as the block runs; in the main thread alone.

    An exception could come between any two steps, and leave a lock, a process or a file behind. Only signals that have
    a handler in Python are taken.

    Attributes
    ----------
    count : int
        How many there were.
    """

    def __init__(self) -> None:
        self.count = 0
        self._on_interrupt: Callable[[int], None] | None = None
        self._in_foreign_code = False
        self._told = 0
        self._last_s = 0.0
        self._first: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                if callable(before):
                    self._before[number] = before
                    signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def heed(self, on_interrupt: Callable[[int], None]) -> None:
        """Call this with each interrupt, by its number, from the handler: it may set flags and send signals."""
        self._on_interrupt = on_interrupt
        for count in range(1, self.count + 1):
            on_interrupt(count)

    def untold(self) -> range:
        """The numbers of the interrupts since this was asked last."""
        told, self._told = self._told, self.count
        return range(told + 1, self.count + 1)

    @contextmanager
    def foreign_code(self) -> Iterator[None]:
        """Code of the user's runs in the block: if it never returns, the third interrupt is raised in it."""
        self._in_foreign_code = True
        try:
            yield
        finally:
            self._in_foreign_code = False

    def interrupt(self) -> NoReturn:
        """Do what the first one would have done: raise ``KeyboardInterrupt``, or what stands in its place."""
        if self._first is not None:
            self._before[self._first](self._first, None)
        raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        again = now - self._last_s < HELD_DOWN_S and self.count > 0
        self._last_s = now
        if again and number == self._first:
            return
        self._first = self._first or number
        self.count += 1
        if self._on_interrupt is not None:
            self._on_interrupt(self.count)
        if self._in_foreign_code and self.count >= LEAVE:
            self.interrupt()
