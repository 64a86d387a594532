"""The asking process: drives the dialogues of a session on a loop that does nothing else.

Scoring, SQLite, a notebook's heap and the display live in the parent, so that none of them can hold up a read. A turn
that has ended is in the spool before any further request goes out: what is received is stored before it is used, and a
run that is killed has lost no more than it had in flight. When the parent is gone, this process ends.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
import traceback
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from evalkit.client.transport import Transport
from evalkit.endpoint import Endpoint
from evalkit.engine.asking.dataset_fingerprint import Fingerprint
from evalkit.engine.asking.dialogue import Asker, Dialogue
from evalkit.engine.asking.loop_lag import LoopLagMonitor
from evalkit.engine.asking.parent_link import ParentLink
from evalkit.engine.asking.schedule import Schedule, ScheduledConversation
from evalkit.engine.asking.tool_functions import AsyncFunction
from evalkit.engine.pacing.adaptive_slots import AdaptiveSlots
from evalkit.engine.pacing.arrivals import Arrivals, wait_until
from evalkit.engine.pacing.incomplete_answers import SAW_INCOMPLETE, AskedConversation, IncompleteAnswers
from evalkit.engine.pacing.rate_limits import RateLimiter
from evalkit.engine.pacing.retries import RetryBudget, RetryPolicy
from evalkit.engine.pacing.slots import Slots
from evalkit.engine.saving.process_messages import End, RetractAnswer
from evalkit.engine.stopping.giving_up import GivingUp
from evalkit.engine.stopping.session_outcome import SessionOutcome
from evalkit.engine.stopping.spending_caps import SpendingCaps
from evalkit.errors import EvalkitError
from evalkit.record import Failure, TurnRecord
from evalkit.settings import Settings

GRACE_S = 5.0
AHEAD_S = 0.0005  # longest reading between two looks at the sockets
_NO_MORE: Any = object()


@dataclass(frozen=True, slots=True)
class SessionTask:
    """What the asking process is started with.

    Parameters
    ----------
    endpoint : Endpoint
    settings : Settings
    data : Path
    known : Known
        The dataset as it was when it was checked: nothing else is asked.
    runfile : Path
    resumed : bool
        Ask only what the run file lacks.
    kept : bool
        It holds answers of an earlier session.
    functions : tuple of str
        Names of the functions that the parent calls for the model.
    scores_all : bool
        The run's scorer scores turns without a target too.
    """

    endpoint: Endpoint
    settings: Settings
    data: Path
    known: Fingerprint
    runfile: Path
    resumed: bool = False
    kept: bool = False
    functions: tuple[str, ...] = ()
    scores_all: bool = False


class Session:
    """One session's asking.

    Parameters
    ----------
    task : Task
    line : Line
        Connected with the parent.
    """

    def __init__(self, task: SessionTask, line: ParentLink) -> None:
        settings = task.settings
        self._task, self._settings = task, settings
        # requests under way are limited where that is adapted; conversations under way, where it is given
        self._requests = Slots(1) if settings.concurrency == "auto" else None
        self._knee = AdaptiveSlots(self._requests) if self._requests else None
        self._conversations = Slots(1 if settings.concurrency == "auto" else int(settings.concurrency or 1))
        limited = settings.max_tokens_total is not None or settings.max_cost is not None
        self._spending = SpendingCaps(settings) if limited else None
        self._surrender = GivingUp(kept=task.kept)
        self._doubts = IncompleteAnswers(settings.retries)
        self._ended = False  # nothing new is asked
        self._hurry = asyncio.Event()  # what is in flight has a few seconds
        self._outcome = SessionOutcome.DONE
        self._error: BaseException | None = None
        self._items: Iterator[ScheduledConversation | None] = iter(())
        self._functions = {name: self._function(name) for name in task.functions}
        self._arriving: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.line = line
        line.scores_all, line.on_error, line.on_stop = task.scores_all, self._fail, self._stop

    async def run(self) -> None:
        """Ask all, then tell the parent how it ended."""
        watch = LoopLagMonitor()
        transport = Transport(self._task.endpoint, before_sending=self.line.keep)
        try:
            self._items = self._schedule()
            self.line.begin(self._task.runfile)
            watch.start()
            asker = self._asker(transport)
            self.line.on_parent_stopped = asker.pause.hold
            async with transport:
                await self._ask_all(asker)
        except BaseException as error:
            self._error = self._error or error
        trust = {
            **watch.stop(),
            "connections_opened": transport.connections_opened,
            "reads": transport.reads,
            "reads_with_several_events": transport.reads_with_several_events,
        }
        if self._knee is not None:
            trust["concurrency"] = self._knee.history
        unusable = self._surrender.cause
        outcome = SessionOutcome.UNUSABLE if unusable is not None else self._outcome
        await self.line.end(End(time.perf_counter_ns(), outcome, trust, unusable, *_told(self._error)))

    def _schedule(self) -> Iterator[ScheduledConversation | None]:
        """What to ask, its first conversation read: what is wrong with it is told before anything is asked."""
        task = self._task
        items = iter(Schedule(task.data, task.settings, task.runfile if task.resumed else None, task.known))
        return chain(list(islice(items, 1)), _ahead(items))

    def _function(self, name: str) -> AsyncFunction:
        return lambda arguments: self.line.call(name, arguments)

    def _asker(self, transport: Transport) -> Asker:
        settings = self._settings
        return Asker(
            transport,
            self._task.endpoint,
            stream=settings.stream,
            pacer=RateLimiter(settings.rpm, settings.tpm),
            retry=RetryPolicy(settings.retries, budget=RetryBudget()),
            gate=self._requests,
            knee=self._knee,
            spending=self._spending,
            doubts=self._doubts,
        )

    # -- how it ends

    def _stop(self, outcome: str) -> None:
        self._end_soon(SessionOutcome(outcome))
        if outcome == SessionOutcome.STOPPED:
            self._hurry.set()

    def _time_up(self) -> None:
        self._end_soon(SessionOutcome.MAX_TIME)
        self._hurry.set()

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._end_soon(SessionOutcome.FAILED)
        self._hurry.set()

    def _end_soon(self, outcome: SessionOutcome) -> None:
        """Ask nothing new; of several reasons a stop is told, else the first."""
        if outcome == SessionOutcome.STOPPED or not self._ended:
            self._outcome = outcome
        self._ended = True
        if self._arriving is not None:
            self._arriving.cancel()

    async def _cancel_when_late(self) -> None:
        await self._hurry.wait()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GRACE_S)
        for task in self._tasks:
            task.cancel()

    # -- what is asked when

    async def _ask_all(self, asker: Asker) -> None:
        settings, loop = self._settings, asyncio.get_running_loop()
        timer = loop.call_later(settings.max_time_s, self._time_up) if settings.max_time_s else None
        watcher = loop.create_task(self._cancel_when_late())
        self._doubts.on_ready, self._doubts.on_doubt = lambda: self._ask_doubted(asker), self._tell_doubt
        try:
            if settings.rate is None:
                self._fill(asker)
            else:
                self._arriving = self._spawn(
                    self._arrive(asker, Arrivals(settings.rate, settings.arrivals, settings.arrivals_seed or 0))
                )
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            watcher.cancel()
            if timer is not None:
                timer.cancel()
        if not self._ended:
            self._surrender.judge_all()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """The first error ends the session, in order."""
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._fail(error)

    def _fill(self, asker: Asker) -> None:
        """Closed loop: as many workers as there are slots, each with one conversation after another."""
        while len(self._tasks) < self._workers and not self._ended:
            self._spawn(self._work(asker))

    @property
    def _workers(self) -> int:
        return (self._requests or self._conversations).limit

    async def _work(self, asker: Asker) -> None:
        while not self._ended and len(self._tasks) <= self._workers:
            if self._doubts.ready:
                await self._ask_again(asker)
                continue
            item = next(self._items, _NO_MORE)
            if item is _NO_MORE:
                return
            if item is None:
                await asyncio.sleep(0)
            else:
                await self._converse(asker, item)

    async def _arrive(self, asker: Asker, arrivals: Arrivals) -> None:
        """Open loop: a conversation begins when the schedule says, unless too many are under way."""
        start = time.perf_counter_ns()
        wanted = filter(None, self._items)
        for after, item in zip(arrivals, wanted, strict=False):
            await wait_until(start + after)
            if not self._conversations.try_enter():
                await self._conversations.enter()
            self._spawn(self._converse_in_slot(asker, item, start + after))

    def _tell_doubt(self, talk: AskedConversation, turn: int) -> None:
        self.line.send(RetractAnswer(talk.item.position, talk.item.repeat, turn, talk.own))

    def _ask_doubted(self, asker: Asker) -> None:
        """A conversation is ready to be asked again: by a worker, or in a slot of its own."""
        if self._settings.rate is None:
            self._fill(asker)
        elif not self._ended:
            self._spawn(self._ask_again_in_slot(asker))

    async def _ask_again_in_slot(self, asker: Asker) -> None:
        if not self._conversations.try_enter():
            await self._conversations.enter()
        try:
            await self._ask_again(asker)
        finally:
            self._conversations.leave()

    async def _converse_in_slot(self, asker: Asker, item: ScheduledConversation, due: int) -> None:
        try:
            await self._converse(asker, item, due)
        finally:
            self._conversations.leave()

    async def _converse(self, asker: Asker, item: ScheduledConversation, due: int | None = None) -> None:
        own = self._settings.history == "own"
        await self._ask(asker, AskedConversation(item, dict(item.answered or {}), own=own), due)

    async def _ask_again(self, asker: Asker) -> None:
        """Ask a conversation from its first answer in doubt on, or, where later turns saw another, such turns alone."""
        talk = self._doubts.ready.popleft()
        if not self._ended:
            await self._ask(asker, talk)

    async def _ask(self, asker: Asker, talk: AskedConversation, due: int | None = None) -> None:
        settings = self._settings
        position, conversation, repeat, _ = talk.item
        answered, talk.over, talk.doubtful = dict(talk.answers), False, False
        new = True
        left = len(conversation.turns) - len(answered)

        async def keep(record: TurnRecord) -> bool:
            nonlocal new, left
            left -= 1
            first, new = new, False
            if self._surrender.note(record, len(self._tasks)):
                self._end_soon(SessionOutcome.UNUSABLE)
                self._hurry.set()
            if self._spending is not None and self._spending.used_up is not None:
                self._end_soon(SessionOutcome(self._spending.used_up))
            if self._knee is not None:
                self._fill(asker)
            if talk.own and talk.doubtful and record.failure is None:
                record = record._replace(failure=Failure("truncated", SAW_INCOMPLETE))
            self.line.put(position, conversation, first, left == 0, record)
            if record.failure is None:
                talk.answers[record.turn] = record
                self._doubts.note_answer(talk, record)
            if self.line.behind:
                await self.line.room()
            return not (self._ended or (talk.own and talk.doubtful))

        dialogue = Dialogue(
            asker, conversation, repeat, settings.history, self._functions, settings.max_tool_rounds, due
        )
        await dialogue.ask(keep, answered)
        self._doubts.end(talk)


def _ahead(items: Iterator[ScheduledConversation | None]) -> Iterator[ScheduledConversation | None]:
    """Read a little ahead: many at once take half the time. What goes wrong is told when its turn comes."""
    error: Exception | None = None
    more = True
    while more:
        read: list[ScheduledConversation | None] = []
        more = False
        until = time.perf_counter() + AHEAD_S
        try:
            for item in items:
                read.append(item)
                if item is None or time.perf_counter() > until:
                    more = True
                    break
        except Exception as found:
            error = found
        yield from read
    if error is not None:
        raise error


def main() -> None:
    """Do the task that comes over the line; the arguments are its descriptor and the parent's process id."""
    factory = None
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_run(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])))


async def _run(connection: socket.socket, parent: int) -> None:
    line = ParentLink()
    connection.setblocking(False)
    await asyncio.get_running_loop().create_unix_connection(lambda: line, sock=connection)
    watch = asyncio.create_task(line.watch_parent(parent))
    await Session(await line.task(), line).run()
    watch.cancel()


def _told(error: BaseException | None) -> tuple[str | None, str]:
    """An error as the parent raises it again: the name of its class in ``errors``, or none, and its words."""
    if error is None:
        return None, ""
    if isinstance(error, EvalkitError):
        return type(error).__name__, str(error)
    return "", "".join(traceback.format_exception(error))


if __name__ == "__main__":
    main()
