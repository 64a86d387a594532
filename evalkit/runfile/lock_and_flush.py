"""A run file on disk: locked for one writer, its log flushed regularly, its loss detected.

After a commit the operating system has the data, so killing a process, this one included, loses nothing. A power cut
would, so the log is flushed to the disk 20 times a second, on a thread that blocks nothing else.
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
_reserved: dict[Path, IO[str]] = {}  # locks of run files that this process is about to create


class Flusher(threading.Thread):
    """Flushes the log of a run file to the disk while the file is written.

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
        """Request a flush after a commit."""
        self._written.set()

    def end(self) -> None:
        """Stop flushing: the file is about to be closed, which flushes it."""
        self._ended.set()
        self._written.set()
        self.join()

    def run(self) -> None:
        """Flush after commits, at most every ``FLUSH_S``."""
        while self._written.wait() and not self._ended.is_set():
            self._written.clear()
            with contextlib.suppress(OSError):  # the file is gone; the writer reports that
                self._flush()
            self._ended.wait(FLUSH_S)

    def _flush(self) -> None:
        log = os.open(self._log, os.O_RDONLY)
        try:
            os.fsync(log)
        finally:
            os.close(log)


class FileIdentity:
    """The identity of a file when it was opened, to detect that it was deleted, moved or replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = self._identity()

    @property
    def lost(self) -> bool:
        """Whether the file was deleted, moved or replaced."""
        return self._known is None or self._identity() != self._known

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino


def lock(path: Path) -> IO[str]:
    """Acquire the lock of a run file, so that one process at a time writes to it.

    Raises
    ------
    RunFileError
        Another process writes to it.
    OSError
        Its folder cannot be written.
    """
    return _reserved.pop(path.absolute(), None) or _take_lock(path)


def _take_lock(path: Path) -> IO[str]:
    name = Path(f"{path}-lock")
    while True:
        lock_file = name.open("a")
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock_file.close()
            raise RunFileError(
                f"{path} is in use: another evalkit is writing to it. "
                "Wait for it, or read it meanwhile with 'evalkit show'"
            ) from None
        # the previous holder may have removed the lock file after it was opened here and before it was locked
        with contextlib.suppress(FileNotFoundError):
            if name.stat().st_ino == os.fstat(lock_file.fileno()).st_ino:
                forks.close_in_forks(lock_file.fileno())
                return lock_file
        lock_file.close()


def unlock(lock_file: IO[str]) -> None:
    """Release the lock of a run file."""
    with contextlib.suppress(OSError):
        Path(lock_file.name).unlink()
    forks.forget(lock_file.fileno())
    with contextlib.suppress(OSError):
        fcntl.flock(lock_file, fcntl.LOCK_UN)  # also for copies of the descriptor in other processes
    lock_file.close()


def reserve(path: Path) -> None:
    """Acquire the lock of a run file that does not exist yet, for the next ``lock`` in this process; raises as that."""
    _reserved[path.absolute()] = _take_lock(path)


def release(path: Path) -> None:
    """Release a reserved name, unless its run file was created."""
    if (lock_file := _reserved.pop(path.absolute(), None)) is not None:
        unlock(lock_file)
