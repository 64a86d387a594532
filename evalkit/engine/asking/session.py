"""In the asking process: drives the dialogues of a session on an event loop that does nothing else.

Scoring, SQLite, a notebook's heap and the display are in the parent, so that none of them can delay a read. A finished
turn is in the spool before any further request goes out: what is received is stored before it is used, and a run that
is killed loses no more than it had in flight. When the parent ends, this process ends.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Coroutine, Iterator
from itertools import chain, islice
from typing import Any

from evalkit.client import error_answers  # noqa: F401 -- loaded before the first request: no read waits for it
from evalkit.client.transport import Transport
from evalkit.datasets.part_files import PartFiles
from evalkit.engine.asking.dialogue import Dialogue
from evalkit.engine.asking.loop_lag import LoopLagMonitor
from evalkit.engine.asking.parent_link import ParentLink
from evalkit.engine.asking.request_fallbacks import RequestFallbacks
from evalkit.engine.asking.request_sender import RequestSender
from evalkit.engine.asking.schedule import Schedule, ScheduledConversation
from evalkit.engine.asking.session_task import GRACE_S, SessionTask
from evalkit.engine.asking.tool_functions import AsyncFunction
from evalkit.engine.pacing.adaptive_slots import AdaptiveSlots
from evalkit.engine.pacing.arrivals import Arrivals, wait_until
from evalkit.engine.pacing.incomplete_answers import SAW_INCOMPLETE, AskedConversation, IncompleteAnswers
from evalkit.engine.pacing.rate_limits import RateLimiter
from evalkit.engine.pacing.retries import LOADING_S, RetryBudget, RetryPolicy
from evalkit.engine.pacing.slots import Slots
from evalkit.engine.saving.process_messages import End, RetractAnswer
from evalkit.engine.stopping.giving_up import GivingUp
from evalkit.engine.stopping.session_outcome import SessionOutcome
from evalkit.engine.stopping.spending_caps import SpendingCaps
from evalkit.errors import EvalkitError, Failure
from evalkit.record import TurnRecord
from evalkit.runfile import raised_limits

READ_AHEAD_S = 0.0005  # longest reading of the dataset before the event loop looks at its sockets again
_NO_MORE: Any = object()


class Session:
    """Sends the requests of one session.

    Parameters
    ----------
    task : SessionTask
    link : ParentLink
        Connected to the parent.
    """

    def __init__(self, task: SessionTask, link: ParentLink) -> None:
        settings = task.settings
        self._task, self._settings = task, settings
        # an adapted concurrency limits parallel requests; a fixed one limits parallel conversations
        self._request_slots = Slots(1) if settings.concurrency == "auto" else None
        self._adaptive_slots = AdaptiveSlots(self._request_slots) if self._request_slots else None
        self._conversation_slots = Slots(1 if settings.concurrency == "auto" else int(settings.concurrency or 1))
        limited = settings.max_tokens_total is not None or settings.max_cost is not None
        self._worker_slots = self._request_slots or self._conversation_slots
        self._spending = SpendingCaps(settings) if limited else None
        self._giving_up = GivingUp(has_answers=task.has_answers)
        self._incomplete_answers = IncompleteAnswers(settings.retries)
        self._ended = False  # nothing new is sent
        self._grace = asyncio.Event()  # requests in flight have GRACE_S to end
        self._outcome = SessionOutcome.DONE
        self._error: BaseException | None = None
        self._items: Iterator[ScheduledConversation | None] = iter(())
        self._functions = {name: self._function(name) for name in task.functions}
        self._files = None if task.data is None else PartFiles(task.data)
        self._rate_limiter = RateLimiter(settings.rpm, settings.tpm)
        self._arrival_task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.link = link
        link.scores_all, link.on_error, link.on_stop = task.scores_all, self._fail, self._stop

    async def run(self) -> None:
        """Send everything that is due, then report to the parent how the session ended."""
        lag = LoopLagMonitor()
        transport = Transport(self._task.endpoint, before_sending=self.link.keep)
        try:
            self._items = self._schedule()
            self.link.begin(self._task.runfile)
            lag.start()
            sender = self._request_sender(transport)
            self.link.on_parent_stopped = sender.pause.hold
            async with transport:
                await self._send_all(sender)
        except BaseException as error:
            self._error = self._error or error
        trust = {
            **lag.stop(),
            "connections_opened": transport.connections_opened,
            "reads": transport.reads,
            "reads_with_several_events": transport.reads_with_several_events,
        }
        if self._adaptive_slots is not None:
            trust["concurrency"] = self._adaptive_slots.history
        unusable = self._giving_up.cause
        outcome = SessionOutcome.UNUSABLE if unusable is not None else self._outcome
        await self.link.end(End(time.perf_counter_ns(), outcome, trust, unusable, *_error_fields(self._error)))

    def _schedule(self) -> Iterator[ScheduledConversation | None]:
        """What to send. The first conversation is read now, so that an error in it is raised before any request."""
        task = self._task
        assert task.data is not None
        items = iter(Schedule(task.data, task.settings, task.runfile if task.resumed else None, task.fingerprint))
        return chain(list(islice(items, 1)), _read_ahead(items))

    def _function(self, name: str) -> AsyncFunction:
        return lambda arguments: self.link.call(name, arguments)

    def _request_sender(self, transport: Transport) -> RequestSender:
        settings = self._settings
        return RequestSender(
            transport,
            self._task.endpoint,
            stream=settings.stream,
            rate_limiter=self._rate_limiter,
            retry=RetryPolicy(
                settings.retries, budget=RetryBudget(), loading_s=max(LOADING_S, self._task.wait_ready or 0)
            ),
            slots=self._request_slots,
            adaptive_slots=self._adaptive_slots,
            spending=self._spending,
            incomplete_answers=self._incomplete_answers,
            fallbacks=RequestFallbacks(no_usage=self._task.no_usage),
        )

    # -- how it ends

    def _stop(self, outcome: str) -> None:
        self._end_soon(SessionOutcome(outcome))
        if outcome == SessionOutcome.STOPPED:
            self._grace.set()

    def _time_up(self) -> None:
        self._end_soon(SessionOutcome.MAX_TIME)
        self._grace.set()

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._end_soon(SessionOutcome.FAILED)
        self._grace.set()

    def _end_soon(self, outcome: SessionOutcome) -> None:
        """Send nothing new. Of several reasons the outcome names a stop if there was one, else the first."""
        if outcome == SessionOutcome.STOPPED or not self._ended:
            self._outcome = outcome
        self._ended = True
        if self._arrival_task is not None:
            self._arrival_task.cancel()

    async def _cancel_after_grace(self) -> None:
        await self._grace.wait()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GRACE_S)
        for task in self._tasks:
            task.cancel()

    # -- what is sent when

    async def _send_all(self, sender: RequestSender) -> None:
        settings, loop = self._settings, asyncio.get_running_loop()
        timer = loop.call_later(settings.max_time_s, self._time_up) if settings.max_time_s else None
        canceller = loop.create_task(self._cancel_after_grace())
        self._incomplete_answers.on_ready = lambda: self._send_ready(sender)
        self._incomplete_answers.on_retract = self._report_retraction
        try:
            if settings.rate is None:
                self._fill(sender)
            else:
                self._arrival_task = self._spawn(
                    self._arrive(sender, Arrivals(settings.rate, settings.arrivals, settings.arrivals_seed or 0))
                )
            await self._until_all_ended()
        finally:
            canceller.cancel()
            if timer is not None:
                timer.cancel()
        if not self._ended:
            self._giving_up.decide_at_end()

    async def _until_all_ended(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work; an error ends the session in an orderly way."""
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._fail(error)

    def _fill(self, sender: RequestSender) -> None:
        """Closed loop: as many workers as slots, each of which runs one conversation after another."""
        while len(self._tasks) < self._worker_slots.limit and not self._ended:
            self._spawn(self._work(sender))

    async def _work(self, sender: RequestSender) -> None:
        while not self._ended and len(self._tasks) <= self._worker_slots.limit:
            if self._incomplete_answers.ready:
                await self._send_again(sender)
                continue
            item = next(self._items, _NO_MORE)
            if item is _NO_MORE:
                return
            if item is None:
                await asyncio.sleep(0)
            else:
                await self._start_conversation(sender, item)

    async def _arrive(self, sender: RequestSender, arrivals: Arrivals) -> None:
        """Open loop: a conversation starts when the schedule says, or later if all slots are in use."""
        start = time.perf_counter_ns()
        items = filter(None, self._items)
        for after, item in zip(arrivals, items, strict=False):
            await wait_until(start + after)
            if not self._conversation_slots.try_acquire():
                await self._conversation_slots.acquire()
            self._spawn(self._start_conversation_in_slot(sender, item, start + after))

    def _report_retraction(self, asked: AskedConversation, turn: int) -> None:
        self.link.send(RetractAnswer(asked.item.position, asked.item.repeat, turn, asked.own_history))

    def _send_ready(self, sender: RequestSender) -> None:
        """Send a conversation again that is ready: by a worker, or in a slot of its own."""
        if self._settings.rate is None:
            self._fill(sender)
        elif not self._ended:
            self._spawn(self._send_again_in_slot(sender))

    async def _send_again_in_slot(self, sender: RequestSender) -> None:
        if not self._conversation_slots.try_acquire():
            await self._conversation_slots.acquire()
        try:
            await self._send_again(sender)
        finally:
            self._conversation_slots.release()

    async def _start_conversation_in_slot(self, sender: RequestSender, item: ScheduledConversation, due: int) -> None:
        try:
            await self._start_conversation(sender, item, due)
        finally:
            self._conversation_slots.release()

    def _start_conversation(
        self, sender: RequestSender, item: ScheduledConversation, due: int | None = None
    ) -> Coroutine[Any, Any, None]:
        asked = AskedConversation(item, dict(item.answered or {}), own_history=self._settings.history == "own")
        return self._run_conversation(sender, asked, due)

    async def _send_again(self, sender: RequestSender) -> None:
        """Send the retracted turns of a conversation, with later turns that saw their answers."""
        asked = self._incomplete_answers.ready.popleft()
        if not self._ended:
            await self._run_conversation(sender, asked)

    async def _run_conversation(self, sender: RequestSender, asked: AskedConversation, due: int | None = None) -> None:
        settings = self._settings
        position, conversation, repeat, _ = asked.item
        answered, asked.ended, asked.has_retracted = dict(asked.answers), False, False
        new = True
        left = len(conversation.turns) - len(answered)

        async def keep(record: TurnRecord) -> bool:
            nonlocal new, left
            left -= 1
            first, new = new, False
            if self._giving_up.note(record, len(self._tasks)):
                self._end_soon(SessionOutcome.UNUSABLE)
                self._grace.set()
            if self._spending is not None and self._spending.used_up is not None:
                self._end_soon(SessionOutcome(self._spending.used_up))
            if self._adaptive_slots is not None:
                self._fill(sender)
            if asked.own_history and asked.has_retracted and record.failure is None:
                record = record._replace(failure=Failure("truncated", SAW_INCOMPLETE))
            self.link.put(position, conversation, first, left == 0, record)
            if record.failure is None:
                asked.answers[record.turn] = record
                self._incomplete_answers.note_answer(asked, record)
            if self.link.behind:
                await self.link.room()
            return not (self._ended or (asked.own_history and asked.has_retracted))

        params = raised_limits.raised(conversation.params, self._task.token_limit)
        if params is not conversation.params:
            conversation = conversation._replace(params=params)  # only as it is sent: the run file has the row
        dialogue = Dialogue(
            sender, conversation, repeat, settings.history, self._functions, settings.max_tool_rounds, due, self._files,
            None if settings.seed is None else settings.seed + repeat - 1,
        )  # fmt: skip
        await dialogue.run(keep, answered)
        self._incomplete_answers.end(asked)


def _read_ahead(items: Iterator[ScheduledConversation | None]) -> Iterator[ScheduledConversation | None]:
    """Read ahead in short batches, in half the time of single reads. An error is raised when its item is due."""
    error: Exception | None = None
    more = True
    while more:
        read: list[ScheduledConversation | None] = []
        more = False
        deadline = time.perf_counter() + READ_AHEAD_S
        try:
            for item in items:
                read.append(item)
                if item is None or time.perf_counter() > deadline:
                    more = True
                    break
        except Exception as raised:
            error = raised
        yield from read
    if error is not None:
        raise error


def _error_fields(error: BaseException | None) -> tuple[str | None, str]:
    """An error as fields of ``End``, for the parent to raise: the name of its class in ``errors``, and its text."""
    if error is None:
        return None, ""
    if isinstance(error, EvalkitError):
        return type(error).__name__, str(error)
    return "", "".join(traceback.format_exception(error))
