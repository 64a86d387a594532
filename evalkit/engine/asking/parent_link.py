"""The asking process's end of the connection to its parent."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evalkit.conversation import Conversation
from evalkit.engine.saving import process_messages
from evalkit.engine.saving.process_messages import (
    CallFunction,
    Committed,
    Conversations,
    End,
    FinishedTurns,
    FunctionResult,
    Message,
    NoMore,
    SessionStarted,
    Share,
    Start,
    Stop,
)
from evalkit.engine.saving.spool import Spool
from evalkit.record import TurnRecord
from evalkit.runfile import record_rows

BACKLOG = 2_000  # turns that the parent may be behind
GROUP_S = 0.01  # turns that end within this time are sent and committed together; the spool has them meanwhile
POLL_S = 0.25  # between two checks of the parent

_EndedTurn = tuple[int, Conversation, bool, bool, TurnRecord]  # the arguments of ``put``


class ParentLink(asyncio.Protocol):
    """The connection to the parent; this class decides the order of messages, and what to do when the parent ends.

    Attributes
    ----------
    on_stop : callable
        Called with the outcome when the parent stops the session; if it has done so before this is set, then
        immediately.
    on_error : callable
        Called with the error when turns cannot be stored.
    on_parent_stopped : callable
        Called repeatedly while the parent is stopped, as by Ctrl-Z, with the seconds to hold requests back for.
    on_share : callable
        Called with ``Conversations``, ``NoMore`` and ``Share``, which come where asking processes share a run.
    scores_all : bool
        Turns without a target are scored too.
    clock_offset_ns : int
        Added to every stamp that leaves this machine.
    asked_from : mapping or None
        Added to the provenance of every attempt.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.on_parent_stopped: Callable[[float], None] = lambda seconds: None
        self.on_error: Callable[[Exception], None] = lambda error: None
        self.early: list[Conversations | NoMore | Share] = []  # what came before ``on_share`` was set
        self.on_share: Callable[[Conversations | NoMore | Share], None] = self.early.append
        self.scores_all = False
        self.clock_offset_ns = 0
        self.asked_from: Mapping[str, str] | None = None
        self._on_stop: Callable[[str], None] | None = None
        self._early_stop: str | None = None
        self._task: asyncio.Future[Any] = self._loop.create_future()
        self._frames = process_messages.FrameReader()
        self._transport: asyncio.Transport | None = None
        self._spool: Spool | None = None
        self._unstored: list[_EndedTurn] = []
        self._error: Exception | None = None
        self._unsent: list[bytes] = []
        self._room: asyncio.Future[None] | None = None
        self._results: dict[int, asyncio.Future[str]] = {}
        self._calls = 0
        self._ended: asyncio.Future[None] | None = None

    @property
    def on_stop(self) -> Callable[[str], None] | None:
        """Called when the parent stops the session."""
        return self._on_stop

    @on_stop.setter
    def on_stop(self, on_stop: Callable[[str], None]) -> None:
        self._on_stop = on_stop
        if self._early_stop is not None:
            on_stop(self._early_stop)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        """End the process: without its parent no answer can be stored."""
        if self._ended is None:
            os._exit(1)
        self._ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Handle what the parent sends."""
        for message in self._frames.feed(data):
            self._receive(message)

    def _receive(self, message: Message) -> None:
        if isinstance(message, Committed):
            self._note_committed(message.turns)
        elif isinstance(message, Conversations | NoMore | Share):
            self.on_share(message)
        elif isinstance(message, FunctionResult):
            result = self._results.pop(message.number)
            if not result.done():  # it was cancelled
                result.set_result(message.text)
        elif isinstance(message, Stop):
            if self._on_stop is None:
                self._early_stop = message.outcome
            else:
                self._on_stop(message.outcome)
        elif isinstance(message, Start):
            self._task.set_result(process_messages.unpack(message.task))

    async def task(self) -> Any:
        """Wait for the task: the first message."""
        return await self._task

    def begin(self, runfile: Path | None) -> None:
        """Open the spool and report that the session starts: the first request is about to be sent.

        Without a run file on this machine there is no spool.

        Raises
        ------
        RunFileError
            The spool cannot be written.
        """
        clocks = time.perf_counter_ns(), time.time_ns()
        if runfile is not None:
            self._spool = Spool(runfile, clocks)
        self.send(SessionStarted(*clocks))

    def put(self, position: int, conversation: Conversation, first: bool, last: bool, record: TurnRecord) -> None:
        """Add a finished turn; ``first`` and ``last``: of those of its conversation that this session sends.

        It is stored together with all turns that end in this iteration of the loop: that takes half the time.
        """
        if not self._unstored:
            self._loop.call_soon(self._keep_or_report)
        self._unstored.append((position, conversation, first, last, record))

    def keep(self) -> None:
        """Write the turns that were put to the spool, and queue them for the parent.

        Raises
        ------
        RunFileError
            The spool cannot be written, now or before. The turns are queued for the parent nevertheless.
        Exception
            A bug in evalkit, now or before: turns could not be encoded.
        """
        if self._unstored:
            turns, self._unstored = self._unstored, []
            try:
                self._store(turns)
            except Exception as error:
                self._error = self._error or error
        if self._error is not None:
            raise self._error

    @property
    def behind(self) -> bool:
        """The parent must catch up: wait for ``room``."""
        return self._spool is not None and self._spool.behind > BACKLOG

    async def room(self) -> None:
        """Wait until the parent has caught up."""
        if self._room is None or self._room.done():
            self._room = self._loop.create_future()
        await self._room

    async def call(self, name: str, arguments: str) -> str:
        """Have the parent call one of its functions; return the result."""
        self._calls += 1
        result: asyncio.Future[str] = self._loop.create_future()
        self._results[self._calls] = result
        self.send(CallFunction(self._calls, name, arguments))
        return await result

    def send(self, message: Message) -> None:
        """Send another message, after the turns that have ended."""
        assert self._transport is not None
        self._flush()
        self._transport.write(process_messages.frame(message))

    async def end(self, message: End) -> None:
        """Send the last message; return when the parent has read it and closed the connection."""
        self.send(message)
        if self._spool is not None:
            self._spool.close()
        self._ended = self._loop.create_future()
        await self._ended

    async def watch_parent(self, parent: int) -> None:
        """End when the process with this id ends, even if a fork of it holds the socket; report while it is stopped."""
        while True:
            await asyncio.sleep(POLL_S)
            if os.getppid() != parent:
                os._exit(1)
            if _is_stopped(parent):
                self.on_parent_stopped(2 * POLL_S)

    def _store(self, turns: list[_EndedTurn]) -> None:
        message = process_messages.frame(FinishedTurns([self._rows(*turn) for turn in turns]))
        if not self._unsent:
            self._loop.call_later(GROUP_S, self._flush)
        self._unsent.append(message)
        if self._spool is not None:
            self._spool.write(message, len(turns))

    def _keep_or_report(self) -> None:
        try:
            self.keep()
        except Exception as error:
            self.on_error(error)

    def _rows(
        self, position: int, conversation: Conversation, first: bool, last: bool, record: TurnRecord
    ) -> tuple[Any, ...]:
        row = conversation.to_json() if first else None
        if self.asked_from is not None:
            record = with_provenance(record, self.asked_from)
        turn = record_rows.turn_row(position, conversation.turns[record.turn - 1], record, scored=self.scores_all)
        attempts = [record_rows.attempt_row(position, record, attempt) for attempt in record.attempts]
        if self.clock_offset_ns:
            record_rows.shift("turn", turn, self.clock_offset_ns)
            for attempt in attempts:
                record_rows.shift("attempt", attempt, self.clock_offset_ns)
        return row, last, turn, attempts

    def _flush(self) -> None:
        self._keep_or_report()
        if self._unsent:
            assert self._transport is not None
            self._transport.write(b"".join(self._unsent))
            self._unsent.clear()

    def _note_committed(self, count: int) -> None:
        assert self._spool is not None
        self._spool.note_committed(count)
        if self._room is not None and not self._room.done() and self._spool.behind <= BACKLOG // 2:
            self._room.set_result(None)


def with_provenance(record: TurnRecord, asked_from: Mapping[str, str]) -> TurnRecord:
    """The record, with the place that its attempts were asked from."""
    attempts = tuple(
        attempt._replace(provenance={**(attempt.provenance or {}), **asked_from}) for attempt in record.attempts
    )
    return record._replace(attempts=attempts)


def _is_stopped(process: int) -> bool:
    """Whether a process is stopped. Where there is no /proc, Ctrl-Z still stops both, as one process group."""
    try:
        status = Path(f"/proc/{process}/stat").read_bytes()
    except OSError:
        return False
    return status[status.rindex(b")") + 2 :].startswith(b"T")
