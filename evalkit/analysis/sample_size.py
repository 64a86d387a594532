"""How many conversations a run needs, estimated from a pilot run: for a precision, or to find a difference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.analysis.measures import HasPath
from evalkit.analysis.pilot_runs import ClusterRepeat, Pilot, accuracy_shares, difference_shares
from evalkit.errors import SettingsError
from evalkit.stats.checked_samples import cluster_totals
from evalkit.stats.power import (
    PilotSpread,
    assured_for_difference,
    assured_for_precision,
    half_width,
    pilot_spread,
    smallest_difference,
)
from evalkit.stats.repeats import VarianceSplit, variance_split

PRECISION, DIFFERENCE = 0.03, 0.05
ASSURANCE, RANGE = 0.8, (0.1, 0.9)  # shares of cases in which a number of conversations is enough
REPEATS = (1, 2, 5)
_FEWEST_CLUSTERS = 10  # a pilot with fewer is too small
_ROUNDING = 1e-9  # a smaller standard deviation is rounding


@dataclass(frozen=True, slots=True)
class SampleSize:
    """What a goal needs with a number of repeats.

    Parameters
    ----------
    goal : str
        ``precision`` or ``difference``.
    wanted : float
        The half-width of the 95 % interval, or the true difference to find; 0 to 1.
    repeats : int
    conversations : int or None
        Number that is enough in 80 % of cases, given that pilots and runs differ by chance. None: not available,
        ``reason`` says why.
    turns, tokens, wall_s : float or None
        Totals of all runs to make: one for the precision of one accuracy, else two. None: the pilot does not report it.
    reason : str or None
    fewest, most : int or None
        Conversations that are enough in 10 % and in 90 % of cases.
    """

    goal: str
    wanted: float
    repeats: int
    conversations: int | None
    turns: float | None = None
    tokens: float | None = None
    wall_s: float | None = None
    reason: str | None = None
    fewest: int | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Sample sizes planned from a pilot.

    Parameters
    ----------
    pilots : tuple of str
        Run files: one pilot, or two of the same conversations.
    value : float
        Accuracy of the pilot; with two, that of the second minus that of the first.
    clusters : int
        Number of conversations, or of groups of them if the dataset has any.
    unit : str
        ``conversations`` or ``groups``.
    repeats : int
        Number of repeats.
    split : VarianceSplit or None
        Variance of a cluster's share in the value. None: there is only one cluster.
    power : float
        Probability of finding a difference.
    half_width, smallest_difference : float or None
        What the number of clusters of the pilot can show.
    needs : tuple of SampleSize
    assumes, warnings : tuple of str
        Assumptions of the plan; reasons not to rely on it.
    assurance : float
        Share of cases in which the conversations of ``needs`` are enough.
    """

    pilots: tuple[str, ...]
    value: float
    clusters: int
    unit: str
    repeats: int
    split: VarianceSplit | None
    power: float
    half_width: float | None
    smallest_difference: float | None
    needs: tuple[SampleSize, ...]
    assumes: tuple[str, ...]
    warnings: tuple[str, ...]
    assurance: float = ASSURANCE

    @property
    def too_small(self) -> bool:
        """Whether the pilot has fewer than ten clusters."""
        return self.clusters < _FEWEST_CLUSTERS

    def _repr_html_(self) -> str | None:
        from evalkit.console import notebook_cell

        return notebook_cell.of_plan(self)

    def to_json(self) -> dict[str, Any]:
        """The object that ``evalkit plan --json`` prints."""
        split = self.split
        parts = split and {
            "total": split.total,
            "between": None if split.between is None else max(split.between, 0.0),
            "within": split.within,
            "items": split.items,
        }
        return {**asdict(self), "split": parts, "too_small": self.too_small}


def plan(
    pilot: Path | str | HasPath,
    other: Path | str | HasPath | None = None,
    *,
    precision: float | None = None,
    difference: float | None = None,
    power: float = 0.8,
    repeats: int | None = None,
) -> Plan:
    """Estimate from a pilot run how many conversations are needed.

    A conversation's share in the accuracy p is ``(s − p n) / (mean of n)``, with the sum s of its n scores. The
    variance of the shares, split between conversations and repeats when the pilot has repeats, gives the number of
    conversations; see ``stats.power``. As the variance is only estimated from the pilot, and that of a run differs
    again, the number is enough in 80 % of cases, and is given with the range from 10 to 90 %. With two pilots the
    shares are differences of each conversation over the turns that are answered and scored in both.

    Parameters
    ----------
    pilot : path-like or Run
    other : path-like or Run, optional
        Second pilot of the same conversations: the plan is then for their difference.
    precision : float, optional
        Half-width of the 95 % interval, of the accuracy or, with two pilots, of their difference.
    difference : float, optional
        The difference between two runs to find, by a paired two-sided test at 5 %. With neither difference nor
        precision, the plan is for a precision of 0.03 and a difference of 0.05.
    power : float
        Probability of finding it.
    repeats : int, optional
        Repeats of each conversation; default: 1, 2 and 5, each planned.

    Returns
    -------
    Plan

    Raises
    ------
    SettingsError
        A number is out of range.
    RunFileError
        A pilot cannot be read or has no scored turn, or two pilots do not share their conversations.
    """
    goals = _goals(precision, difference, power, repeats)
    pilots = [Pilot.read(_path(each)) for each in (pilot, other) if each is not None]
    value, shares = accuracy_shares(pilots[0].scored) if other is None else difference_shares(*pilots)
    clusters = {cluster for cluster, _ in shares}
    split = variance_split(list(shares.values()), _numbered(shares)) if len(clusters) > 1 else None
    pilot_repeats = max(repeat for _, repeat in shares)
    sd = None if split is None else split.sd(pilot_repeats)
    varies = sd is not None and sd > _ROUNDING
    planner = _Planner(pilots, value, tuple(shares.values()), tuple(_numbered(shares)), split, power)
    needs = tuple(planner.sample_size(*goal, times) for goal in goals for times in ((repeats,) if repeats else REPEATS))
    return Plan(
        pilots=tuple(str(each.path) for each in pilots),
        value=value,
        clusters=len(clusters),
        unit="groups" if any(grouped for grouped, _ in clusters) else "conversations",
        repeats=pilot_repeats,
        split=split,
        power=power,
        half_width=half_width(len(clusters), sd) if sd and varies else None,
        smallest_difference=smallest_difference(len(clusters), sd * planner.difference_factor, power)
        if sd and varies
        else None,
        needs=needs,
        assumes=tuple(_assumes(len(pilots), power, needs)),
        warnings=tuple(_warnings(needs, len(clusters), pilots[0].dataset_size, varies=varies)),
    )


@dataclass(frozen=True, slots=True)
class _Planner:
    """Computes sample sizes from the pilots."""

    pilots: Sequence[Pilot]
    value: float
    shares: Sequence[float]
    clusters: Sequence[int]  # of each share
    split: VarianceSplit | None
    power: float

    @property
    def difference_factor(self) -> float:
        """With one pilot, a difference is assumed to vary as that of two independent runs."""
        return math.sqrt(2) if len(self.pilots) == 1 else 1.0

    def sample_size(self, goal: str, wanted: float, repeats: int) -> SampleSize:
        sd = None if self.split is None else self.split.sd(repeats)
        if self.split is None:
            return SampleSize(goal, wanted, repeats, None, reason="there is only one conversation or group")
        if sd is None:
            reason = "the pilot has one repeat: a pilot with more repeats shows how much they save"
            return SampleSize(goal, wanted, repeats, None, reason=reason)
        if sd <= _ROUNDING:
            return SampleSize(goal, wanted, repeats, None, reason="all conversations of the pilot have the same result")
        spread = self._spread_of(sd, repeats)
        conversations, fewest, most = (
            self._conversations(goal, wanted, spread, level) for level in (ASSURANCE, *RANGE)
        )
        # the second run of a difference is assumed to need as much as the first
        runs = [*self.pilots, *(self.pilots if goal == "difference" and len(self.pilots) == 1 else ())]
        times = conversations * repeats
        return SampleSize(
            goal,
            wanted,
            repeats,
            conversations,
            turns=sum(times * run.turns / run.conversation_repeats for run in runs),
            tokens=_sum(
                None if run.tokens is None else times * run.tokens * run.turns / run.conversation_repeats
                for run in runs
            ),
            wall_s=_sum(None if run.wall_s is None else times * run.wall_s / run.conversation_repeats for run in runs),
            fewest=fewest,
            most=most,
        )

    def _conversations(self, goal: str, wanted: float, spread: PilotSpread, level: float) -> int:
        if goal == "precision":
            value = self.value if len(self.pilots) == 1 else None
            clusters = assured_for_precision(wanted, spread, value, level)
        else:
            clusters = assured_for_difference(
                wanted, replace(spread, sd=spread.sd * self.difference_factor), self.power, level
            )
        return math.ceil(clusters * self.pilots[0].conversations / self._clusters_of_first)

    def _spread_of(self, sd: float, repeats: int) -> PilotSpread:
        """Spread of the clusters with this number of repeats; for an accuracy at least that of independent turns."""
        sums, counts = cluster_totals(np.array(self.shares), np.array(self.clusters), max(self.clusters) + 1)
        values, least = sums / counts, 0.0
        if len(self.pilots) == 1:
            (pilot,) = self.pilots
            turns = sum(n for _, n in pilot.scored.values())
            of_one_turn = max(self.value * (1 - self.value) - pilot.partial / turns, 0.0)
            least = math.sqrt(of_one_turn / (turns / len(pilot.scored) * repeats))
        return (
            pilot_spread(values, sd, least) if values.std() > _ROUNDING else PilotSpread(sd, len(values), least=least)
        )

    @property
    def _clusters_of_first(self) -> int:
        return len({cluster for cluster, _ in self.pilots[0].scored})


def _path(pilot: Path | str | HasPath) -> Path:
    return Path(pilot if isinstance(pilot, Path | str) else pilot.path)


def _sum(values: Iterator[float | None]) -> float | None:
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _numbered(shares: dict[ClusterRepeat, float]) -> list[int]:
    numbers: dict[tuple[bool, str], int] = {}
    return [numbers.setdefault(cluster, len(numbers)) for cluster, _ in shares]


def _goals(
    precision: float | None, difference: float | None, power: float, repeats: int | None
) -> list[tuple[str, float]]:
    if precision is None and difference is None:
        precision, difference = PRECISION, DIFFERENCE
    goals = [
        (name, wanted) for name, wanted in (("precision", precision), ("difference", difference)) if wanted is not None
    ]
    for name, wanted in goals:
        if not 0 < wanted < 1:
            raise SettingsError(f"{name} is {wanted}: it must be between 0 and 1, such as 0.03 for 3 points")
        if wanted < 1e-5:
            raise SettingsError(f"{name} is {wanted}: no possible number of conversations gives that precision")
    if not 0.05 < power < 1:
        raise SettingsError(f"power is {power}: it must be between 0.05 and 1, such as 0.8")
    if repeats is not None and repeats < 1:
        raise SettingsError(f"repeats is {repeats}: it must be a whole number, 1 or more")
    return goals


def _assumes(pilots: int, power: float, needs: Sequence[SampleSize]) -> Iterator[str]:
    yield "Future conversations are like those of the pilot: drawn at random from the same population."
    if any(need.conversations is not None for need in needs):
        yield (
            f"The number of conversations is enough in {ASSURANCE:.0%} of cases: their variance is estimated from the "
            f"pilot and differs from run to run. The range is what is enough in {RANGE[0]:.0%} and in {RANGE[1]:.0%}."
        )
    yield "Intervals are 95 % intervals by Student's t over conversations, whose turns may be correlated."
    yield f"A difference is found with a probability of {power:.0%}, by a paired two-sided test at 5 %."
    if pilots == 1:
        yield (
            "Compared runs are assumed to be independent, which is cautious: a second pilot of the same conversations "
            "shows how much pairing them saves."
        )
    yield "Turns, tokens and time are scaled from the pilot, at its load; a comparison needs two runs."


def _warnings(needs: Sequence[SampleSize], clusters: int, dataset: int | None, *, varies: bool) -> Iterator[str]:
    if clusters < _FEWEST_CLUSTERS:
        yield (
            f"The pilot is too small: {clusters} conversations or groups do not show how conversations vary. "
            f"Run at least {_FEWEST_CLUSTERS}, better 30."
        )
    if clusters > 1 and not varies:
        yield (
            "All conversations of the pilot have the same result, so their variance is unknown. "
            "Run more, or harder ones."
        )
    most = max((need.conversations for need in needs if need.conversations is not None), default=0)
    if dataset is not None and most > dataset:
        yield f"The dataset has {dataset} conversations, and up to {most:,} are needed."
