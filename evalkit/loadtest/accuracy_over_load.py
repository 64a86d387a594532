"""Whether the answers get worse under load: the steps of a load test compared over the turns that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evalkit.stats import paired
from evalkit.stats.multiple_tests import holm
from evalkit.stats.paired import Difference
from evalkit.wording.numbers import points

LEVEL = 0.05

# conversation's position and turn to the mean score over its repeats and the name of its cluster
StepScores = Mapping[tuple[int, int], tuple[float, str]]


@dataclass(frozen=True, slots=True)
class AccuracyChange:
    """What became of the accuracy between the first step and a later one.

    Parameters
    ----------
    difference : Difference
        Later − first, over the turns that both answered; clusters are conversations or their groups.
    turns : int
        How many these are.
    p : float or None
        Of ``difference``, corrected by Holm's method for all steps that were compared. None: there is no test.
    """

    difference: Difference
    turns: int
    p: float | None

    @property
    def worse(self) -> bool:
        """The answers of the later step are worse."""
        value = self.difference.estimate.value
        return self.p is not None and self.p < LEVEL and value is not None and value < 0

    def in_words(self, comparisons: int) -> str:
        """How large it is and how sure, for a p that was corrected for so many comparisons."""
        lost = self.difference.estimate
        if lost.value is None or self.p is None:
            return lost.reason or "it was not tested"
        known = lost.low is not None and lost.high is not None
        limits = f" (95 % interval {points(lost.low or 0)} to {points(lost.high or 0)})" if known else ""
        return (
            f"accuracy {points(lost.value)} points{limits} over the {self.turns:,} turns that both answered, "
            f"p = {self.p:.2g}, corrected for {comparisons} comparison{'s' * (comparisons > 1)}"
        )


def accuracy_changes(steps: Sequence[StepScores]) -> list[AccuracyChange]:
    """Compare each later step with the first.

    Steps ask different numbers of conversations, and one that got harder ones is no worse: so only turns that both
    answered are compared, in pairs. A sweep makes many comparisons: by Holm's method the whole of it says "worse" of
    equal steps in at most 5 % of all sweeps. A comparison that has no p is counted among them, as one that shows
    nothing, so that what is looked at does not depend on what is seen.

    Parameters
    ----------
    steps : sequence of mapping
        Scores of each step, in their order.

    Returns
    -------
    list of AccuracyChange
        One for each step but the first.
    """
    if not steps:
        return []
    first, found, turns = steps[0], [], []
    for later in steps[1:]:
        shared = sorted(first.keys() & later.keys())
        values = [(first[key][0], later[key][0], first[key][1]) for key in shared]
        before, now, clusters = zip(*values, strict=True) if values else ((), (), ())
        found.append(paired.difference(before, now, clusters))
        turns.append(len(shared))
    corrected = holm([1.0 if each.p is None else each.p for each in found])
    return [
        AccuracyChange(each, count, None if each.p is None else p)
        for each, count, p in zip(found, turns, corrected, strict=True)
    ]
