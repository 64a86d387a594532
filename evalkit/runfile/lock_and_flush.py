"""A run file on the disk: locked for one writer, its log flushed all the while, its loss seen.

A commit is in the operating system's hands: a process that is killed, this one included, loses nothing of it. A power
cut would, so the log is flushed to the disk twenty times a second, on a thread that holds nothing up.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from pathlib import Path
from typing import IO

from evalkit.errors import RunFileError
from evalkit.process import forks

FLUSH_S = 0.05
_reserved: dict[Path, IO[str]] = {}  # locks of run files that this process is about to make


class Flusher(threading.Thread):
    """Flushes the log of a run file to the disk while it is written.

    Parameters
    ----------
    log : Path
        SQLite's write-ahead log.
    """

    def __init__(self, log: Path) -> None:
        super().__init__(name="evalkit-flusher", daemon=True)
        self._log = log
        self._written = threading.Event()
        self._ended = threading.Event()

    def note_commit(self) -> None:
        """Something was committed."""
        self._written.set()

    def end(self) -> None:
        """Flush no more: the file is about to be closed, which flushes it."""
        self._ended.set()
        self._written.set()
        self.join()

    def run(self) -> None:
        """Flush after commits, at most so often."""
        while self._written.wait() and not self._ended.is_set():
            self._written.clear()
            with contextlib.suppress(OSError):  # it is gone, which the writing finds
                self._flush()
            self._ended.wait(FLUSH_S)

    def _flush(self) -> None:
        log = os.open(self._log, os.O_RDONLY)
        try:
            os.fsync(log)
        finally:
            os.close(log)


class Whereabouts:
    """Where a file was when it was opened, to see whether it still is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = self._identity()

    @property
    def lost(self) -> bool:
        """It was deleted, moved or replaced since."""
        return self._known is None or self._identity() != self._known

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino


def lock(path: Path) -> IO[str]:
    """Take the lock of a run file, so that one process at a time writes it.

    Raises
    ------
    RunFileError
        Another one does.
    OSError
        Its place cannot be written.
    """
    return _reserved.pop(path.absolute(), None) or _taken(path)


def _taken(path: Path) -> IO[str]:
    name = Path(f"{path}-lock")
    while True:
        held = name.open("a")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.close()
            raise RunFileError(
                f"{path} is in use: another evalkit is writing to it. "
                "Wait for it, or read it meanwhile with 'evalkit show'"
            ) from None
        # who held it before may have removed the file between our opening and our locking it
        with contextlib.suppress(FileNotFoundError):
            if name.stat().st_ino == os.fstat(held.fileno()).st_ino:
                forks.close_in_forks(held.fileno())
                return held
        held.close()


def unlock(held: IO[str]) -> None:
    """Let others write."""
    with contextlib.suppress(OSError):
        Path(held.name).unlink()
    forks.forget(held.fileno())
    with contextlib.suppress(OSError):
        fcntl.flock(held, fcntl.LOCK_UN)  # whoever else holds a copy
    held.close()


def reserve(path: Path) -> None:
    """Take the lock of a run file that is not there yet, for the next ``lock`` of this process; raises as that does."""
    _reserved[path.absolute()] = _taken(path)


def release(path: Path) -> None:
    """Let others have a name that was reserved, unless its run file was made."""
    if (held := _reserved.pop(path.absolute(), None)) is not None:
        unlock(held)
