"""The asking processes of a cluster, with the interface of the single one on this machine."""

from __future__ import annotations

import logging
import queue
import time
from contextlib import suppress
from itertools import islice
from typing import Any

import evalkit
from evalkit import errors
from evalkit.cluster import merged_trust, worker_sessions
from evalkit.cluster.cluster_worker import ClusterWorker, Stage
from evalkit.cluster.conversation_feed import ConversationFeed
from evalkit.cluster.shares import RunShares
from evalkit.cluster.worker_pool import Lost, WorkerPool
from evalkit.endpoint import Endpoint
from evalkit.engine.asking.session_task import SessionTask
from evalkit.engine.saving.process_messages import (
    CallFunction,
    Committed,
    End,
    FinishedTurns,
    FunctionResult,
    Message,
    NoMore,
    RetractAnswer,
    SessionStarted,
    Stop,
)
from evalkit.engine.stopping.session_outcome import SessionOutcome
from evalkit.errors import EvalkitError, SettingsError
from evalkit.runfile import resume_command

EXCHANGE_S = 0.2  # how long a worker collects before it answers
LAST_EXCHANGE_S = 0.05  # the same when nothing is left to give out
LOOK_S = 0.5  # between two looks at which workers there are
SILENT_S = 40.0  # a worker that does not answer for this long is lost; its asking process has ended before that
ALONE_S = 60.0  # how long a run waits for a worker when all are lost
AHEAD_NS = 3_000_000_000  # conversations of an open loop are with their workers this long before they are due
FIRST_ARRIVAL_NS = 500_000_000  # the schedule of an open loop begins when the workers have their first conversations
_LOG = logging.getLogger("evalkit")


class ClusterLink:
    """Runs a session on the workers of a cluster; used by one thread, but for ``send`` and ``kill``.

    Every worker has a task at nearly all times, which brings it conversations and returns what it received. So nothing
    waits for a slow worker, and a lost one loses what it received in a fifth of a second, and its requests in flight.

    Parameters
    ----------
    client : distributed.Client
    dashboard : str or None
        Address of a page that shows the cluster.
    """

    def __init__(self, client: Any, dashboard: str | None = None) -> None:
        self.dashboard = dashboard
        self.exit_code: int | None = None
        self._pool = WorkerPool(client)
        self._gone: list[ClusterWorker] = []  # lost or not usable; what they spent and sent counts
        self._to_send: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._endpoint: Endpoint | None = None
        self._wait_ready: float | None = None
        self._task: SessionTask | None = None
        self._feed: ConversationFeed | None = None
        self._shares: RunShares | None = None
        self._calls: list[tuple[ClusterWorker, int]] = []
        self._started_ns = self._schedule_ns = 0
        self._looked_s = self._alone_s = 0.0
        self._outcome: SessionOutcome | None = None  # why nothing new is sent
        self._unusable: tuple[int, str, str] | None = None
        self._error: tuple[str, str] | None = None
        self._share_due = False
        self._start_reported = self._with_key = False
        self._no_more = self._killed = self._closed = False
        self._lost = self._turn = 0

    # -- before the session

    def open_workers(self, endpoint: Endpoint, wait_ready: float | None) -> None:
        """Start an asking process on every worker.

        Raises
        ------
        SettingsError
            There is no worker, or one cannot send requests: it lacks the key, or has another version of evalkit.
        EndpointError
            The endpoint was not ready in time.
        """
        self._endpoint, self._wait_ready, self._with_key = endpoint, wait_ready, endpoint.key() is not None
        self._pool.wait_for_one()
        self._alone_s = time.monotonic()
        self._look(time.monotonic())
        limit = time.monotonic() + SILENT_S + (wait_ready or 0)
        workers = self._pool.workers.values()
        while any(worker.stage is Stage.OPENING for worker in workers) or not workers:
            now = time.monotonic()
            if now > limit:
                break
            if now > self._looked_s + LOOK_S:  # some may have left, and others come
                self._look(now)
            for worker, result in self._pool.completed(0.1):
                if (problem := self._note_opened(worker, result)) is not None:
                    raise problem
        for worker in list(workers):  # another one may have had the key
            if worker.stage is Stage.WAITING and (problem := self._note_opened(worker, worker.facts)) is not None:
                raise problem
        if not any(worker.stage is Stage.WAITING for worker in workers):
            raise SettingsError("no worker of the cluster has answered: check that they are not busy or paused")

    def _note_opened(self, worker: ClusterWorker, result: Any) -> Exception | None:
        """Take note of whether a worker can send requests; return why not."""
        if isinstance(result, Lost):
            result = {"problem": str(result), "error": "SettingsError"}
        worker.facts = result
        self._with_key = self._with_key or result.get("has_key", False)
        if "problem" not in result and self._with_key and not result["has_key"]:
            assert self._endpoint is not None
            why = f"the key's variable {self._endpoint.key_env} is not set there: start the worker with it"
            result |= {"problem": why, "error": "SettingsError"}
        if "problem" not in result:
            worker.stage = Stage.WAITING
            self._share_due = True
            return None
        error: Exception = getattr(errors, result["error"])(
            f"the worker {worker.address} cannot send requests: {result['problem']}"
        )
        return error

    # -- the interface of an asking process

    def start(self, task: SessionTask) -> None:
        """Start the session; an error in the first conversation is raised now."""
        self._task, self._feed = task, ConversationFeed(task)
        self._shares = RunShares(task.settings)
        self._alone_s = time.monotonic()

    def send(self, message: Message) -> None:
        """Pass a message on to the workers. Safe from any thread."""
        if not isinstance(message, Committed):  # a worker has no more than was taken from it
            self._to_send.put(message)

    def kill(self) -> None:
        """Send nothing more, and wait for nothing. Safe from any thread."""
        self._killed = True

    def close(self) -> None:
        """End the asking processes."""
        if not self._closed:
            self._closed = True
            self._pool.close(worker_sessions.close_session)

    def receive(self, wait_ms: int) -> list[Message] | None:
        """The messages that arrive within this time; the last one is ``End``. None: it was killed."""
        if self._killed or self._closed:
            return None
        messages: list[Message] = []
        try:
            self._pool.check_connected()
            messages += self._step(wait_ms / 1000)
        except EvalkitError as error:  # the dataset
            self._error = self._error or (type(error).__name__, str(error))
            self._stop(SessionOutcome.FAILED)
        except (OSError, RuntimeError) as error:  # RuntimeError: the client was closed
            self._fail(str(error) or type(error).__name__)
        if self._is_over():
            messages.append(self._end())
        return messages

    # -- one step

    def _step(self, wait_s: float) -> list[Message]:
        now = time.monotonic()
        if now > self._looked_s + LOOK_S:
            self._look(now)
            self._share_due = True
        self._pass_on()
        if self._share_due:
            self._share_due = False
            self._share(now)
        self._give_out()
        for worker in self._pool.workers.values():
            if worker.future is None:
                self._ask(worker)
        assert self._feed is not None
        messages: list[Message] = [*self._feed.take_failed()]
        if self._started_ns and not self._start_reported:
            self._start_reported = True
            ago = time.perf_counter_ns() - self._started_ns
            messages.append(SessionStarted(self._started_ns, time.time_ns() - ago))
        for worker, result in self._pool.completed(wait_s):
            messages += self._note_completed(worker, result)
        return messages

    def _look(self, now: float) -> None:
        """See which workers there are now."""
        self._looked_s = now
        joined, gone = self._pool.look()
        for worker in joined:
            self._open(worker)
        for worker in gone:
            self._lose(worker, "it has left the cluster")
        for worker in list(self._pool.workers.values()):
            is_asked = worker.future is not None and worker.stage in (Stage.CLOCK, Stage.ASKING)
            if is_asked and now > worker.asked_s + SILENT_S:
                self._lose(worker, f"it has not answered for {SILENT_S:.0f} s")
        if any(worker.stage is not Stage.OPENING for worker in self._pool.workers.values()):
            self._alone_s = now
        elif self._task is not None and now > self._alone_s + ALONE_S:
            self._fail(f"it has had no workers for {ALONE_S:.0f} s")

    def _open(self, worker: ClusterWorker) -> None:
        assert self._endpoint is not None
        self._pool.submit(
            worker, worker_sessions.open_session, worker.session, evalkit.__version__, self._endpoint, self._wait_ready
        )

    def _lose(self, worker: ClusterWorker, why: str) -> None:
        """Give the conversations of a worker to others."""
        self._pool.remove(worker, worker_sessions.close_session)
        self._gone.append(worker)
        if not worker.asking:
            return
        self._lost += 1
        conversations = list(worker.conversations.values())
        if self._outcome is None and self._feed is not None:
            self._feed.give_back(conversations)
            count = len(conversations)
            _LOG.warning("lost the worker %s (%s): others send its conversations (%d)", worker.address, why, count)

    def _pass_on(self) -> None:
        """Pass on what the parent has sent."""
        with suppress(queue.Empty):
            while True:
                message = self._to_send.get_nowait()
                if isinstance(message, Stop):
                    self._stop(SessionOutcome(message.outcome))
                elif isinstance(message, FunctionResult):
                    worker, number = self._calls[message.number]
                    worker.send(message._replace(number=number))

    def _stop(self, outcome: SessionOutcome) -> None:
        """Have no worker send anything new."""
        if self._outcome is None or outcome is SessionOutcome.STOPPED:
            self._outcome = outcome
            for worker in self._pool.workers.values():
                worker.send(Stop(outcome))

    def _share(self, now: float) -> None:
        """Divide slots and limits among the workers that are ready."""
        ready = [worker for worker in self._pool.workers.values() if worker.stage is not Stage.OPENING]
        ready.sort(key=lambda worker: worker.share is None)  # a worker that has a share keeps it
        spent = {worker.session: worker.spent for worker in (*self._pool.workers.values(), *self._gone)}
        assert self._shares is not None
        given = self._shares.of([worker.session for worker in ready], spent, now)
        for worker in ready:
            worker.set_share(given.get(worker.session))

    def _give_out(self) -> None:
        """Give conversations to workers, and tell all when there are no more."""
        assert self._task is not None
        assert self._feed is not None
        workers = self._pool.workers.values()
        asking = [worker for worker in workers if worker.asking and worker.share is not None]
        if self._outcome is not None or not (asking or self._started_ns):
            return
        if not self._started_ns:
            if any(worker.stage is Stage.CLOCK for worker in workers):
                return  # all start together
            self._started_ns = time.perf_counter_ns()
        if asking:
            give = self._give_room if self._task.settings.rate is None else self._give_due
            give(self._feed, asking)
        busy = any(worker.conversations for worker in workers)
        if self._feed.exhausted and not busy and not self._no_more:
            self._no_more = True
            for worker in workers:
                if worker.asking and worker.started:
                    worker.send(NoMore())

    def _give_room(self, feed: ConversationFeed, asking: list[ClusterWorker]) -> None:
        """Give each worker conversations for its slots, and then those that can take them some beyond."""
        ready = [worker for worker in asking if worker.future is None]
        for workers, ahead in ((asking, False), (ready, True)):
            for worker in workers:
                room = worker.room(ahead=ahead)
                taken = list(islice(iter(feed.take, None), room))
                worker.give(taken)
                if len(taken) < room:
                    return

    def _give_due(self, feed: ConversationFeed, asking: list[ClusterWorker]) -> None:
        """Give the workers in turn what is due soon."""
        if not self._schedule_ns:
            if not all(worker.ready for worker in asking):
                return
            self._schedule_ns = time.perf_counter_ns() + FIRST_ARRIVAL_NS
        until = time.perf_counter_ns() - self._schedule_ns + AHEAD_NS
        while (due := feed.due_ns()) is not None and due <= until and (taken := feed.take()):
            taken.item[4] = self._schedule_ns + due
            self._turn += 1
            asking[self._turn % len(asking)].give([taken])

    def _ask(self, worker: ClusterWorker) -> None:
        """Start the next task of a worker."""
        if worker.stage is Stage.CLOCK:
            worker.ask_clock()
            self._pool.submit(worker, worker_sessions.clock)
        elif worker.asking and (worker.started or self._starts(worker)):
            assert self._feed is not None
            task = None if worker.started else self._task_for(worker)
            worker.started = True
            wait_s = LAST_EXCHANGE_S if self._feed.exhausted or self._outcome is not None else EXCHANGE_S
            self._pool.submit(worker, worker_sessions.exchange, worker.session, task, worker.take_outbox(), wait_s)

    def _starts(self, worker: ClusterWorker) -> bool:
        """Whether the session is to be started on a worker now."""
        going_on = bool(self._started_ns) and not (self._no_more or self._outcome)
        return going_on and worker.share is not None

    def _task_for(self, worker: ClusterWorker) -> SessionTask:
        assert self._task is not None
        passed_s = (time.perf_counter_ns() - self._started_ns) / 1e9
        return worker.task(
            self._task, passed_s, others_answered=any(each.turns for each in self._pool.workers.values())
        )

    def _note_completed(self, worker: ClusterWorker, result: Any) -> list[Message]:
        if worker.stage is Stage.OPENING:
            if (problem := self._note_opened(worker, result)) is not None:
                _LOG.warning("%s. The run goes on without it", problem)
                self._pool.excluded.add(worker.address)
                self._lose(worker, "not usable")
            return []
        if result is None or isinstance(result, Lost):
            self._lose(worker, "its process has ended" if result is None else str(result))
            return []
        if worker.stage is Stage.CLOCK:
            if worker.note_clock(result):
                worker.stage = Stage.ASKING
            return []
        messages: list[Message] = []
        for message in worker.receive(result):
            if isinstance(message, FinishedTurns | RetractAnswer):
                messages.append(message)
            elif isinstance(message, CallFunction):
                messages.append(message._replace(number=len(self._calls)))
                self._calls.append((worker, message.number))
            elif isinstance(message, End):
                self._note_end(worker, message)
        return messages

    # -- the end

    def _note_end(self, worker: ClusterWorker, end: End) -> None:
        """A worker has ended: by itself, after a stop, or because there is no more."""
        others = [other for other in self._pool.workers.values() if other.asking and other.turns]
        if end.error is not None:
            self._error = self._error or (end.error, end.error_text)
            self._stop(SessionOutcome.FAILED)
        elif end.unusable is not None and end.unusable[0] and others and self._outcome is None:
            _LOG.warning("the worker %s cannot use the endpoint: %s", worker.address, end.unusable[2])
            self._pool.excluded.add(worker.address)
            self._pool.remove(worker, worker_sessions.close_session)
            self._gone.append(worker)
            assert self._feed is not None
            self._feed.give_back(list(worker.conversations.values()))
        elif end.unusable is not None:
            self._unusable = self._unusable or end.unusable
            self._stop(SessionOutcome.UNUSABLE)
        elif end.outcome != SessionOutcome.DONE:
            self._stop(SessionOutcome(end.outcome))

    def _fail(self, why: str) -> None:
        """End without the cluster."""
        assert self._task is not None
        assert self._task.runfile is not None
        path = self._task.runfile
        text = f"the Dask cluster is lost: {why}. The answers received are in {path}; resume, with or without a cluster"
        self._error = "EvalkitError", f"{text}: {resume_command.command(path)}"
        self._outcome = SessionOutcome.FAILED
        self._gone += self._pool.workers.values()
        self._pool.workers.clear()

    def _is_over(self) -> bool:
        asking = any(worker.asking and worker.started for worker in self._pool.workers.values())
        return not asking and (self._outcome is not None or self._no_more)

    def _end(self) -> End:
        workers = [worker for worker in (*self._gone, *self._pool.workers.values()) if worker.started]
        trust = merged_trust.merged([worker.end.trust for worker in workers if worker.end is not None])
        trust["cluster"] = {  # numbers only: attempts name their workers
            "workers": len(workers),
            "turns_by_worker": [worker.turns for worker in workers],
            "clock_error_max_ms": max((each.clock_error_ms for each in workers if each.clock_error_ms), default=None),
            "workers_lost": self._lost,
            "turns_sent_again": 0 if self._feed is None else self._feed.sent_again,
        }
        error, text = self._error or (None, "")
        outcome = self._outcome or SessionOutcome.DONE
        return End(time.perf_counter_ns(), outcome, trust, self._unusable, error, text)
