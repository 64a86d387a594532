"""Three or more runs in the order of their accuracy, with groups of runs that are not shown to differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.comparing.pairing import PairedRuns
from evalkit.comparing.shared_conversations import Positions
from evalkit.stats import paired
from evalkit.stats.arrays import Floats
from evalkit.stats.groups import groups_of_equals, letters_of
from evalkit.stats.multiple_tests import holm

if TYPE_CHECKING:
    from evalkit.comparing.comparison import Contrast

LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class RankedRun:
    """The place of a run.

    Parameters
    ----------
    label : str
    accuracy : float
        Over the turns that all runs answered and scored.
    rank, worst_rank : int
        1 + the number of runs shown to be better; the number of runs not shown to be worse, itself included.
    groups : str
        A letter for each group; runs with a common letter are not shown to differ.
    """

    label: str
    accuracy: float
    rank: int
    worst_rank: int
    groups: str


@dataclass(frozen=True, slots=True)
class Ranks:
    """Runs in the order of their accuracy, the best first.

    Parameters
    ----------
    runs : tuple of RankedRun
        Empty if no turn is answered and scored in all runs.
    turns, clusters : int
        Number of turns that all runs answered and scored, and of their conversations or groups.
    tests : int
        Number of pairs of runs with a p-value; all are corrected together, by Holm's method.
    """

    runs: tuple[RankedRun, ...]
    turns: int
    clusters: int
    tests: int

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {**asdict(self), "correction": "Holm"}


def rank_runs(contrasts: Sequence[Contrast]) -> Ranks:
    """Rank the runs of a comparison by paired tests of all pairs, over the turns that all of them share."""
    labels = [contrasts[0].first.label, *(contrast.second.label for contrast in contrasts)]
    keys, scores, conversations = _common_scores(contrasts)
    if not len(keys):
        return Ranks((), 0, 0, 0)
    known = contrasts[0].paired.shared.first
    clusters = contrasts[0].clusters.labels[np.searchsorted(known, conversations)]
    pairs = list(combinations(range(len(labels)), 2))
    ps = [paired.difference(scores[one], scores[other], clusters).p for one, other in pairs]
    different = {
        pair for pair, p in zip(pairs, holm(ps), strict=True) if p is not None and p < LEVEL
    }  # fmt: skip
    means = [float(side.mean()) for side in scores]
    order = sorted(range(len(labels)), key=lambda run: -means[run])
    place = {run: number for number, run in enumerate(order)}
    groups = groups_of_equals(len(labels), [(place[one], place[other]) for one, other in different])

    def placed(run: int) -> RankedRun:
        others = [other for pair in different if run in pair for other in pair if other != run]
        better = sum(means[other] > means[run] for other in others)
        letters = letters_of(place[run], groups)
        return RankedRun(labels[run], means[run], 1 + better, len(labels) - (len(others) - better), letters)

    return Ranks(tuple(map(placed, order)), len(keys), len(np.unique(clusters)), sum(p is not None for p in ps))


def _common_scores(contrasts: Sequence[Contrast]) -> tuple[Positions, list[Floats], Positions]:
    """The turns that all runs answered and scored, their scores in each run, and their conversations in the first."""
    averaged = any(contrast.paired.averaged for contrast in contrasts)
    width = 1 + max(int(contrast.paired.pairs.turn.max(initial=0)) for contrast in contrasts)
    repeats = 1 + max(int(contrast.paired.pairs.repeat.max(initial=0)) for contrast in contrasts)
    sides: list[tuple[Positions, Floats]] = []
    for contrast in contrasts:
        found = contrast.paired
        sides += [_scores(found, side, averaged, repeats, width) for side in ((0, 1) if not sides else (1,))]
    keys: Positions = reduce(np.intersect1d, [key for key, _ in sides])
    scores = [values[np.searchsorted(key, keys)] for key, values in sides]
    return keys, scores, keys // width // repeats


def _scores(paired_runs: PairedRuns, side: int, averaged: bool, repeats: int, width: int) -> tuple[Positions, Floats]:
    """The keys of scored turns in ascending order, and their scores; ``averaged``: means over repeats."""
    pairs = paired_runs.pairs
    score = (pairs.first, pairs.second)[side]
    known = ~np.isnan(score)
    repeat = np.zeros_like(pairs.repeat) if averaged else pairs.repeat
    key = (paired_runs.shared.first[pairs.conversation] * repeats + repeat) * width + pairs.turn
    unique, number, count = np.unique(key[known], return_inverse=True, return_counts=True)
    sums = np.bincount(number.reshape(-1), score[known], len(unique))
    return unique, sums / np.maximum(count, 1)
