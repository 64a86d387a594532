"""Early stopping: when a run's accuracy is known well enough, counting conversations in the order of the dataset."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from evalkit.stats.anytime_interval import ConfidenceSequence

_SHARE = 50  # check after every 2 % more conversations: a check takes time in proportion to their number


@dataclass(frozen=True, slots=True)
class GoalStatus:
    """How close a run is to its accuracy goal.

    Parameters
    ----------
    ci : float
        Half-width of the interval at which the run stops.
    reached : bool
    value, low, high : float or None
        Accuracy with its anytime-valid 95 % limits; None: too little data.
    conversations : int
        How many conversations it is based on, in the order of the dataset; none is added once the goal is reached.
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
    """Adds conversations in the order of the dataset until the accuracy is known well enough.

    Short conversations end first, and so do short wrong answers: in the order in which they end, conversations are a
    biased sample. So a finished conversation waits for those before it. A failed turn does not count as wrong: only the
    answered and scored turns of a conversation count.

    Parameters
    ----------
    ci : float
        Half-width of the interval at which the run stops.
    most_turns : int
        Turns of the longest conversation in the dataset.

    Attributes
    ----------
    reached : bool
    """

    def __init__(self, ci: float, most_turns: int) -> None:
        self.reached = False
        self._ci = ci
        self._sequence = ConfidenceSequence(most_turns, ci)
        self._open: dict[int, tuple[int, float, int]] = {}  # ended turns, sum and number of their scores
        self._waiting: dict[int, tuple[float, int]] = {}
        self._next = 0
        self._next_check = 1

    def note(self, position: int, turns: int, ended: int, total: float, scored: int) -> None:
        """Take note of turns that have ended.

        Parameters
        ----------
        position, turns : int
            Position of their conversation in the dataset, from 0, and how many turns it has.
        ended : int
            How many more turns have failed, or are answered and scored.
        total : float
            Sum of their scores.
        scored : int
            How many of them have a score.
        """
        if self.reached:
            return
        ended_before, total_before, scored_before = self._open.pop(position, (0, 0.0, 0))
        ended, total, scored = ended_before + ended, total_before + total, scored_before + scored
        if ended < turns:
            self._open[position] = ended, total, scored
            return
        self._waiting[position] = total, scored
        while not self.reached and self._next in self._waiting:
            self._sequence.add(*self._waiting.pop(self._next))
            self._next += 1
            count = self._sequence.conversations
            if count >= self._next_check:
                self._next_check = count + max(1, count // _SHARE)
                self.reached = self._sequence.reached

    def retract(self, position: int, score: float | None) -> None:
        """Remove a turn that is sent again; turns of a conversation that has ended stay."""
        if position in self._open:
            ended, total, scored = self._open[position]
            self._open[position] = ended - 1, total - (score or 0.0), scored - (score is not None)

    def replay(self, rows: Iterable[tuple[int, int, int, float, int]]) -> Self:
        """Take note of what a run file holds: per conversation one row with the arguments of ``note``."""
        for row in rows:
            self.note(*row)
            if self.reached:
                break
        return self

    def status(self) -> GoalStatus:
        """The accuracy so far, and whether the goal is reached."""
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
