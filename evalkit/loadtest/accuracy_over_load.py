"""Whether answers get worse under load: the steps of a load test, compared on the turns that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evalkit.stats import paired
from evalkit.stats.multiple_tests import holm
from evalkit.stats.paired import Difference
from evalkit.wording.numbers import points

LEVEL = 0.05

# (position of the conversation, turn) to (mean score over its repeats, name of its cluster)
StepScores = Mapping[tuple[int, int], tuple[float, str]]


@dataclass(frozen=True, slots=True)
class AccuracyChange:
    """The change in accuracy from the first step to a later one.

    Parameters
    ----------
    difference : Difference
        Later − first, over the turns answered in both steps; clusters are conversations or their groups.
    turns : int
        Number of these turns.
    p : float or None
        p-value of ``difference``, corrected by Holm's method for all steps that were compared. None: no test was
        possible.
    """

    difference: Difference
    turns: int
    p: float | None

    @property
    def worse(self) -> bool:
        """Whether the answers of the later step are worse."""
        value = self.difference.estimate.value
        return self.p is not None and self.p < LEVEL and value is not None and value < 0

    def in_words(self, comparisons: int) -> str:
        """The change with its interval and its p-value, which was corrected for this many comparisons."""
        change = self.difference.estimate
        if change.value is None or self.p is None:
            return change.reason or "it was not tested"
        limits = ""
        if change.low is not None and change.high is not None:
            limits = f" (95 % interval {points(change.low)} to {points(change.high)})"
        return (
            f"accuracy {points(change.value)} points{limits} over the {self.turns:,} turns answered in both steps, "
            f"p = {self.p:.2g}, corrected for {comparisons} comparison{'s' * (comparisons > 1)}"
        )


def accuracy_changes(steps: Sequence[StepScores]) -> list[AccuracyChange]:
    """Compare each later step with the first.

    Steps run different numbers of conversations, and harder conversations must not look like worse answers: only turns
    answered in both steps are compared, in pairs. A sweep makes many comparisons; with Holm's method, at most 5 % of
    sweeps with equal steps report "worse" anywhere. A comparison without a p-value counts with p = 1, so that the
    correction does not depend on the data.

    Parameters
    ----------
    steps : sequence of mapping
        Scores of each step, in the order of the sweep.

    Returns
    -------
    list of AccuracyChange
        One for each step after the first.
    """
    if not steps:
        return []
    first, differences, turns = steps[0], [], []
    for later in steps[1:]:
        shared = sorted(first.keys() & later.keys())
        values = [(first[key][0], later[key][0], first[key][1]) for key in shared]
        before, now, clusters = zip(*values, strict=True) if values else ((), (), ())
        differences.append(paired.difference(before, now, clusters))
        turns.append(len(shared))
    corrected = holm([1.0 if each.p is None else each.p for each in differences])
    return [
        AccuracyChange(each, count, None if each.p is None else p)
        for each, count, p in zip(differences, turns, corrected, strict=True)
    ]
