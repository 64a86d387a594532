"""A session of a run: starts the asking process, keeps what it hands over, calls functions for it, stops it."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from evalkit import errors, messages, resumption, schema, scorers, spool
from evalkit.asking import Task
from evalkit.conversation import Turn
from evalkit.dialogue import call_function
from evalkit.done import Done, Talk
from evalkit.errors import EndpointError, EvalkitError
from evalkit.heap import resting
from evalkit.launch import Launched
from evalkit.record import Answer, Score
from evalkit.schema import Row
from evalkit.store import RunFile
from evalkit.until import Until
from evalkit.writer import Progress, Writer

_READ = 2**20
_GROUP = 500  # turns committed together, at the most
_LULL_MS = 12  # nothing came for so long: time to score; turns that come fast come every 10 ms
_SCORES_WAIT_MS = 20  # for turns, to be committed with


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
        functions: Mapping[str, Callable[..., Any]] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self._runfile = runfile
        self._task = task
        self._launched = launched
        self._progress = progress
        self._functions = functions or {}
        self._about = {**(about or {}), "endpoint": task.endpoint.to_json()}
        self._default_scorer = task.settings.default_scorer
        self._writer = Writer(runfile, self._score, progress)
        self._talks: dict[tuple[int, ...], Talk] = {}
        self._sending = threading.Lock()
        self._line: socket.socket | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._committed = 0
        self._stopped = self._enough = False

    def stop(self) -> None:
        """Ask nothing new; what is in flight has a few seconds to end. Safe from any thread."""
        self._stopped = self._progress.stopping = True
        self._send(messages.STOP, "stopped")

    def run(self) -> str:
        """Ask all; return the outcome: ``done``, ``stopped``, or the name of the setting that ended it.

        That is a budget that is used up, or ``until_ci``: then the accuracy is known well enough, now or from before.

        Raises
        ------
        EndpointError
            No turn was answered and all first ones failed the same way.
        RunFileError, DatasetError
            Writing or reading failed; what was committed is whole.
        """
        launched = self._launched
        try:
            self._line = launched.line
            with resting():
                if self._task.settings.until_ci is not None and self._known_well_enough(self._task.settings.until_ci):
                    return "until_ci"
                launched.give(self._task)
                if self._stopped:
                    self._send(messages.STOP, "stopped")
                end = self._keep(launched.line)
        finally:
            self._line = None
            launched.close()
            if self._threads is not None:
                self._threads.shutdown(wait=False, cancel_futures=True)
        if end is None:
            spool.recover(self._runfile)
            raise EvalkitError(
                f"the process that asks has ended unexpectedly (exit code {launched.code}). What was answered is in "
                f"{self._runfile.path}; go on with: {resumption.command(self._runfile.path)}"
            )
        return self._conclude(*end)

    def _known_well_enough(self, ci: float) -> bool:
        """Whether earlier sessions have reached the goal; if not, what they have goes into the way to it."""
        most_turns, query = self._runfile.info()["dataset"]["most_turns"], self._runfile.connection.execute
        if self._task.resumed:
            self._writer.finish(earlier=True)  # one that was killed may have left answers without scores
            if Until(ci, most_turns).replay(query(schema.ENDED_OWN)).reached:
                return True
        self._writer.until = Until(ci, most_turns).replay(query(schema.ANSWERED_OWN))
        return False

    # -- while it goes

    def _keep(self, line: socket.socket) -> tuple[Any, ...] | None:
        """Keep what comes until the end is told; None: the asking process is gone without a word."""
        frames = messages.FrameReader()
        poll = select.poll()
        poll.register(line, select.POLLIN)
        lull_ms = _LULL_MS if self._writer.until is None else 1  # what decides when to stop must not wait
        while True:
            if self._writer.unscored and not poll.poll(lull_ms):
                self._writer.catch_up()
                if self._writer.until is not None:
                    self._end_when_enough(self._writer.until)
                continue
            if self._writer.uncommitted and not poll.poll(_SCORES_WAIT_MS):
                self._writer.add(())
                continue
            poll.poll()
            data = _read(line)
            if not data:
                return None
            group: list[list[Any]] = []
            end = None
            for name, *values in frames.feed(data):
                if name == messages.TURNS:
                    group += values[0]
                elif name == messages.BEGUN:
                    self._runfile.begin_session(values[0], self._about, wall_ns=values[1])
                    self._progress.began_ns = values[0]
                elif name == messages.CALL:
                    self._call(*values)
                else:
                    end = tuple(values)
            if group:
                self._commit(group)
            if self._writer.until is not None:
                self._writer.catch_up()
                self._end_when_enough(self._writer.until)
            if end is not None:
                return end

    def _end_when_enough(self, until: Until) -> None:
        if until.reached and not self._enough:
            self._enough = True
            self._send(messages.STOP, "until_ci")

    def _commit(self, turns: list[list[Any]]) -> None:
        for at in range(0, len(turns), _GROUP):
            group = turns[at : at + _GROUP]
            self._writer.add([self._done(*turn) for turn in group])
            self._committed += len(group)
            self._send(messages.COMMITTED, self._committed)

    def _done(self, new: dict[str, Any] | None, last: bool, turn: Row, attempts: list[Row]) -> Done:
        key = tuple(turn[1][:2])
        if new is not None:
            self._talks[key] = Talk(key[0], new)
        talk = self._talks.pop(key) if last else self._talks[key]
        return Done.of_rows(talk, turn, attempts)

    def _score(self, turn: Turn, answer: Answer) -> Score | None:
        return scorers.score(turn, answer, default=self._default_scorer)

    def _call(self, number: int, name: str, arguments: str) -> None:
        """Call a function for the model, on another thread: it may take its time."""

        def work() -> None:
            self._send(messages.RESULT, number, call_function(self._functions[name], arguments))

        if self._threads is None:
            self._threads = ThreadPoolExecutor(thread_name_prefix="evalkit-function")
        self._threads.submit(work)

    def _send(self, *message: Any) -> None:
        with self._sending, suppress(OSError):  # whether it is gone is for the reading to find
            if self._line is not None:
                self._line.sendall(messages.frame(*message))

    # -- when it has ended

    def _conclude(
        self,
        ended_ns: int,
        outcome: str,
        trust: dict[str, Any],
        unusable: tuple[int, str, str] | None,
        error: str | None,
        words: str,
    ) -> str:
        self._writer.finish(earlier=self._task.resumed)
        if self._runfile.session:
            self._runfile.end_session(ended_ns, outcome, trust)
        spool.remove(self._runfile.path)
        if error is not None:
            raise getattr(errors, error)(words) if error else RuntimeError(f"in the process that asks:\n{words}")
        if unusable is not None:
            raise EndpointError(self._why_unusable(*unusable))
        return outcome

    def _why_unusable(self, count: int, kind: str, message: str) -> str:
        turns = "The only turn failed" if count == 1 else f"The first {count} turns all failed the same way"
        answered = self._progress.answered
        late = "none was answered" if not answered else f"{answered} others were answered after that"
        return f"{turns} ({kind}), {late}. {message}"


def _read(line: socket.socket) -> bytes:
    """What has come; nothing when the other end is gone, in order or not: the spool has what was under way."""
    try:
        return line.recv(_READ)
    except ConnectionResetError:
        return b""
