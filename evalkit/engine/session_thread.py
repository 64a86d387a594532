"""A session of a run on a thread of its own, while the user's thread shows its progress and hears interrupts."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.engine.asking.session import GRACE_S
from evalkit.engine.saving.progress import Progress
from evalkit.process.interrupts import LEAVE, Interrupts
from evalkit.runfile.store import RunFile

if TYPE_CHECKING:
    from evalkit.engine.runner import Runner

Watcher = Callable[[Progress], bool | None]  # True, and nothing else: stop the run
Display = Callable[[Path, Progress], AbstractContextManager[Watcher | None]]

_LOOK_S = 0.1
_WORDS = (
    f"stopping: nothing new is asked, and answers under way have {GRACE_S:.0f} s. "
    "Press Ctrl-C again to end without them",
    "ending without the answers under way; what was received is kept. Press Ctrl-C again to leave at once",
    "leaving at once; what was received is kept for 'evalkit resume'",
)


class _SessionThread(threading.Thread):
    """The session; it closes the run file however it ends.

    Wait for ``ended``, not with ``join``: a join that a signal interrupts takes the thread for dead
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
    """Run the session to its end; its outcome.

    The first interrupt stops it in order, the second ends the asking process, the third leaves it to itself.

    Raises
    ------
    KeyboardInterrupt
        There was an interrupt.
    Exception
        What the session, the display or the watcher raised.
    """
    session = _SessionThread(runner, runfile)
    interrupts.heed(lambda count: runner.stop() if count == 1 else runner.kill())
    try:
        with display(runfile.path, progress) as watch:
            session.start()
            try:
                _attend(session, runner, progress, watch, interrupts)
            except BaseException:
                runner.stop()
                _attend(session, runner, progress, None, interrupts)
                raise
            if session.error is not None:
                raise session.error
            if interrupts.count:
                interrupts.interrupt()
    finally:
        if session.ident is None:  # it never started
            runfile.close()
    return session.outcome


def _attend(
    session: _SessionThread, runner: Runner, progress: Progress, watch: Watcher | None, interrupts: Interrupts
) -> None:
    """Wait for the end, or for the interrupt that waits for nothing."""
    while True:
        ended = session.ended.wait(_LOOK_S)
        for count in interrupts.untold():
            _say(_WORDS[min(count, LEAVE) - 1])
        if ended or interrupts.count >= LEAVE:
            return
        if watch is not None:
            with interrupts.foreign_code():
                wanted = watch(progress)
            if wanted is True and not progress.stopping:
                runner.stop()


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody can be told
        print(text, file=sys.stderr, flush=True)
