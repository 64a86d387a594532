"""Runs a session on its own thread, while the user's thread shows progress and handles interrupts."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.engine.asking.session_task import GRACE_S
from evalkit.engine.saving.progress import Progress
from evalkit.process.interrupts import LEAVE_AT, Interrupts
from evalkit.runfile.store import RunFile

if TYPE_CHECKING:
    from evalkit.engine.runner import Runner

Watcher = Callable[[Progress], bool | None]  # return True, exactly, to stop the run
Display = Callable[[Path, Progress], AbstractContextManager[Watcher | None]]

_POLL_S = 0.1
_MESSAGES = (
    f"stopping: no new requests, and those in flight have {GRACE_S:.0f} s to end. Press Ctrl-C again to cancel them",
    "cancelling the requests in flight; what was received is kept. Press Ctrl-C again to exit immediately",
    "exiting; what was received is kept for 'evalkit resume'",
)


class _SessionThread(threading.Thread):
    """Runs the session; closes the run file however it ends.

    Wait for ``ended``, not with ``join``: a join interrupted by a signal marks the thread as dead
    (CPython 3.11 and 3.12).
    """

    def __init__(self, runner: Runner, runfile: RunFile) -> None:
        super().__init__(name="evalkit-run", daemon=True)
        self._runner, self._runfile = runner, runfile
        self.ended = threading.Event()
        self.outcome: str | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with contextlib.closing(self._runfile):
                self.outcome = self._runner.run()
        except BaseException as error:
            self.error = error
        finally:
            self.ended.set()


def run_session(
    runner: Runner, runfile: RunFile, progress: Progress, display: Display, interrupts: Interrupts
) -> str | None:
    """Run the session to its end; return its outcome.

    The first interrupt stops it in an orderly way, the second kills the asking process, the third abandons it.

    Raises
    ------
    KeyboardInterrupt
        There was an interrupt.
    Exception
        An error of the session, the display or the watcher.
    """
    session = _SessionThread(runner, runfile)
    interrupts.on_interrupt(lambda count: runner.stop() if count == 1 else runner.kill())
    try:
        with display(runfile.path, progress) as watch:
            session.start()
            try:
                _wait(session, runner, progress, watch, interrupts)
            except BaseException:
                runner.stop()
                _wait(session, runner, progress, None, interrupts)
                raise
            if session.error is not None:
                raise session.error
            if interrupts.count:
                interrupts.interrupt()
    finally:
        if session.ident is None:  # it never started
            runfile.close()
    return session.outcome


def _wait(
    session: _SessionThread, runner: Runner, progress: Progress, watch: Watcher | None, interrupts: Interrupts
) -> None:
    """Wait for the end, or for the interrupt that abandons the session."""
    while True:
        ended = session.ended.wait(_POLL_S)
        for count in interrupts.new():
            _print(_MESSAGES[min(count, LEAVE_AT) - 1])
        if interrupts.count >= LEAVE_AT:
            return
        if watch is not None:  # also at the end, which a display must show
            with interrupts.foreign_code():
                stop = watch(progress)
            if stop is True and not (ended or progress.stopping):
                runner.stop()
        if ended:
            return


def _print(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # standard error may be closed
        print(text, file=sys.stderr, flush=True)
