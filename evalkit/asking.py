"""The asking process: drives the dialogues of a session on a loop that does nothing else.

Scoring, SQLite, a notebook's heap and the display live in the parent, so that none of them can hold up a read. A turn
is handed over as it ends, and its conversation goes on when the parent has committed it: what is received is stored
before it is used, and a process that is killed has asked for no more than it had in flight. When the parent is gone,
this process ends at once.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit import messages
from evalkit.conversation import Conversation
from evalkit.dialogue import Asker, Dialogue, Function
from evalkit.endpoint import Endpoint
from evalkit.errors import EvalkitError
from evalkit.pacing import LASTING_CODES, Pacer, Retry
from evalkit.record import Failure, TurnRecord
from evalkit.schedule import Item, Schedule
from evalkit.settings import Settings
from evalkit.transport import Transport
from evalkit.trust import Watch

GRACE_S = 5.0
GIVE_UP_AFTER = 5
LASTING = frozenset({"auth", "not_found", "connection"})  # what ends a run also after it has had answers


@dataclass(frozen=True, slots=True)
class Task:
    """What the asking process is started with.

    Parameters
    ----------
    endpoint : Endpoint
    settings : Settings
    data, runfile : Path
    resumed : bool
        Ask only what the run file lacks.
    kept : bool
        It holds answers of an earlier session.
    functions : tuple of str
        Names of the functions that the parent calls for the model.
    """

    endpoint: Endpoint
    settings: Settings
    data: Path
    runfile: Path
    resumed: bool = False
    kept: bool = False
    functions: tuple[str, ...] = ()


class Line(asyncio.Protocol):
    """The line to the parent."""

    def __init__(self, on_stop: Any) -> None:
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
                self._results.pop(number).set_result(text)

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

    def function(self, name: str) -> Function:
        """What has the parent call one of its functions."""

        async def call(arguments: str) -> str:
            self._calls += 1
            result: asyncio.Future[str] = self._loop.create_future()
            self._results[self._calls] = result
            self.send(messages.CALL, self._calls, name, arguments)
            return await result

        return call

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


class Session:
    """One session's asking.

    Parameters
    ----------
    task : Task
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._settings = task.settings
        self._end = asyncio.Event()
        self._stopped = False
        self._answered = 0
        self._first_failures: list[Failure] | None = []
        self._unusable: Failure | None = None
        self._error: BaseException | None = None
        self.line = Line(self._stop)

    async def run(self) -> None:
        """Ask all, then tell the parent how it ended."""
        watch = Watch()
        transport = Transport(self._task.endpoint)
        try:
            items = self._items()
            self.line.send(messages.BEGUN, time.perf_counter_ns())
            watch.start()
            async with transport:
                await self._ask_all(transport, items)
        except BaseException as error:
            self._error = self._error or error
        trust = {
            **watch.stop(),
            "connections_opened": transport.connections_opened,
            "reads": transport.reads,
            "reads_with_several_events": transport.reads_with_several_events,
        }
        failures = self._first_failures or []
        unusable = None if self._unusable is None else (len(failures), self._unusable.kind, self._unusable.message)
        outcome = "unusable" if self._unusable else "stopped" if self._stopped else "done"
        self.line.end(time.perf_counter_ns(), outcome, trust, unusable, *_told(self._error))

    def _items(self) -> Iterator[Item | None]:
        """The schedule, its first conversation read: what is wrong with it is told before anything is asked."""
        task = self._task
        schedule = iter(Schedule(task.data, task.settings, task.runfile if task.resumed else None))
        first = next(schedule, None)
        if first is None:
            return iter(())
        return _chain(first, schedule)

    def _stop(self) -> None:
        self._stopped = True
        self._end.set()

    async def _ask_all(self, transport: Transport, items: Iterator[Item | None]) -> None:
        settings = self._settings
        asker = Asker(
            transport,
            self._task.endpoint,
            stream=settings.stream,
            pacer=Pacer(settings.rpm, settings.tpm),
            retry=Retry(settings.retries),
        )
        functions = {name: self.line.function(name) for name in self._task.functions}
        slots = settings.concurrency if isinstance(settings.concurrency, int) else 1
        workers = [asyncio.create_task(self._work(asker, items, functions)) for _ in range(slots)]
        watcher = asyncio.create_task(self._end_workers(workers))
        try:
            await asyncio.gather(*workers, return_exceptions=True)
        finally:
            watcher.cancel()
            for worker in workers:
                worker.cancel()
        # fewer turns than it takes to give up on the way
        if self._first_failures and not (self._end.is_set() or self._task.kept):
            self._judge_first_failures(len(self._first_failures))

    async def _work(self, asker: Asker, items: Iterator[Item | None], functions: dict[str, Function]) -> None:
        try:
            while not self._end.is_set():
                try:
                    item = next(items)
                except StopIteration:
                    return
                if item is None:
                    await asyncio.sleep(0)
                else:
                    await self._converse(asker, item, functions)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._error = self._error or error
            self._end.set()

    async def _converse(self, asker: Asker, item: Item, functions: dict[str, Function]) -> None:
        settings = self._settings
        position, conversation, repeat, answered = item
        dialogue = Dialogue(asker, conversation, repeat, settings.history, functions, settings.max_tool_rounds)
        new: Conversation | None = conversation
        left = len(conversation.turns) - len(answered or ())

        async def keep(record: TurnRecord) -> bool:
            nonlocal new, left
            left -= 1
            committed = self.line.put(position, new, left == 0, record)
            new = None
            self._note(record)
            await committed
            return not self._end.is_set()

        await dialogue.ask(keep, answered)

    async def _end_workers(self, workers: list[asyncio.Task[None]]) -> None:
        await self._end.wait()
        await asyncio.wait(workers, timeout=GRACE_S)
        for worker in workers:
            worker.cancel()

    def _note(self, record: TurnRecord) -> None:
        """Keep the first failures until something is answered; give up when they are many and alike."""
        if record.failure is None:
            self._answered += 1
        if self._first_failures is None or (record.failure and record.failure.kind == "cancelled"):
            return
        if record.failure is None:
            if self._unusable is None:
                self._first_failures = None
            return
        self._first_failures.append(record.failure)
        # every slot's first turn counts: one slow answer among many refusals is an answer
        slots = self._settings.concurrency if isinstance(self._settings.concurrency, int) else 1
        self._judge_first_failures(max(GIVE_UP_AFTER, slots))

    def _judge_first_failures(self, enough: int) -> None:
        failures = self._first_failures or []
        kinds = {failure.kind for failure in failures}
        if len(failures) < enough or len(kinds) != 1 or (self._task.kept and not kinds <= LASTING):
            return
        if kinds == {"rate_limited"} and not any(failure.code in LASTING_CODES for failure in failures):
            return
        self._unusable = failures[0]
        self._end.set()


def main() -> None:
    """Do the task that comes over the socket, which the first argument names by its number."""
    line = socket.socket(fileno=int(sys.argv[1]))
    with line.makefile("rb") as reader:
        task: Task = pickle.load(reader)  # noqa: S301 - our own parent wrote it
    factory = None
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner, suppress(KeyboardInterrupt):
        runner.run(_run(task, line))


async def _run(task: Task, line: socket.socket) -> None:
    session = Session(task)
    line.setblocking(False)
    await asyncio.get_running_loop().create_unix_connection(lambda: session.line, sock=line)
    await session.run()


def _chain(first: Item | None, rest: Iterator[Item | None]) -> Iterator[Item | None]:
    yield first
    yield from rest


def _told(error: BaseException | None) -> tuple[str | None, str]:
    """An error as the parent raises it again: the name of its class in ``errors``, or none, and its words."""
    if error is None:
        return None, ""
    if isinstance(error, EvalkitError):
        return type(error).__name__, str(error)
    return "", "".join(traceback.format_exception(error))


if __name__ == "__main__":
    main()
