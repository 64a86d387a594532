"""Many dialogues at once: schedule, store, progress, early end, stop."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from evalkit import scorers, store
from evalkit.conversation import Conversation, ScorerSpec
from evalkit.dialogue import Asker, Dialogue
from evalkit.endpoint import Endpoint
from evalkit.errors import EndpointError, RunFileError
from evalkit.pacing import LASTING_CODES, Pacer, Retry
from evalkit.record import Failure, Score, TurnRecord
from evalkit.settings import Settings
from evalkit.store import Done, RunFile
from evalkit.transport import Transport
from evalkit.trust import Watch
from evalkit.writer import Progress, Writer

GRACE_S = 5.0
GIVE_UP_AFTER = 5
LASTING = frozenset({"auth", "not_found", "connection"})  # what ends a run also after it has had answers


@dataclass(slots=True)
class Schedule:
    """What is still to be asked, read as it is needed.

    Parameters
    ----------
    conversations : iterable of Conversation
        In the dataset's order.
    repeats : int
    answered : mapping
        (position, repeat) to the bit mask of the turns answered already.
    hashes : mapping
        Position to content hash of the conversations begun in an earlier session.
    """

    conversations: Iterable[Conversation]
    repeats: int = 1
    answered: Mapping[tuple[int, int], int] = field(default_factory=dict)
    hashes: Mapping[int, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[tuple[int, Conversation, int, bool]]:
        """Yield (position, conversation, repeat, whether some of its turns are answered) of what is not finished."""
        for position, conversation in enumerate(self.conversations):
            known = self.hashes.get(position)
            if known is not None and known != conversation.content_hash:
                raise RunFileError(
                    f"conversation {conversation.id!r} (number {position + 1}) is not what it was when this run began: "
                    "the dataset has changed. Start a new run for it"
                )
            whole = (1 << len(conversation.turns)) - 1
            for repeat in range(1, self.repeats + 1):
                mask = self.answered.get((position, repeat), 0)
                if mask != whole:
                    yield position, conversation, repeat, mask != 0


class Runner:
    """One session of a run: from its schedule into its run file.

    Parameters
    ----------
    runfile : RunFile
        Its writer thread alone touches it while the session goes.
    endpoint : Endpoint
    settings : Settings
    schedule : Schedule
    progress : Progress
        Kept up to date, for a display on another thread.
    functions : mapping
        Function name to Python function, for tool calls.
    about : mapping
        What the session is to keep of itself: versions, machine.
    """

    def __init__(
        self,
        runfile: RunFile,
        endpoint: Endpoint,
        settings: Settings,
        schedule: Schedule,
        progress: Progress,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self._runfile = runfile
        self._endpoint = endpoint
        self._settings = settings
        self._schedule = schedule
        self._progress = progress
        self._functions = functions or {}
        self._about = {**(about or {}), "endpoint": endpoint.to_json()}
        self._default_scorer = ScorerSpec(settings.scorer) if settings.scorer else None
        self._writer = Writer(runfile, self._score, progress, on_error=self._end_soon)
        self._first_failures: list[Failure] | None = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self._stopped = False
        self._unusable: Failure | None = None
        self._error: BaseException | None = None

    def stop(self) -> None:
        """Ask nothing new; what is in flight has a few seconds to end. Safe from any thread."""
        self._stopped = self._progress.stopping = True
        self._end_soon()

    def _end_soon(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end.set)

    async def run(self) -> str:
        """Ask all; return the outcome: ``done`` or ``stopped``.

        Raises
        ------
        EndpointError
            No turn was answered and all first ones failed the same way.
        RunFileError, DatasetError
            Writing or reading failed; what was committed is whole.
        """
        watch = Watch()
        self._loop = asyncio.get_running_loop()
        if self._stopped:
            self._end.set()
        self._runfile.begin_session(time.perf_counter_ns(), self._about)
        self._writer.start()
        watch.start()
        transport = Transport(self._endpoint)
        try:
            async with transport:
                await self._ask_all(transport)
        finally:
            trust = {
                **watch.stop(),
                "connections_opened": transport.connections_opened,
                "reads": transport.reads,
                "reads_with_several_events": transport.reads_with_several_events,
            }
            self._writer.finish()
            outcome = "unusable" if self._unusable else "stopped" if self._stopped else "done"
            self._runfile.end_session(time.perf_counter_ns(), outcome, trust)
            self._loop = None
        if self._error is not None:
            raise self._error
        if self._unusable is not None:
            raise EndpointError(self._why_unusable(self._unusable))
        return outcome

    async def _ask_all(self, transport: Transport) -> None:
        settings = self._settings
        asker = Asker(
            transport,
            self._endpoint,
            stream=settings.stream,
            pacer=Pacer(settings.rpm, settings.tpm),
            retry=Retry(settings.retries),
        )
        reader = store.open_to_read(self._runfile.path)
        work = iter(self._schedule)
        slots = settings.concurrency if isinstance(settings.concurrency, int) else 1
        workers = [asyncio.create_task(self._work(asker, work, reader)) for _ in range(slots)]
        watcher = asyncio.create_task(self._end_workers(workers))
        try:
            await asyncio.gather(*workers, return_exceptions=True)
        finally:
            watcher.cancel()
            for worker in workers:
                worker.cancel()
            reader.close()
        # fewer turns than it takes to give up on the way
        if self._first_failures and not (self._end.is_set() or self._progress.kept):
            self._judge_first_failures(len(self._first_failures))

    async def _work(
        self, asker: Asker, work: Iterator[tuple[int, Conversation, int, bool]], reader: sqlite3.Connection
    ) -> None:
        try:
            while not self._end.is_set():
                try:
                    position, conversation, repeat, begun = next(work)
                except StopIteration:
                    return
                await self._converse(asker, reader, position, conversation, repeat, begun)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._error = self._error or error
            self._end.set()

    async def _converse(
        self,
        asker: Asker,
        reader: sqlite3.Connection,
        position: int,
        conversation: Conversation,
        repeat: int,
        begun: bool,
    ) -> None:
        settings = self._settings
        dialogue = Dialogue(asker, conversation, repeat, settings.history, self._functions, settings.max_tool_rounds)
        answered = store.answered_turns(reader, conversation, position, repeat) if begun else None
        async for record in dialogue.turns(answered):
            self._writer.put(Done(position, conversation, record))
            self._note_first(record)
            if self._end.is_set():
                return
            while self._writer.behind and not self._end.is_set():  # noqa: ASYNC110 - the writer is a thread
                await asyncio.sleep(0.01)

    async def _end_workers(self, workers: list[asyncio.Task[None]]) -> None:
        await self._end.wait()
        await asyncio.wait(workers, timeout=GRACE_S)
        for worker in workers:
            worker.cancel()

    def _note_first(self, record: TurnRecord) -> None:
        """Keep the first failures until something is answered; give up when they are many and alike."""
        if self._first_failures is None or (record.failure and record.failure.kind == "cancelled"):
            return
        if record.failure is None:
            if self._unusable is None:
                self._first_failures = None
            return
        self._first_failures.append(record.failure)
        # every worker's first turn counts: one slow answer among many refusals is an answer
        self._judge_first_failures(
            max(GIVE_UP_AFTER, self._settings.concurrency if isinstance(self._settings.concurrency, int) else 1)
        )

    def _judge_first_failures(self, enough: int) -> None:
        failures = self._first_failures or []
        kinds = {failure.kind for failure in failures}
        if len(failures) < enough or len(kinds) != 1 or (self._progress.kept and not kinds <= LASTING):
            return
        if kinds == {"rate_limited"} and not any(failure.code in LASTING_CODES for failure in failures):
            return
        self._unusable = failures[0]
        self._end.set()

    def _why_unusable(self, failure: Failure) -> str:
        count = len(self._first_failures or ())
        turns = "The only turn failed" if count == 1 else f"The first {count} turns all failed the same way"
        answered = self._progress.answered
        late = "none was answered" if not answered else f"{answered} others were answered after that"
        return f"{turns} ({failure.kind}), {late}. {failure.message}"

    def _score(self, done: Done) -> Score | None:
        turn = done.conversation.turns[done.record.turn - 1]
        return scorers.score(turn, done.record, default=self._default_scorer)
