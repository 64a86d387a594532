"""Scores answers of a run file on its own thread: a scorer that is slow, or never returns, delays nothing else."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from evalkit.conversation import Turn
from evalkit.record import Answer, Score, TurnKey
from evalkit.runfile.finished_turn import stored_turn
from evalkit.scorers import registry
from evalkit.scorers.registry import Scorer

_CLOSE_S = 0.05
HANDED_OVER_S = 0.02  # after this time at the latest, finished scores can be taken

UnscoredTurn = tuple[TurnKey, str, Answer]  # the string is the row of its conversation
ScoreTurn = Callable[[Turn, Answer, Sequence[Mapping[str, Any]]], Score | None]  # the last are the tools


class ScoredTurn(NamedTuple):
    """A turn after scoring; score None: there was nothing to score. ``turns``: how many its conversation has."""

    key: TurnKey
    turns: int
    score: Score | None


class ScoringThread(threading.Thread):
    """Scores turns in the order given. A daemon thread: if a scorer never returns, Python can still end.

    Parameters
    ----------
    score : callable
        ``Turn`` and ``Answer`` to ``Score``, or None when there is nothing to score.
    scorers : mapping or None
        The run's scorers by name; None: those registered when each is needed.

    Attributes
    ----------
    scorers : mapping or None
    """

    def __init__(self, score: ScoreTurn, scorers: Mapping[str, Scorer] | None = None) -> None:
        super().__init__(name="evalkit-scoring", daemon=True)
        self._score = score
        self.scorers = scorers
        self._given: deque[UnscoredTurn] = deque()
        self._scored: deque[ScoredTurn] = deque()
        self._outstanding = 0
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    @property
    def outstanding(self) -> int:
        """Turns given and not taken yet."""
        return self._outstanding

    def give(self, turns: Iterable[UnscoredTurn]) -> None:
        """Add turns to score."""
        with self._changed:
            before = len(self._given)
            self._given.extend(turns)
            self._outstanding += len(self._given) - before
            self._changed.notify_all()

    def take(self, wait_s: float = 0.0) -> list[ScoredTurn]:
        """The turns scored since the last call; waits up to ``wait_s`` for all turns given.

        Raises
        ------
        Exception
            A bug in evalkit has ended the thread.
        """
        with self._changed:
            if wait_s:
                self._changed.wait_for(lambda: len(self._scored) == self._outstanding or self._error, wait_s)
            if self._error is not None:
                raise self._error
            taken = list(self._scored)
            self._scored.clear()
            self._outstanding -= len(taken)
        return taken

    def close(self) -> None:
        """Score nothing more, and do not wait for a slow scorer; a later session scores the rest."""
        with self._changed:
            self._closed = True
            self._given.clear()
            self._changed.notify_all()
        self.join(_CLOSE_S)

    def run(self) -> None:
        """Score until the thread is closed."""
        try:
            with registry.found_once(self.scorers):
                while self._next_given():
                    self._score_given()
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _next_given(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._given or self._closed)
            return not self._closed

    def _score_given(self) -> None:
        scored: list[ScoredTurn] = []
        deadline = time.perf_counter() + HANDED_OVER_S
        while True:
            try:
                key, row, answer = self._given.popleft()
            except IndexError:
                break
            turn, turns, tools = stored_turn(row, key[2])
            scored.append(ScoredTurn(key, turns, self._score(turn, answer, tools)))
            if time.perf_counter() > deadline:
                break
        with self._changed:
            self._scored.extend(scored)
            self._changed.notify_all()
