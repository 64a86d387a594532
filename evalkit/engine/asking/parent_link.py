"""The asking process's end of the line to its parent."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evalkit.conversation import Conversation
from evalkit.engine.saving import process_messages
from evalkit.engine.saving.process_messages import Begun, Call, Committed, End, Message, Result, Start, Stop, Turns
from evalkit.engine.saving.spool import Spool
from evalkit.record import TurnRecord
from evalkit.runfile import record_rows

BACKLOG = 2_000  # turns that the parent may be behind
GROUP_S = 0.01  # turns that end within so long are handed over, and committed, together; the spool has them meanwhile
LOOK_S = 0.25  # between two looks at the parent

_Ended = tuple[int, Conversation, bool, bool, TurnRecord]  # a turn as ``put`` takes it


class Line(asyncio.Protocol):
    """The line to the parent; one class owns the order of what is sent, and what follows when the parent is gone.

    Attributes
    ----------
    on_stop : callable
        Called with the outcome when the parent asks for an end; one that came before there was anything to end is
        called when this is set.
    on_error : callable
        Called with the error when turns cannot be kept.
    on_parent_stopped : callable
        Called now and then while the parent is stopped, as by Ctrl-Z, with the seconds to hold requests back for.
    scores_all : bool
        Turns without a target are scored too.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.on_parent_stopped: Callable[[float], None] = lambda seconds: None
        self.on_error: Callable[[Exception], None] = lambda error: None
        self.scores_all = False
        self._on_stop: Callable[[str], None] | None = None
        self._early_stop: str | None = None
        self._task: asyncio.Future[Any] = self._loop.create_future()
        self._frames = process_messages.FrameReader()
        self._transport: asyncio.Transport | None = None
        self._spool: Spool | None = None
        self._new: list[_Ended] = []
        self._unkept: Exception | None = None
        self._unsent: list[bytes] = []
        self._room: asyncio.Future[None] | None = None
        self._results: dict[int, asyncio.Future[str]] = {}
        self._calls = 0
        self._ended: asyncio.Future[None] | None = None

    @property
    def on_stop(self) -> Callable[[str], None] | None:
        """What is called when the parent asks for an end."""
        return self._on_stop

    @on_stop.setter
    def on_stop(self, on_stop: Callable[[str], None]) -> None:
        self._on_stop = on_stop
        if self._early_stop is not None:
            on_stop(self._early_stop)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        """The parent is gone, and nobody is left to store an answer."""
        if self._ended is None:
            os._exit(1)
        self._ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        """What the parent sends."""
        for message in self._frames.feed(data):
            self._receive(message)

    def _receive(self, message: Message) -> None:
        if isinstance(message, Committed):
            self._note_committed(message.turns)
        elif isinstance(message, Result):
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
        """What is to be asked: the first message."""
        return await self._task

    def begin(self, runfile: Path) -> None:
        """The first request is about to go.

        Raises
        ------
        RunFileError
            The spool cannot be written.
        """
        begun = time.perf_counter_ns(), time.time_ns()
        self._spool = Spool(runfile, begun)
        self.send(Begun(*begun))

    def put(self, position: int, conversation: Conversation, first: bool, last: bool, record: TurnRecord) -> None:
        """Take a finished turn, with its conversation if it is the first of it and word if it is the last.

        It is kept with all that end in this round of the loop: what is done for many at once takes half the time.
        """
        if not self._new:
            self._loop.call_soon(self._keep_or_tell)
        self._new.append((position, conversation, first, last, record))

    def keep(self) -> None:
        """Put the turns taken into the spool, and on their way to the parent.

        Raises
        ------
        RunFileError
            The spool cannot be written, now or before. The turns are on their way to the parent nevertheless.
        Exception
            A mistake of ours, now or before: turns could not be written down.
        """
        if self._new:
            new, self._new = self._new, []
            try:
                self._store(new)
            except Exception as error:
                self._unkept = self._unkept or error
        if self._unkept is not None:
            raise self._unkept

    @property
    def behind(self) -> bool:
        """The parent has to catch up: wait for ``room``."""
        return self._spool is not None and self._spool.behind > BACKLOG

    async def room(self) -> None:
        """Wait until the parent has caught up."""
        if self._room is None or self._room.done():
            self._room = self._loop.create_future()
        await self._room

    async def call(self, name: str, arguments: str) -> str:
        """Have the parent call one of its functions."""
        self._calls += 1
        result: asyncio.Future[str] = self._loop.create_future()
        self._results[self._calls] = result
        self.send(Call(self._calls, name, arguments))
        return await result

    def send(self, message: Message) -> None:
        """Send something else, behind the turns that have ended."""
        assert self._transport is not None
        self._flush()
        self._transport.write(process_messages.frame(message))

    async def end(self, message: End) -> None:
        """Send the last message; returns when the parent, which has read it, has hung up."""
        self.send(message)
        if self._spool is not None:
            self._spool.close()
        self._ended = self._loop.create_future()
        await self._ended

    async def watch_parent(self, parent: int) -> None:
        """End when the process of this id has, though a copy of it may hold the line, and tell while it is stopped."""
        while True:
            await asyncio.sleep(LOOK_S)
            if os.getppid() != parent:
                os._exit(1)
            if _is_stopped(parent):
                self.on_parent_stopped(2 * LOOK_S)

    def _store(self, turns: list[_Ended]) -> None:
        message = process_messages.frame(Turns([self._rows(*turn) for turn in turns]))
        if not self._unsent:
            self._loop.call_later(GROUP_S, self._flush)
        self._unsent.append(message)
        assert self._spool is not None
        self._spool.write(message, len(turns))

    def _keep_or_tell(self) -> None:
        try:
            self.keep()
        except Exception as error:
            self.on_error(error)

    def _rows(
        self, position: int, conversation: Conversation, first: bool, last: bool, record: TurnRecord
    ) -> tuple[Any, ...]:
        new = conversation.to_json() if first else None
        turn = record_rows.turn_row(position, conversation.turns[record.turn - 1], record, scored=self.scores_all)
        return new, last, turn, [record_rows.attempt_row(position, record, attempt) for attempt in record.attempts]

    def _flush(self) -> None:
        self._keep_or_tell()
        if self._unsent:
            assert self._transport is not None
            self._transport.write(b"".join(self._unsent))
            self._unsent.clear()

    def _note_committed(self, count: int) -> None:
        assert self._spool is not None
        self._spool.note_committed(count)
        if self._room is not None and not self._room.done() and self._spool.behind <= BACKLOG // 2:
            self._room.set_result(None)


def _is_stopped(process: int) -> bool:
    """Whether a process is stopped; where the system does not tell it so, Ctrl-Z stops both by their group."""
    try:
        status = Path(f"/proc/{process}/stat").read_bytes()
    except OSError:
        return False
    return status[status.rindex(b")") + 2 :].startswith(b"T")
