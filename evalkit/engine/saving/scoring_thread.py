"""Scores answers of a run file on a thread of its own: a scorer that is slow, or never returns, holds nothing up."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from evalkit.conversation import Turn
from evalkit.record import Answer, Score
from evalkit.runfile.finished_turn import stored_turns
from evalkit.scorers import registry
from evalkit.scorers.registry import Scorer

_LEAVE_S = 0.05
HANDED_OVER_S = 0.02  # at the latest after so long, scores are there to be taken

Key = tuple[int, int, int]  # position of the conversation, repeat, turn
UnscoredTurn = tuple[Key, str, Answer]  # with the row of its conversation
ScoreTurn = Callable[[Turn, Answer], Score | None]


class ScoredTurn(NamedTuple):
    """A turn that is through with scoring; None: there was nothing to score. ``turns``: of its conversation."""

    key: Key
    turns: int
    score: Score | None


class ScoringThread(threading.Thread):
    """Scores what it is given, in its order. It is a daemon: one that never ends keeps Python from nothing.

    Parameters
    ----------
    score : callable
        ``Turn`` and ``Answer`` to ``Score``, or None when there is nothing to score.
    known : mapping or None
        Scorers by name, found once for the run; None: those that are registered when each is needed.

    Attributes
    ----------
    known : mapping or None
    """

    def __init__(self, score: ScoreTurn, known: Mapping[str, Scorer] | None = None) -> None:
        super().__init__(name="evalkit-scoring", daemon=True)
        self._score = score
        self.known = known
        self._given: deque[UnscoredTurn] = deque()
        self._scored: deque[ScoredTurn] = deque()
        self._outstanding = 0
        self._changed = threading.Condition()
        self._left = False
        self._error: BaseException | None = None

    @property
    def outstanding(self) -> int:
        """Turns that were given and not taken."""
        return self._outstanding

    def give(self, turns: Iterable[UnscoredTurn]) -> None:
        """Hand over turns to score."""
        with self._changed:
            before = len(self._given)
            self._given.extend(turns)
            self._outstanding += len(self._given) - before
            self._changed.notify_all()

    def take(self, wait_s: float = 0.0) -> list[ScoredTurn]:
        """What has been scored since the last time; waits so long for all that was given.

        Raises
        ------
        Exception
            A fault of ours has ended the thread.
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

    def leave(self) -> None:
        """Score nothing more; what is not scored is left to a later session. A slow scorer is not waited for."""
        with self._changed:
            self._left = True
            self._given.clear()
            self._changed.notify_all()
        self.join(_LEAVE_S)

    def run(self) -> None:
        """Score until it is left."""
        try:
            with registry.found_once(self.known):
                while self._next_given():
                    self._score_given()
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _next_given(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._given or self._left)
            return not self._left

    def _score_given(self) -> None:
        done: list[ScoredTurn] = []
        until = time.perf_counter() + HANDED_OVER_S
        while True:
            try:
                key, row, answer = self._given.popleft()
            except IndexError:
                break
            turns = stored_turns(row)
            done.append(ScoredTurn(key, len(turns), self._score(turns[key[2] - 1], answer)))
            if time.perf_counter() > until:
                break
        with self._changed:
            self._scored.extend(done)
            self._changed.notify_all()
