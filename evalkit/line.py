"""The asking process's end of the line to its parent."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import Any

from evalkit import messages
from evalkit.conversation import Conversation
from evalkit.record import TurnRecord


class Line(asyncio.Protocol):
    """The line to the parent.

    Parameters
    ----------
    on_stop : callable
        Called when the parent asks for an end.
    """

    def __init__(self, on_stop: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_stop = on_stop
        self._frames = messages.FrameReader()
        self._transport: asyncio.Transport | None = None
        self._turns: list[tuple[Any, ...]] = []
        self._uncommitted: deque[asyncio.Future[None]] = deque()
        self._committed = 0
        self._results: dict[int, asyncio.Future[str]] = {}
        self._calls = 0
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        """The parent is gone, and nobody is left to store an answer."""
        if not self.ended:
            os._exit(1)

    def data_received(self, data: bytes) -> None:
        """What the parent says."""
        for name, *values in self._frames.feed(data):
            if name == messages.COMMITTED:
                self._note_committed(*values)
            elif name == messages.STOP:
                self._on_stop()
            else:
                number, text = values
                result = self._results.pop(number)
                if not result.done():  # it was cancelled
                    result.set_result(text)

    def put(
        self, position: int, conversation: Conversation | None, last: bool, record: TurnRecord
    ) -> asyncio.Future[None]:
        """Hand over a finished turn, with its conversation if it is the first of it and word if it is the last.

        The future is done when it is committed.
        """
        if not self._turns:
            self._loop.call_soon(self._flush)
        packed = None if conversation is None else messages.pack_conversation(conversation)
        self._turns.append((position, record.repeat, packed, last, messages.pack(record)))
        committed = self._loop.create_future()
        self._uncommitted.append(committed)
        return committed

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

    def end(self, *message: Any) -> None:
        """Say the last thing and hang up."""
        self.send(messages.END, *message)
        self.ended = True
        assert self._transport is not None
        self._transport.close()

    def _flush(self) -> None:
        if self._turns:
            turns, self._turns = self._turns, []
            assert self._transport is not None
            self._transport.write(messages.frame(messages.TURNS, turns))

    def _note_committed(self, count: int) -> None:
        waiting = self._uncommitted
        while self._committed < count:
            self._committed += 1
            future = waiting.popleft()
            if not future.done():  # it was cancelled
                future.set_result(None)
