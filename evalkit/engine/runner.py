"""Runs a session: starts the asking process, stores what it sends, calls functions for it, and stops it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import Any

from evalkit import errors
from evalkit.engine.asking.session_task import GRACE_S, SessionTask
from evalkit.engine.asking.tool_functions import FunctionThreads
from evalkit.engine.child_process import AskingSide
from evalkit.engine.saving import spool
from evalkit.engine.saving.process_messages import (
    CallFunction,
    Committed,
    End,
    FinishedTurns,
    FunctionResult,
    RetractAnswer,
    SessionStarted,
    Stop,
)
from evalkit.engine.saving.progress import Progress
from evalkit.engine.saving.scoring_thread import ScoreTurn, ScoringThread
from evalkit.engine.saving.writer import Writer
from evalkit.engine.stopping.accuracy_goal import AccuracyGoal
from evalkit.engine.stopping.session_outcome import SessionOutcome
from evalkit.errors import EndpointError, EvalkitError
from evalkit.process.gc_freeze import gc_frozen
from evalkit.runfile import resume_command, schema
from evalkit.runfile.finished_turn import FinishedTurn, LazyConversation
from evalkit.runfile.schema import Row
from evalkit.runfile.store import RunFile
from evalkit.scorers.registry import Scorer

FROZEN_S = 1.5  # an asking process that has not ended this long after the grace period is frozen
SCORING_S = 1.0  # for scores in a stopped session, after the last answer
_GROUP = 500  # turns committed together, at most
_POLL_MS = 100  # between two checks for requests of other threads
_LULL_MS = 12  # without messages for this long there is time to score; fast turns come every 10 ms


class Runner:
    """One session of a run: from its task to its run file.

    Parameters
    ----------
    runfile : RunFile
        Used only by the thread of ``run`` during the session.
    task : SessionTask
    child : AskingSide
        The asking process, which waits for the task, or several of them.
    progress : Progress
        Updated during the session, for a display on another thread.
    score : callable
        ``Turn`` and ``Answer`` to ``Score``, or None.
    scorers : mapping
        The run's scorers by name.
    functions : mapping
        Function name to Python function, for tool calls.
    about : mapping
        What the session stores about itself: versions, machine.
    """

    def __init__(
        self,
        runfile: RunFile,
        task: SessionTask,
        child: AskingSide,
        progress: Progress,
        score: ScoreTurn,
        scorers: Mapping[str, Scorer],
        functions: Mapping[str, Callable[..., Any]] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self._runfile = runfile
        self._task = task
        self._child = child
        self._progress = progress
        self._functions = FunctionThreads(functions or {})
        self._about = {**(about or {}), "endpoint": task.endpoint.to_json()}
        self._scoring = ScoringThread(score, scorers)
        self._writer = Writer(runfile, self._scoring, progress, self._may_wait)
        self._conversations: dict[tuple[int, ...], LazyConversation] = {}
        self._committed = 0
        self._stopped = self._stop_sent = self._killed = self._goal_sent = False
        self._frozen_s = self._scoring_s = 0.0  # deadlines after a stop, on the monotonic clock

    def stop(self) -> None:
        """Send nothing new; requests in flight have a few seconds. Safe from any thread and in a signal handler."""
        self._stopped = self._progress.stopping = True

    def kill(self) -> None:
        """Kill the asking process; what it received is kept. As safe as ``stop``."""
        self.stop()
        self._killed = True
        self._child.kill()

    def run(self) -> SessionOutcome:
        """Run the session; return how it ended.

        A spending cap, a time limit, or ``until_ci`` may end it early; ``until_ci`` also if the accuracy was known well
        enough before.

        Raises
        ------
        EndpointError
            No turn was answered, and the first ones all failed in the same way.
        RunFileError, DatasetError
            Writing or reading failed; everything committed is intact.
        """
        self._scoring.start()
        try:
            with gc_frozen():
                if self._task.settings.until_ci is not None and self._known_well_enough(self._task.settings.until_ci):
                    return SessionOutcome.UNTIL_CI
                if self._stopped:
                    return SessionOutcome.STOPPED
                self._child.start(self._task)
                end = self._receive_all()
                self._child.close()
                return self._recover() if end is None else self._conclude(end)
        finally:
            self._child.close()
            self._scoring.close()

    def _known_well_enough(self, ci: float) -> bool:
        """Whether earlier sessions have reached the accuracy goal; if not, what they have counts towards it."""
        most_turns, query = self._runfile.info()["dataset"]["most_turns"], self._runfile.connection.execute
        if self._task.resumed:
            self._writer.finish(earlier=True)  # a killed session may have left answers without scores
            if AccuracyGoal(ci, most_turns).replay(self._rows_until_stopped(query(schema.PROGRESS_OWN_SCORES))).reached:
                return True
        self._writer.accuracy_goal = AccuracyGoal(ci, most_turns).replay(
            self._rows_until_stopped(query(schema.ANSWERED_PROGRESS_OWN_SCORES))
        )
        return False

    def _rows_until_stopped(self, rows: Any) -> Any:
        return takewhile(lambda _: not self._stopped, rows)

    def _may_wait(self) -> bool:
        """Whether to wait for scores: in a stopped session only for those that are ready soon."""
        return not self._killed and (not self._stopped or time.monotonic() < self._scoring_s)

    # -- during the session

    def _receive_all(self) -> End | None:
        """Store what arrives until the last message, which is returned; None: the process ended without one."""
        while True:
            if self._stopped:
                self._enforce_stop()
            scores_decide = self._writer.accuracy_goal is not None  # scores that decide when to stop must not wait
            messages = self._child.receive((1 if scores_decide else _LULL_MS) if self._writer.scoring else _POLL_MS)
            if messages is None:
                return None
            group: list[list[Any]] = []
            end = None
            for message in messages:
                if isinstance(message, FinishedTurns):
                    group += message.turns
                elif isinstance(message, RetractAnswer):
                    self._commit(group)  # the retracted answer was sent before
                    group = []
                    self._writer.retract(message.position, message.repeat, message.turn, later=message.later)
                elif isinstance(message, SessionStarted):
                    self._runfile.begin_session(message.mono_ns, self._about, wall_ns=message.wall_ns)
                    self._progress.began_ns = message.mono_ns
                elif isinstance(message, CallFunction):
                    self._call_function(message)
                elif isinstance(message, End):
                    end = message
            if group:
                self._commit(group)
            if scores_decide or not messages:
                self._writer.use_lull()
            if self._writer.accuracy_goal is not None:
                self._stop_at_goal(self._writer.accuracy_goal)
            if end is not None:
                return end

    def _enforce_stop(self) -> None:
        """Tell the asking process to stop, and kill it if it does not end by itself: it may be frozen."""
        now = time.monotonic()
        if not self._stop_sent:
            self._stop_sent = True
            self._child.send(Stop(SessionOutcome.STOPPED))
            self._frozen_s = now + GRACE_S + FROZEN_S
        elif now > self._frozen_s:
            self.kill()

    def _stop_at_goal(self, goal: AccuracyGoal) -> None:
        if goal.reached and not self._goal_sent:
            self._goal_sent = True
            self._child.send(Stop(SessionOutcome.UNTIL_CI))

    def _commit(self, turns: list[list[Any]]) -> None:
        for at in range(0, len(turns), _GROUP):
            group = turns[at : at + _GROUP]
            self._writer.add([self._done(*turn) for turn in group])
            self._committed += len(group)
            self._child.send(Committed(self._committed))

    def _done(self, row: dict[str, Any] | None, last: bool, turn: Row, attempts: list[Row]) -> FinishedTurn:
        key = tuple(turn[1][:2])
        if row is not None:
            self._conversations[key] = LazyConversation(key[0], row)
        conversation = self._conversations.pop(key) if last else self._conversations[key]
        return FinishedTurn(conversation, turn, attempts)

    def _call_function(self, call: CallFunction) -> None:
        """Call a function for the model, on another thread: it may be slow."""
        self._functions.call(
            call.function, call.arguments, lambda text: self._child.send(FunctionResult(call.number, text))
        )

    # -- after the session

    def _recover(self) -> SessionOutcome:
        """The asking process ended without its last message: the spool has what it did not send."""
        session = self._runfile.session
        spool.recover(self._runfile)
        if not self._stopped:
            raise EvalkitError(
                f"the process that sends requests ended unexpectedly (exit code {self._child.exit_code}). The answers "
                f"received are in {self._runfile.path}; resume with: {resume_command.command(self._runfile.path)}"
            )
        self._writer.finish()
        if session:
            self._runfile.session = session
            self._runfile.end_session(time.perf_counter_ns(), SessionOutcome.STOPPED, None)
        return SessionOutcome.STOPPED

    def _conclude(self, end: End) -> SessionOutcome:
        self._scoring_s = time.monotonic() + SCORING_S
        self._writer.finish(earlier=self._task.resumed)
        if self._runfile.session:
            waits = self._functions.wait_times()
            trust = end.trust if waits is None else {**end.trust, "function_calls": waits}
            self._runfile.end_session(end.mono_ns, end.outcome, trust)
        spool.remove(self._runfile.path)
        if end.error is not None:
            error = getattr(errors, end.error) if end.error else RuntimeError
            raise error(end.error_text if end.error else f"in the process that sends requests:\n{end.error_text}")
        if end.unusable is not None:
            raise EndpointError(self._why_unusable(*end.unusable))
        return SessionOutcome(end.outcome)

    def _why_unusable(self, count: int, kind: str, message: str) -> str:
        turns = "The only turn failed" if count == 1 else f"The first {count} turns all failed the same way"
        answered = self._progress.answered
        if not count:
            return f"The endpoint's quota is used up after {answered:,} answered turns. {message}"
        others = f"{answered} others were answered after that" if answered else "none was answered"
        return f"{turns} ({kind}), {others}. {message}"
