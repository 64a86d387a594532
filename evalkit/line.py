"""The asking process's end of the line to its parent."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evalkit import messages, schema
from evalkit.conversation import Conversation
from evalkit.record import TurnRecord
from evalkit.spool import Spool

BACKLOG = 2_000  # turns that the parent may be behind
GROUP_S = 0.01  # turns that end within so long are handed over, and committed, together; the spool has them meanwhile

_Ended = tuple[int, Conversation, bool, bool, TurnRecord]  # a turn as ``put`` takes it


class Line(asyncio.Protocol):
    """The line to the parent.

    Parameters
    ----------
    on_stop : callable
        Called with the outcome when the parent asks for an end.
    on_error : callable
        Called with the error when turns cannot be kept.
    scores_all : bool
        Turns without a target are scored too.
    """

    def __init__(
        self, on_stop: Callable[[str], None], on_error: Callable[[Exception], None], *, scores_all: bool = False
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_stop, self._on_error, self._scores_all = on_stop, on_error, scores_all
        self._frames = messages.FrameReader()
        self._transport: asyncio.Transport | None = None
        self._spool: Spool | None = None
        self._new: list[_Ended] = []
        self._unkept: Exception | None = None
        self._unsent: list[bytes] = []
        self._room: asyncio.Future[None] | None = None
        self._results: dict[int, asyncio.Future[str]] = {}
        self._calls = 0
        self._ended: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        """The parent is gone, and nobody is left to store an answer."""
        if self._ended is None:
            os._exit(1)
        self._ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        """What the parent says."""
        for name, *values in self._frames.feed(data):
            if name == messages.COMMITTED:
                self._note_committed(*values)
            elif name == messages.STOP:
                self._on_stop(*values)
            else:
                number, text = values
                result = self._results.pop(number)
                if not result.done():  # it was cancelled
                    result.set_result(text)

    def begin(self, runfile: Path) -> None:
        """The first request is about to go.

        Raises
        ------
        RunFileError
            The spool cannot be written.
        """
        begun = time.perf_counter_ns(), time.time_ns()
        self._spool = Spool(runfile, begun)
        self.send(messages.BEGUN, *begun)

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
        self.send(messages.CALL, self._calls, name, arguments)
        return await result

    def send(self, *message: Any) -> None:
        """Say something else."""
        assert self._transport is not None
        self._flush()
        self._transport.write(messages.frame(*message))

    async def end(self, *message: Any) -> None:
        """Say the last thing; returns when the parent, which has read it, has hung up."""
        self.send(messages.END, *message)
        if self._spool is not None:
            self._spool.close()
        self._ended = self._loop.create_future()
        await self._ended

    def _store(self, turns: list[_Ended]) -> None:
        message = messages.frame(messages.TURNS, [self._rows(*turn) for turn in turns])
        if not self._unsent:
            self._loop.call_later(GROUP_S, self._flush)
        self._unsent.append(message)
        assert self._spool is not None
        self._spool.write(message, len(turns))

    def _keep_or_tell(self) -> None:
        try:
            self.keep()
        except Exception as error:
            self._on_error(error)

    def _rows(
        self, position: int, conversation: Conversation, first: bool, last: bool, record: TurnRecord
    ) -> tuple[Any, ...]:
        new = conversation.to_json() if first else None
        turn = schema.turn_row(position, conversation.turns[record.turn - 1], record, scored=self._scores_all)
        return new, last, turn, [schema.attempt_row(position, record, attempt) for attempt in record.attempts]

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
