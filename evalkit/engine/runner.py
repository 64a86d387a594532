"""A session of a run: starts the asking process, keeps what it hands over, calls functions for it, stops it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import Any

from evalkit import errors
from evalkit.engine.asking.process import GRACE_S, Task
from evalkit.engine.asking.tool_functions import Calls
from evalkit.engine.launch import Launched
from evalkit.engine.saving import spool
from evalkit.engine.saving.process_messages import Begun, Call, Committed, Doubted, End, Result, Stop, Turns
from evalkit.engine.saving.progress import Progress
from evalkit.engine.saving.scoring_thread import ScoreTurn, ScoringThread
from evalkit.engine.saving.writer import Writer
from evalkit.engine.stopping.accuracy_goal import Until
from evalkit.engine.stopping.outcome import Outcome
from evalkit.errors import EndpointError, EvalkitError
from evalkit.process.gc_freeze import resting
from evalkit.runfile import resume_command, schema
from evalkit.runfile.finished_turn import FinishedTurn, LazyConversation
from evalkit.runfile.schema import Row
from evalkit.runfile.store import RunFile
from evalkit.scorers.registry import Scorer

LATE_S = 1.5  # an asking process that was stopped and says nothing so long after the grace is frozen
SCORING_S = 1.0  # what a stopped session may take for scores, after the last answer
_GROUP = 500  # turns committed together, at the most
_LOOK_MS = 100  # between two looks for what other threads want
_LULL_MS = 12  # nothing came for so long: time to score; turns that come fast come every 10 ms


class Runner:
    """One session of a run: from its schedule into its run file.

    Parameters
    ----------
    runfile : RunFile
        Touched by the thread of ``run`` alone while the session goes.
    task : Task
    launched : Launched
        The process that is to do it.
    progress : Progress
        Kept up to date, for a display on another thread.
    score : callable
        ``Turn`` and ``Answer`` to ``Score``, or None.
    known : mapping
        The scorers of the run, found once.
    functions : mapping
        Function name to Python function, for tool calls.
    about : mapping
        What the session is to keep of itself: versions, machine.
    """

    def __init__(
        self,
        runfile: RunFile,
        task: Task,
        launched: Launched,
        progress: Progress,
        score: ScoreTurn,
        known: Mapping[str, Scorer],
        functions: Mapping[str, Callable[..., Any]] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self._runfile = runfile
        self._task = task
        self._launched = launched
        self._progress = progress
        self._calls = Calls(functions or {})
        self._about = {**(about or {}), "endpoint": task.endpoint.to_json()}
        self._scoring = ScoringThread(score, known)
        self._writer = Writer(runfile, self._scoring, progress, self._may_wait)
        self._talks: dict[tuple[int, ...], LazyConversation] = {}
        self._committed = 0
        self._stopped = self._stop_sent = self._killed = self._enough = False
        self._frozen_s = self._scoring_s = 0.0  # when a stop has taken too long

    def stop(self) -> None:
        """Ask nothing new; what is in flight has a few seconds to end. Safe from any thread and in a signal handler."""
        self._stopped = self._progress.stopping = True

    def kill(self) -> None:
        """End the asking process at once; what it has received is kept. As safe as ``stop``."""
        self.stop()
        self._killed = True
        self._launched.kill()

    def run(self) -> Outcome:
        """Ask all; return how it ended.

        For a budget that is used up, or ``until_ci``: the accuracy is known well enough, now or from before.

        Raises
        ------
        EndpointError
            No turn was answered and all first ones failed the same way.
        RunFileError, DatasetError
            Writing or reading failed; what was committed is whole.
        """
        self._scoring.start()
        try:
            with resting():
                if self._task.settings.until_ci is not None and self._known_well_enough(self._task.settings.until_ci):
                    return Outcome.UNTIL
                if self._stopped:
                    return Outcome.STOPPED
                self._launched.give(self._task)
                end = self._keep()
                self._launched.close()
                return self._break_off() if end is None else self._conclude(end)
        finally:
            self._launched.close()
            self._scoring.leave()

    def _known_well_enough(self, ci: float) -> bool:
        """Whether earlier sessions have reached the goal; if not, what they have goes into the way to it."""
        most_turns, query = self._runfile.info()["dataset"]["most_turns"], self._runfile.connection.execute
        if self._task.resumed:
            self._writer.finish(earlier=True)  # one that was killed may have left answers without scores
            if Until(ci, most_turns).replay(self._until_stopped(query(schema.PROGRESS_OWN_SCORES))).reached:
                return True
        self._writer.until = Until(ci, most_turns).replay(
            self._until_stopped(query(schema.ANSWERED_PROGRESS_OWN_SCORES))
        )
        return False

    def _until_stopped(self, rows: Any) -> Any:
        return takewhile(lambda _: not self._stopped, rows)

    def _may_wait(self) -> bool:
        """Whether scoring may be waited for: of a stopped session only what is quick is scored now."""
        return not self._killed and (not self._stopped or time.monotonic() < self._scoring_s)

    # -- while it goes

    def _keep(self) -> End | None:
        """Keep what comes until the end is told; None: the asking process is gone without a word."""
        while True:
            if self._stopped:
                self._see_to_the_stop()
            deciding = self._writer.until is not None  # what decides when to stop must not wait
            found = self._launched.receive((1 if deciding else _LULL_MS) if self._writer.scoring else _LOOK_MS)
            if found is None:
                return None
            group: list[list[Any]] = []
            end = None
            for message in found:
                if isinstance(message, Turns):
                    group += message.turns
                elif isinstance(message, Doubted):
                    self._commit(group)  # the answers were sent before
                    group = []
                    self._writer.retract(message.position, message.repeat, message.turn, later=message.later)
                elif isinstance(message, Begun):
                    self._runfile.begin_session(message.mono_ns, self._about, wall_ns=message.wall_ns)
                    self._progress.began_ns = message.mono_ns
                elif isinstance(message, Call):
                    self._call(message)
                elif isinstance(message, End):
                    end = message
            if group:
                self._commit(group)
            if deciding or not found:
                self._writer.use_lull()
            if self._writer.until is not None:
                self._end_when_enough(self._writer.until)
            if end is not None:
                return end

    def _see_to_the_stop(self) -> None:
        """Tell the asking process, and end it if it does not end by itself: it may be frozen."""
        now = time.monotonic()
        if not self._stop_sent:
            self._stop_sent = True
            self._launched.send(Stop(Outcome.STOPPED))
            self._frozen_s = now + GRACE_S + LATE_S
        elif now > self._frozen_s:
            self.kill()

    def _end_when_enough(self, until: Until) -> None:
        if until.reached and not self._enough:
            self._enough = True
            self._launched.send(Stop(Outcome.UNTIL))

    def _commit(self, turns: list[list[Any]]) -> None:
        for at in range(0, len(turns), _GROUP):
            group = turns[at : at + _GROUP]
            self._writer.add([self._done(*turn) for turn in group])
            self._committed += len(group)
            self._launched.send(Committed(self._committed))

    def _done(self, new: dict[str, Any] | None, last: bool, turn: Row, attempts: list[Row]) -> FinishedTurn:
        key = tuple(turn[1][:2])
        if new is not None:
            self._talks[key] = LazyConversation(key[0], new)
        talk = self._talks.pop(key) if last else self._talks[key]
        return FinishedTurn(talk, turn, attempts)

    def _call(self, call: Call) -> None:
        """Call a function for the model, on another thread: it may take its time."""
        self._calls.call(call.function, call.arguments, lambda text: self._launched.send(Result(call.number, text)))

    # -- when it has ended

    def _break_off(self) -> Outcome:
        """The asking process is gone without its last message; the spool has what was not handed over."""
        session = self._runfile.session
        spool.recover(self._runfile)
        if not self._stopped:
            raise EvalkitError(
                f"the process that asks has ended unexpectedly (exit code {self._launched.code}). What was answered "
                f"is in {self._runfile.path}; go on with: {resume_command.command(self._runfile.path)}"
            )
        self._writer.finish()
        if session:
            self._runfile.session = session
            self._runfile.end_session(time.perf_counter_ns(), Outcome.STOPPED, None)
        return Outcome.STOPPED

    def _conclude(self, end: End) -> Outcome:
        self._scoring_s = time.monotonic() + SCORING_S
        self._writer.finish(earlier=self._task.resumed)
        if self._runfile.session:
            waits = self._calls.waits()
            trust = end.trust if waits is None else {**end.trust, "function_calls": waits}
            self._runfile.end_session(end.mono_ns, end.outcome, trust)
        spool.remove(self._runfile.path)
        if end.error is not None:
            error = getattr(errors, end.error) if end.error else RuntimeError
            raise error(end.error_text if end.error else f"in the process that asks:\n{end.error_text}")
        if end.unusable is not None:
            raise EndpointError(self._why_unusable(*end.unusable))
        return Outcome(end.outcome)

    def _why_unusable(self, count: int, kind: str, message: str) -> str:
        turns = "The only turn failed" if count == 1 else f"The first {count} turns all failed the same way"
        answered = self._progress.answered
        late = "none was answered" if not answered else f"{answered} others were answered after that"
        return f"{turns} ({kind}), {late}. {message}"
