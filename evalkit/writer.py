"""Keeps what was asked: commits turns in groups, then scores them, then counts them."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evalkit import scorings
from evalkit.conversation import Turn
from evalkit.done import stored_turns
from evalkit.record import Answer, Score
from evalkit.store import Done, RunFile

if TYPE_CHECKING:
    from evalkit.until import Until

SLICE_S = 0.0002  # scoring between two looks at what came meanwhile
BACKLOG = 4_000  # turns held to be scored; what comes beyond them is scored from the run file at the end
HELD = 500  # of a run that its scores are to end: each turn asked meanwhile may be one too many


@dataclass(slots=True)
class Progress:
    """Where a run stands; every number counts what is committed.

    Parameters
    ----------
    total : int or None
        Turns of the whole run; None: the dataset was not checked first.
    kept : int
        Turns answered in earlier sessions.
    answered, errors : int
        Turns of this session.
    right : float
        Sum of the scores.
    scored : int
        Answered turns with a score.
    errors_by_kind : Counter
    stopping : bool
        Nothing new is asked; what is in flight has a few seconds to end.
    """

    total: int | None = None
    kept: int = 0
    answered: int = 0
    errors: int = 0
    right: float = 0.0
    scored: int = 0
    errors_by_kind: Counter[str] = field(default_factory=Counter)
    began_ns: int = field(default_factory=time.perf_counter_ns)
    stopping: bool = False

    @property
    def done(self) -> int:
        """Turns of this session that are in the run file."""
        return self.answered + self.errors

    @property
    def turns_per_s(self) -> float:
        """Of this session."""
        return self.done / max((time.perf_counter_ns() - self.began_ns) / 1e9, 1e-9)

    @property
    def left_s(self) -> float | None:
        """Seconds to go at the rate so far; None: unknown."""
        if self.total is None or not self.done:
            return None
        return max(self.total - self.kept - self.done, 0) / self.turns_per_s


class Writer:
    """Writes a session's turns into its run file.

    A turn is committed before it is scored. Scores go with the next group's turns, or alone when nothing else comes.
    Scoring never holds up asking: what it cannot keep up with is scored when all is asked.

    Parameters
    ----------
    runfile : RunFile
    score : callable
        ``Turn`` and ``Answer`` to ``Score``, or None when there is nothing to score.
    progress : Progress
        Brought up to date after every commit.

    Attributes
    ----------
    until : Until or None
        Told of every turn that has failed, or is answered and through with scoring. It is to end the run, so with it
        what comes waits when scoring cannot keep up.
    """

    def __init__(self, runfile: RunFile, score: Callable[[Turn, Answer], Score | None], progress: Progress) -> None:
        self._runfile = runfile
        self._score = score
        self._progress = progress
        self._unscored: deque[Done] = deque()
        self._scores: list[tuple[int, int, int, Score]] = []
        self._left = False
        self.until: Until | None = None
        self._noted: set[str] = set()  # scorers whose version stands in the run file

    @property
    def unscored(self) -> bool:
        """There are turns to score."""
        return bool(self._unscored)

    @property
    def uncommitted(self) -> bool:
        """There are scores to commit."""
        return bool(self._scores)

    def add(self, group: Iterable[Done]) -> None:
        """Commit turns, and the scores made since the last time."""
        group = list(group)
        scores, self._scores = self._scores, []
        if used := {score.scorer for *_, score in scores} - self._noted:
            scorings.note_own(self._runfile, used)
            self._noted |= used
        self._runfile.add(group, scores)
        self._count(group, scores)
        answered = [done for done in group if done.error_kind is None]
        if self.until is not None:
            self._note_failed(self.until, group)
        if self.until is not None and len(self._unscored) + len(answered) > HELD:
            self._score_all()
        if len(self._unscored) + len(answered) > BACKLOG:
            self._left = True
        else:
            self._unscored += answered

    def catch_up(self) -> None:
        """Score for a moment."""
        until = time.perf_counter() + SLICE_S
        while self._unscored:
            self._score_next()
            if time.perf_counter() > until:
                return

    def finish(self, *, earlier: bool = False) -> None:
        """Score and commit what is left.

        Parameters
        ----------
        earlier : bool
            An earlier session may have been killed between its answers and their scores.
        """
        self._score_all()
        self.add(())
        if self._left or earlier:
            self._score_stored()

    def _score_all(self) -> None:
        while self._unscored:
            self._score_next()

    def _score_stored(self) -> None:
        for group in self._runfile.unscored():
            for key, row, answer in group:
                turns = stored_turns(row)
                self._note(key, self._score(turns[key[2] - 1], answer), len(turns))
            self.add(())

    def _score_next(self) -> None:
        done = self._unscored.popleft()
        self._note(done.key, self._score(done.turn, done.answer), done.turns)

    def _note(self, key: tuple[int, int, int], score: Score | None, turns: int) -> None:
        if score is not None:
            self._scores.append((*key, score))
        if self.until is not None:
            value = None if score is None else score.value
            self.until.note(key[0], turns, 1, value or 0.0, int(value is not None))

    def _note_failed(self, until: Until, group: list[Done]) -> None:
        for done in group:
            if done.error_kind is not None and not done.interrupted:
                until.note(done.position, done.turns, 1, 0.0, 0)

    def _count(self, group: list[Done], scores: list[tuple[int, int, int, Score]]) -> None:
        progress = self._progress
        for done in group:
            kind = done.error_kind
            if kind is None:
                progress.answered += 1
            else:
                progress.errors += 1
                progress.errors_by_kind[kind] += 1
        for *_, score in scores:
            if score.value is not None:
                progress.scored += 1
                progress.right += score.value
