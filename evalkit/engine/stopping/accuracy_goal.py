"""When a run's accuracy is known well enough: its conversations, in the order in which they were begun."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from evalkit.stats.anytime_interval import ConfidenceSequence

_SHARE = 50  # a look after every 2 % more conversations: each takes as long as there are conversations


@dataclass(frozen=True, slots=True)
class GoalStatus:
    """How far a run has come on its way to a goal.

    Parameters
    ----------
    ci : float
        The half-width at which to stop.
    reached : bool
    value, low, high : float or None
        Accuracy with its anytime-valid 95 % limits; None: too little is known.
    conversations : int
        Those it stands on, in the order of the dataset; when the goal is reached, no later one is taken in.
    reason : str or None
        Why a value or a limit is missing.
    """

    ci: float
    reached: bool
    value: float | None
    low: float | None
    high: float | None
    conversations: int
    reason: str | None

    @property
    def half_width(self) -> float | None:
        """The larger distance of the value to a limit."""
        if self.value is None or self.low is None or self.high is None:
            return None
        return max(self.value - self.low, self.high - self.value)


class AccuracyGoal:
    """Takes in conversations in the order of the dataset, however they end, until the goal is reached.

    Short conversations end first, and so do wrong answers that are short: taken as they end they would not be a fair
    sample. So one that has ended waits for those before it. A failed turn is not a wrong one: of a conversation counts
    what was answered and scored.

    Parameters
    ----------
    ci : float
        Half-width of the interval at which to stop.
    most_turns : int
        The most turns a conversation of the dataset has.

    Attributes
    ----------
    reached : bool
    """

    def __init__(self, ci: float, most_turns: int) -> None:
        self.reached = False
        self._ci = ci
        self._sequence = ConfidenceSequence(most_turns, ci)
        self._open: dict[int, tuple[int, float, int]] = {}  # turns that have ended, sum and number of their scores
        self._waiting: dict[int, tuple[float, int]] = {}
        self._next = 0
        self._look = 1

    def note(self, position: int, turns: int, ended: int, total: float, scored: int) -> None:
        """Take in turns that have ended.

        Parameters
        ----------
        position, turns : int
            Place of their conversation in the dataset, from 0, and how many turns it has.
        ended : int
            How many more of them have ended for good: failed, or answered and through with scoring.
        total : float
            Sum of their scores.
        scored : int
            How many have one.
        """
        if self.reached:
            return
        before, right, many = self._open.pop(position, (0, 0.0, 0))
        ended, total, scored = before + ended, right + total, many + scored
        if ended < turns:
            self._open[position] = ended, total, scored
            return
        self._waiting[position] = total, scored
        while not self.reached and self._next in self._waiting:
            self._sequence.add(*self._waiting.pop(self._next))
            self._next += 1
            count = self._sequence.conversations
            if count >= self._look:
                self._look = count + max(1, count // _SHARE)
                self.reached = self._sequence.reached

    def take_back(self, position: int, score: float | None) -> None:
        """A turn that was noted is asked again; one of a conversation that has ended stays as it was."""
        if position in self._open:
            ended, total, scored = self._open[position]
            self._open[position] = ended - 1, total - (score or 0.0), scored - (score is not None)

    def replay(self, rows: Iterable[tuple[int, int, int, float, int]]) -> Self:
        """Take in what a run file holds: the arguments of ``note``, a row a conversation."""
        for row in rows:
            self.note(*row)
            if self.reached:
                break
        return self

    def told(self) -> GoalStatus:
        """Where it stands."""
        estimate = self._sequence.interval
        return GoalStatus(
            self._ci,
            self.reached,
            estimate.value,
            estimate.low,
            estimate.high,
            self._sequence.conversations,
            estimate.reason,
        )
