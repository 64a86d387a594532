"""Turns received but not yet in the run file, in files next to it: no turn is lost when a process is killed.

The asking process appends every turn to a spool before anything else is done with it. That takes microseconds; the
parent commits the turn later. Two files are written alternately: when one is long enough and all turns of the other are
in the run file, the other is started again. After an orderly end they are removed; after any other, ``recover`` copies
the missing turns into the run file.

A line is a CRC-32, the two clocks of the session and a message, and is only ever read as data. It begins with the line
feed, so that a line cut short by a full disk ends where the next one begins. A damaged line loses its own turns, and is
reported. Files of earlier versions hold messages only: their first message has the clocks.
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
from evalkit.record import TurnKey
from evalkit.runfile import schema
from evalkit.runfile.finished_turn import FinishedTurn, LazyConversation
from evalkit.runfile.schema import Row
from evalkit.runfile.store import RunFile, spool_files, unwritable

SEGMENT = 8 * 2**20  # bytes
_GROUP = 1_000  # turns recovered in one transaction
_LOCKED_S = 10.0  # how long the asking process of a killed run may take to end

_ANSWERED = "SELECT 1 FROM turn WHERE (conversation, repeat, turn) = (?, ?, ?) AND status = 'answered'"
_LOG = logging.getLogger("evalkit")
_Clocks = tuple[int, int]  # start of a session, on the monotonic and on the wall clock (ns)


class Spool:
    """Writes a spool; for one process at a time.

    Parameters
    ----------
    runfile : Path
    clocks : (int, int)
        Start of the session, on the monotonic and on the wall clock (ns).

    Raises
    ------
    RunFileError
        It cannot be written.
    """

    def __init__(self, runfile: Path, clocks: _Clocks) -> None:
        self._runfile = runfile
        self._clocks = b"%d %d " % clocks
        self._header = process_messages.frame(process_messages.SessionStarted(*clocks))
        self._files = [_open(path) for path in spool_files(runfile)]
        self._last = [0, 0]  # number of the last turn in each file
        self._active = 0
        self._size = 0
        self._written = self._committed = 0
        self._append(self._header)  # a full disk is noticed before the first request

    @property
    def behind(self) -> int:
        """Turns that are not in the run file yet."""
        return self._written - self._committed

    def write(self, line: bytes, turns: int) -> None:
        """Append a message that holds this many turns.

        Raises
        ------
        RunFileError
            The disk is full or fails.
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
        """Take note of how many turns of the session are in the run file."""
        self._committed = count

    def close(self) -> None:
        """Close and unlock the files."""
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
    """Copy turns that a killed session received but did not commit into the run file; return their number.

    They belong to that session, which stays without an end time. Unreadable lines are reported in the log.

    Parameters
    ----------
    runfile : RunFile
        Open for writing.
    """
    current = runfile.session
    with contextlib.ExitStack() as locks:
        paths = [path for path in spool_files(runfile.path) if path.exists()]
        for path in paths:
            locks.enter_context(_locked(path, runfile.path))
        try:
            recovery = _Recovery(runfile, paths)
            recovery.recover()
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
                f"the spool files next to {runfile.path} were not written by evalkit ({error}): "
                "remove them to continue without them"
            ) from None
        finally:
            runfile.session = current
    remove(runfile.path)
    if recovery.unreadable:
        _LOG.warning(recovery.loss_message())
    return recovery.recovered


def remove(runfile: Path) -> None:
    """Remove the spool after an orderly end of the session."""
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
    """Wait until the process that wrote a spool has ended, and lock it."""
    with path.open("rb") as file:
        deadline = time.monotonic() + _LOCKED_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RunFileError(
                        f"{runfile} is in use: the process that sends its requests is still running"
                    ) from None
                time.sleep(0.05)
        yield


class _Turn(NamedTuple):
    """A turn in a spool: the row of its conversation if it is its first turn, its own row, those of its attempts."""

    clocks: _Clocks | None
    conversation: Row | None
    turn: Row
    attempts: list[Row]

    @property
    def key(self) -> TurnKey:
        position, repeat, number = self.turn[1][:3]
        return position, repeat, number


class _Recovery:
    """Reads the files of a spool twice: first for which turns are there, then to copy them.

    Attributes
    ----------
    recovered, unreadable, left_out : int
        Turns copied; lines that cannot be read; turns left out because an earlier one, which they saw, is lost.
    """

    def __init__(self, runfile: RunFile, paths: list[Path]) -> None:
        self._runfile, self._paths = runfile, paths
        self._conversations: dict[int, LazyConversation] = {}  # one may begin in either file and continue in the other
        self._keys: set[TurnKey] = set()
        self._own_history = runfile.info()["settings"].get("history", "own") == "own"
        self.recovered = self.unreadable = self.left_out = 0
        for turn in self._turns(count=True):
            self._keys.add(turn.key)
            if turn.conversation is not None:
                position = turn.key[0]
                self._conversations[position] = LazyConversation(position, reader.parse_row(turn.conversation))

    def recover(self) -> None:
        """Add the turns to the run file that it lacks."""
        clocks: _Clocks | None = None
        group: list[FinishedTurn] = []
        for turn in self._turns():
            session_clocks = turn.clocks or self._last_session()
            if len(group) > _GROUP or session_clocks != clocks:
                self._add(group)
            if session_clocks != clocks:
                clocks = session_clocks
                self._runfile.continue_session(*clocks)
            if not self._runfile.holds(*turn.key, schema.value("turn", turn.turn, "sent_ns")):
                if self._has_all_it_saw(turn.key):
                    group.append(FinishedTurn(self._conversation(turn.key[0]), turn.turn, turn.attempts))
                else:
                    self.left_out += 1
        self._add(group)

    def loss_message(self) -> str:
        """What could not be recovered, as a message."""
        lines = "1 line" if self.unreadable == 1 else f"{self.unreadable:,} lines"
        message = (
            f"{lines} of the spool of {self._runfile.path} could not be read: damaged, or cut short by a full disk. "
            "The turns in it that the run file lacks are lost, and 'evalkit resume' sends them again"
        )
        turns = "1 later turn" if self.left_out == 1 else f"{self.left_out:,} later turns"
        return f"{message}, with {turns} that saw them" if self.left_out else message

    def _add(self, group: list[FinishedTurn]) -> None:
        self._runfile.add(group)
        self.recovered += len(group)
        group.clear()

    def _turns(self, *, count: bool = False) -> Iterator[_Turn]:
        for path in self._paths:
            clocks: _Clocks | None = None  # of a file of an earlier version, from its first line
            with path.open("rb") as file:
                for line in file:
                    if line == b"\n":
                        continue
                    read = _read(line)
                    if read is None:
                        self.unreadable += count
                        continue
                    line_clocks, message = read
                    if isinstance(message, process_messages.SessionStarted):
                        clocks = int(message.mono_ns), int(message.wall_ns)
                        continue
                    if not isinstance(message, process_messages.FinishedTurns):
                        raise TypeError(f"a spool has no messages of the type {type(message).__name__}")
                    for row, _, turn, attempts in message.turns:
                        schema.check("turn", turn)
                        for attempt in attempts:
                            schema.check("attempt", attempt)
                        yield _Turn(line_clocks or clocks, row, turn, attempts)

    def _has_all_it_saw(self, key: TurnKey) -> bool:
        """Whether everything that a turn saw is there: its conversation and the earlier turns."""
        position, repeat, number = key
        if not self.unreadable:
            return True
        if position not in self._conversations and self._runfile.row_of(position) is None:
            return False
        return not self._own_history or all(
            (position, repeat, earlier) in self._keys or self._answered(position, repeat, earlier)
            for earlier in range(1, number)
        )

    def _answered(self, *key: int) -> bool:
        return self._runfile.connection.execute(_ANSWERED, key).fetchone() is not None

    def _conversation(self, position: int) -> LazyConversation:
        if position not in self._conversations:
            row = self._runfile.row_of(position)
            if row is None:
                raise ValueError(f"conversation number {position + 1} is neither in it nor in the run file")
            self._conversations[position] = LazyConversation(position, reader.parse_row(orjson.loads(row)))
        return self._conversations[position]

    def _last_session(self) -> _Clocks:
        """Clocks for a file whose first line is damaged: those of the last session."""
        query = "SELECT started_mono_ns, started_wall_ns FROM session ORDER BY id DESC LIMIT 1"
        found = self._runfile.connection.execute(query).fetchone()
        if found is None:
            raise ValueError("the start of its session is unknown")
        return int(found[0]), int(found[1])


def _read(line: bytes) -> tuple[_Clocks | None, Message] | None:
    """A line's clocks and message; None: it is damaged."""
    line = line.rstrip(b"\n")
    clocks = None
    if not line.startswith(b"["):
        checksum, _, payload = line.partition(b" ")
        if checksum != b"%08x" % zlib.crc32(payload):
            return None
        mono, wall, line = payload.split(b" ", 2)
        clocks = int(mono), int(wall)
    try:
        return clocks, process_messages.parse(line)
    except orjson.JSONDecodeError:
        return None
