"""What was received and is not yet in the run file: kept beside it the moment it comes, so that no kill loses it.

The asking process appends every turn to a spool before anything else is done with it. That takes microseconds; the
commit comes behind it, in the parent. Two files are written by turns: when one is long enough and all of the other is
in the run file, the other is begun anew. After an end in order they are removed; after any other, ``recover`` takes
over what is missing. They are JSON Lines, read as data and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from evalkit import datasets, messages, schema
from evalkit.done import Done, Talk
from evalkit.errors import DatasetError, RunFileError
from evalkit.store import RunFile, spool_files, unwritable

SEGMENT = 8 * 2**20  # bytes
_GROUP = 1_000  # turns taken over in one transaction
_LOCKED_S = 10.0  # how long the process of a killed run may take to end


class Spool:
    """The writing end; used by one process at a time.

    Parameters
    ----------
    runfile : Path
    begun : (int, int)
        When the session began, on the clock of the stamps and on the wall's (ns).

    Raises
    ------
    RunFileError
        It cannot be written.
    """

    def __init__(self, runfile: Path, begun: tuple[int, int]) -> None:
        self._runfile = runfile
        self._header = messages.frame(messages.Begun(*begun))
        self._files = [_open(path) for path in spool_files(runfile)]
        self._last = [0, 0]  # number of the last turn in each
        self._active = 0
        self._size = 0
        self._written = self._committed = 0
        self._append(self._header)

    @property
    def behind(self) -> int:
        """Turns that are not in the run file yet."""
        return self._written - self._committed

    def write(self, line: bytes, turns: int) -> None:
        """Append a message with so many turns.

        Raises
        ------
        RunFileError
            The disk takes no more.
        """
        other = 1 - self._active
        if self._size > SEGMENT and self._last[other] <= self._committed:
            self._active, self._size = other, 0
            with self._told():
                os.ftruncate(self._files[other], 0)
            self._append(self._header)
        self._append(line)
        self._written += turns
        self._last[self._active] = self._written

    def note_committed(self, count: int) -> None:
        """So many turns of the session are in the run file."""
        self._committed = count

    def close(self) -> None:
        """Let others take over what is in it."""
        for file in self._files:
            os.close(file)

    def _append(self, line: bytes) -> None:
        rest = memoryview(line)
        with self._told():
            while rest:
                rest = rest[os.write(self._files[self._active], rest) :]
        self._size += len(line)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise unwritable(self._runfile, str(error.strerror)) from None


def recover(runfile: RunFile) -> int:
    """Take over what a session that was killed had received and not committed; give the number of turns.

    Parameters
    ----------
    runfile : RunFile
        Open for writing.
    """
    taken = 0
    with contextlib.ExitStack() as held:
        paths = [path for path in spool_files(runfile.path) if path.exists()]
        for path in paths:
            held.enter_context(_locked(path, runfile.path))
        try:
            # either file may hold the beginning of a conversation that goes on in the other
            talks = {talk.position: talk for path in paths for talk in _conversations(path)}
            for path in paths:
                taken += _take_over(runfile, _messages(path), talks)
        except (TypeError, ValueError, LookupError, AttributeError, DatasetError, sqlite3.IntegrityError) as error:
            raise RunFileError(
                f"what lies beside {runfile.path} as its spool is none of evalkit's ({error}): "
                "remove it to go on without"
            ) from None
    remove(runfile.path)
    return taken


def remove(runfile: Path) -> None:
    """Remove the spool of a session that has ended in order."""
    for path in spool_files(runfile):
        path.unlink(missing_ok=True)


def _open(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        file = os.open(path, flags, 0o666)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(file, 0)
    except OSError as error:
        raise RunFileError(f"{path} cannot be written: {error.strerror}. Choose another place with --out") from None
    return file


@contextlib.contextmanager
def _locked(path: Path, runfile: Path) -> Iterator[None]:
    """Wait until the process that wrote a spool is gone."""
    with path.open("rb") as file:
        until = time.monotonic() + _LOCKED_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise RunFileError(f"{runfile} is in use: the process that asked for it is still there") from None
                time.sleep(0.05)
        yield


def _messages(path: Path) -> Iterator[list[Any]]:
    """The messages of a spool; a last line that was cut off is none."""
    with path.open("rb") as file:
        for line in file:
            try:
                message = orjson.loads(line)
            except orjson.JSONDecodeError:
                return
            if not (line.endswith(b"\n") and isinstance(message, list) and message):
                return
            yield message


def _conversations(path: Path) -> Iterator[Talk]:
    for name, *values in _messages(path):
        for new, _, turn, _ in values[0] if name == "turns" else ():
            if new is not None:
                schema.check("turn", turn)
                yield Talk(turn[1][0], datasets.parse_row(new))


def _take_over(runfile: RunFile, lines: Iterator[list[Any]], talks: dict[int, Talk]) -> int:
    taken = 0
    group: list[Done] = []
    for name, *values in lines:
        if name == "begun":
            runfile.continue_session(*values)
            continue
        for _, _, turn, attempts in values[0]:
            schema.check("turn", turn)
            for attempt in attempts:
                schema.check("attempt", attempt)
            position, repeat, number = turn[1][:3]
            if not runfile.holds(position, repeat, number, schema.value("turn", turn, "sent_ns")):
                group.append(Done.of_rows(talks.get(position) or _stored(runfile, position), turn, attempts))
        if len(group) > _GROUP:
            runfile.add(group)
            taken += len(group)
            group.clear()
    runfile.add(group)
    return taken + len(group)


def _stored(runfile: RunFile, position: int) -> Talk:
    row = runfile.row_of(position)
    if row is None:
        raise ValueError(f"nobody knows conversation number {position + 1}")
    return Talk(position, datasets.parse_row(orjson.loads(row)))
