"""Ctrl-C and SIGTERM during a run: requests to the run, not exceptions at an arbitrary place in the code."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ExtensionFileLoader
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

HELD_DOWN_S = 0.4  # a key held down repeats sooner: that still counts as one interrupt
LEAVE_AT = 3  # the interrupt that abandons the session
_LOOK_AGAIN_S = 0.01
_INITIALISING = (ExtensionFileLoader.create_module.__code__, ExtensionFileLoader.exec_module.__code__)


def outside_of_extensions(handler: Callable[[int, FrameType | None], None]) -> Callable[[int, FrameType | None], None]:
    """A signal handler that waits while an extension module is being initialised, and then does what ``handler`` does.

    Extension modules import others and read from them without a check: an exception there ends the process by a
    segmentation fault, or becomes an ``ImportError`` of that module.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if _initialises_extension(frame):
            signal.signal(signal.SIGALRM, lambda _, later: handle(number, later))
            signal.setitimer(signal.ITIMER_REAL, _LOOK_AGAIN_S)
        else:
            handler(number, frame)

    return handle


def _initialises_extension(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code in _INITIALISING:
            return True
        frame = frame.f_back
    return False


class Interrupts:
    """Counts interrupts instead of raising them while the block runs; in the main thread only.

    An exception could occur between any two steps, and leave a lock, a process or a file behind. Only signals that have
    a Python handler are intercepted.

    Attributes
    ----------
    count : int
        How many interrupts there were.
    """

    def __init__(self) -> None:
        self.count = 0
        self._on_interrupt: Callable[[int], None] | None = None
        self._in_foreign_code = False
        self._returned = 0
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

    def on_interrupt(self, call: Callable[[int], None]) -> None:
        """Call this with the number of each interrupt, from the signal handler: it may set flags and send signals."""
        self._on_interrupt = call
        for count in range(1, self.count + 1):
            call(count)

    def new(self) -> range:
        """The numbers of the interrupts since the last call."""
        returned, self._returned = self._returned, self.count
        return range(returned + 1, self.count + 1)

    @contextmanager
    def foreign_code(self) -> Iterator[None]:
        """The block runs user code: if it never returns, the third interrupt is raised in it."""
        self._in_foreign_code = True
        try:
            yield
        finally:
            self._in_foreign_code = False

    def interrupt(self) -> NoReturn:
        """Do what the first interrupt would have done: call its previous handler, or raise ``KeyboardInterrupt``."""
        if self._first is not None:
            self._before[self._first](self._first, None)
        raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        repeated = now - self._last_s < HELD_DOWN_S and self.count > 0
        self._last_s = now
        if repeated and number == self._first:
            return
        self._first = self._first or number
        self.count += 1
        if self._on_interrupt is not None:
            self._on_interrupt(self.count)
        if self._in_foreign_code and self.count >= LEAVE_AT:
            self.interrupt()
