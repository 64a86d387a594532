"""What was received and is not yet in the run file: kept beside it the moment it comes, so that no kill loses it.

The asking process appends every turn to a spool before anything else is done with it. That takes microseconds; the
commit comes behind it, in the parent. Two files are written alternately: when one is long enough and all of the other
is in the run file, the other is started again. After an end in order they are removed; after any other, ``recover``
takes over what is missing.

A line is a CRC-32, the two clocks of the session and a message, read as data and nothing else. It begins with the line
feed, so that one written in half, by a disk that was full, ends where the next one begins. A damaged line costs what it
holds, and is reported. Files of earlier versions hold messages alone: there the first tells the clocks.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

from evalkit.datasets import reader
from evalkit.engine.saving import process_messages
from evalkit.engine.saving.process_messages import Message
from evalkit.errors import DatasetError, RunFileError
from evalkit.runfile import schema
from evalkit.runfile.finished_turn import Done, Talk
from evalkit.runfile.schema import Row
from evalkit.runfile.store import RunFile, spool_files, unwritable

SEGMENT = 8 * 2**20  # bytes
_GROUP = 1_000  # turns taken over in one transaction
_LOCKED_S = 10.0  # how long the process of a killed run may take to end

_ANSWERED = "SELECT 1 FROM turn WHERE (conversation, repeat, turn) = (?, ?, ?) AND status = 'answered'"
_LOG = logging.getLogger("evalkit")
_Clocks = tuple[int, int]  # when a session began, on the clock of the stamps and on the wall's (ns)
_Key = tuple[int, int, int]  # conversation, repeat, turn


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

    def __init__(self, runfile: Path, begun: _Clocks) -> None:
        self._runfile = runfile
        self._clocks = b"%d %d " % begun
        self._header = process_messages.frame(process_messages.Begun(*begun))
        self._files = [_open(path) for path in spool_files(runfile)]
        self._last = [0, 0]  # number of the last turn in each
        self._active = 0
        self._size = 0
        self._written = self._committed = 0
        self._append(self._header)  # a disk that takes nothing is found before the first request

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
            try:
                os.ftruncate(self._files[other], 0)
            except OSError as error:
                raise unwritable(self._runfile, str(error.strerror)) from None
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

    def _append(self, message: bytes) -> None:
        rest = memoryview(message)[:-1]  # without its line feed
        head = memoryview(b"\n%08x %b" % (zlib.crc32(rest, zlib.crc32(self._clocks)), self._clocks))
        left = size = len(head) + len(rest)
        try:
            while (written := os.writev(self._files[self._active], (head, rest))) < left:
                left -= written
                head, rest = head[written:], rest[max(written - len(head), 0) :]
        except OSError as error:
            raise unwritable(self._runfile, str(error.strerror)) from None
        self._size += size


def recover(runfile: RunFile) -> int:
    """Take over what a session that was killed had received and not committed; give the number of turns.

    It belongs to that session, which is left without an end. Lines that cannot be read are told in the log.

    Parameters
    ----------
    runfile : RunFile
        Open for writing.
    """
    own = runfile.session
    with contextlib.ExitStack() as held:
        paths = [path for path in spool_files(runfile.path) if path.exists()]
        for path in paths:
            held.enter_context(_locked(path, runfile.path))
        try:
            recovery = _Recovery(runfile, paths)
            recovery.take_over()
        except (
            ArithmeticError,
            AttributeError,
            DatasetError,
            LookupError,
            TypeError,
            ValueError,
            sqlite3.IntegrityError,
        ) as error:
            raise RunFileError(
                f"what lies beside {runfile.path} as its spool is none of evalkit's ({error}): "
                "remove it to go on without"
            ) from None
        finally:
            runfile.session = own
    remove(runfile.path)
    if recovery.unreadable:
        _LOG.warning(recovery.loss())
    return recovery.taken


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


class _Turn(NamedTuple):
    """A turn as it is handed over: its conversation if it is the first of it, its row, those of its attempts."""

    clocks: _Clocks | None
    conversation: Row | None
    turn: Row
    attempts: list[Row]

    @property
    def key(self) -> _Key:
        position, repeat, number = self.turn[1][:3]
        return position, repeat, number


class _Recovery:
    """Reads the files of a spool twice: for what is there, and to take it over.

    Attributes
    ----------
    taken, unreadable, left_out : int
        Turns taken over; lines that cannot be read; turns left out since an earlier one, which they had seen, is lost.
    """

    def __init__(self, runfile: RunFile, paths: list[Path]) -> None:
        self._runfile, self._paths = runfile, paths
        self._talks: dict[int, Talk] = {}  # either file may hold the beginning of one that goes on in the other
        self._keys: set[_Key] = set()
        self._own_history = runfile.info()["settings"].get("history", "own") == "own"
        self.taken = self.unreadable = self.left_out = 0
        for turn in self._turns(count=True):
            self._keys.add(turn.key)
            if turn.conversation is not None:
                position = turn.key[0]
                self._talks[position] = Talk(position, reader.parse_row(turn.conversation))

    def take_over(self) -> None:
        """Put into the run file what it lacks."""
        clocks: _Clocks | None = None
        group: list[Done] = []
        for turn in self._turns():
            began = turn.clocks or self._last_session()
            if len(group) > _GROUP or began != clocks:
                self._add(group)
            if began != clocks:
                clocks = began
                self._runfile.continue_session(*clocks)
            if not self._runfile.holds(*turn.key, schema.value("turn", turn.turn, "sent_ns")):
                if self._known(turn.key):
                    group.append(Done(self._talk(turn.key[0]), turn.turn, turn.attempts))
                else:
                    self.left_out += 1
        self._add(group)

    def loss(self) -> str:
        """What could not be taken over, in words."""
        lines = "1 line" if self.unreadable == 1 else f"{self.unreadable:,} lines"
        words = (
            f"{lines} of the spool of {self._runfile.path} could not be read: damaged, or cut off by a disk that was "
            "full. What it held and the run file does not is missing, and is asked again by resume"
        )
        turns = "1 later turn" if self.left_out == 1 else f"{self.left_out:,} later turns"
        return f"{words}, with {turns} that had seen it" if self.left_out else words

    def _add(self, group: list[Done]) -> None:
        self._runfile.add(group)
        self.taken += len(group)
        group.clear()

    def _turns(self, *, count: bool = False) -> Iterator[_Turn]:
        for path in self._paths:
            clocks: _Clocks | None = None  # in a file of an earlier version, from its first line on
            with path.open("rb") as file:
                for line in file:
                    if line == b"\n":
                        continue
                    read = _read(line)
                    if read is None:
                        self.unreadable += count
                        continue
                    told, message = read
                    if isinstance(message, process_messages.Begun):
                        clocks = int(message.mono_ns), int(message.wall_ns)
                        continue
                    if not isinstance(message, process_messages.Turns):
                        raise TypeError(f"a line of a spool is no {type(message).__name__.lower()}")
                    for new, _, turn, attempts in message.turns:
                        schema.check("turn", turn)
                        for attempt in attempts:
                            schema.check("attempt", attempt)
                        yield _Turn(told or clocks, new, turn, attempts)

    def _known(self, key: _Key) -> bool:
        """Whether nothing that a turn had seen is lost: the earlier turns and its conversation."""
        position, repeat, number = key
        if not self.unreadable:
            return True
        if position not in self._talks and self._runfile.row_of(position) is None:
            return False
        return not self._own_history or all(
            (position, repeat, earlier) in self._keys or self._answered(position, repeat, earlier)
            for earlier in range(1, number)
        )

    def _answered(self, *key: int) -> bool:
        return self._runfile.connection.execute(_ANSWERED, key).fetchone() is not None

    def _talk(self, position: int) -> Talk:
        if position not in self._talks:
            row = self._runfile.row_of(position)
            if row is None:
                raise ValueError(f"nobody knows conversation number {position + 1}")
            self._talks[position] = Talk(position, reader.parse_row(orjson.loads(row)))
        return self._talks[position]

    def _last_session(self) -> _Clocks:
        """Whose a file is whose first line was damaged."""
        query = "SELECT started_mono_ns, started_wall_ns FROM session ORDER BY id DESC LIMIT 1"
        found = self._runfile.connection.execute(query).fetchone()
        if found is None:
            raise ValueError("nobody knows when its session began")
        return int(found[0]), int(found[1])


def _read(line: bytes) -> tuple[_Clocks | None, Message] | None:
    """A line's clocks and message; None: it is damaged."""
    line = line.rstrip(b"\n")
    clocks = None
    if not line.startswith(b"["):
        checksum, _, payload = line.partition(b" ")
        if checksum != b"%08x" % zlib.crc32(payload):
            return None
        started, wall, line = payload.split(b" ", 2)
        clocks = int(started), int(wall)
    try:
        return clocks, process_messages.parse(line)
    except orjson.JSONDecodeError:
        return None
