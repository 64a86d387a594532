"""Ratings from judged pairs: who would win against whom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse.csgraph import connected_components

from evalkit.errors import MissingExtra
from evalkit.stats.arrays import Floats
from evalkit.stats.bootstrap_quantiles import LEAST_CLUSTERS
from evalkit.stats.checked_samples import cluster_numbers
from evalkit.stats.groups import groups_of_equals, letters_of
from evalkit.stats.multiple_tests import bonferroni

MIDDLE, SCALE = 1000.0, 400 / math.log(10)  # of Elo ratings
_MOST_ROUNDS, _TOLERANCE = 10_000, 1e-9
_MOST_WITHOUT = 0.01  # share of resamples without ratings, from which there is no interval


@dataclass(frozen=True, slots=True)
class Rating:
    """The rating of one player.

    Parameters
    ----------
    name : str
    rating : float or None
        On the scale of Elo: 1000 is the mean, and 400 points more win ten times as often as they lose. None: missing.
    low, high : float or None
        95 % interval. None: missing.
    groups : str
        A letter for each group; players with a common letter are not shown to differ. Empty without intervals.
    """

    name: str
    rating: float | None
    low: float | None
    high: float | None
    groups: str


def ratings(
    first: Sequence[str],
    second: Sequence[str],
    outcomes: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[list[Rating], str | None]:
    """Ratings by the model of Bradley and Terry, with intervals and groups by the bootstrap over clusters.

    The probability that i wins against j is ``s_i / (s_i + s_j)``. The strengths s are those of maximum likelihood, by
    evalica; a tie is half a win of each. The intervals of the differences of all pairs, whose groups these are, hold
    together (Bonferroni).

    Parameters
    ----------
    first, second : sequence of str, shape (n,)
        Names of the two players of each comparison.
    outcomes : array_like, shape (n,)
        1: the first won; 0: the second; 0.5: a tie.
    clusters : array_like, shape (n,), optional
        Label of each comparison's cluster, such as its conversation. None: the comparisons are independent.
    confidence : float
        Two-sided level of the intervals.
    resamples : int
        Number of resamples.
    seed : int
        Seed of the draws.

    Returns
    -------
    list of Rating, str or None
        The best first; and why ratings or intervals are missing.

    Raises
    ------
    MissingExtra
        evalica is not installed.

    References
    ----------
    R. A. Bradley, M. E. Terry, Biometrika 39 (1952) 324–345.
    M. E. J. Newman, J. Mach. Learn. Res. 24 (2023) 238.
    """
    names = list(dict.fromkeys([*first, *second]))
    place = {name: number for number, name in enumerate(names)}
    numbers, k = cluster_numbers(clusters, len(first))
    won = np.asarray(outcomes, dtype=np.float64)
    one, other = (np.array([place[name] for name in side], dtype=np.int64) for side in (first, second))
    wins = np.zeros((k, len(names), len(names)))  # of each cluster: row won against column
    np.add.at(wins, (numbers, one, other), won)
    np.add.at(wins, (numbers, other, one), 1 - won)
    solve = _solver(len(names))
    found = solve(wins.sum(axis=0))
    if found is None:
        reason = "nothing to compare" if len(names) < 2 else (
            "a rating is not available where one won or lost all its comparisons, or was compared with none of the "
            "others: judge more pairs"
        )  # fmt: skip
        return [Rating(name, None, None, None, "") for name in names], reason
    order = np.argsort(-found, kind="stable").tolist()
    drawn, missing = _resampled(wins, solve, resamples, seed)
    if drawn is None:
        return [Rating(names[each], float(found[each]), None, None, "") for each in order], missing
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    groups = _groups(drawn[:, order], confidence)
    return [
        Rating(names[each], float(found[each]), float(low[each]), float(high[each]), letters_of(number, groups))
        for number, each in enumerate(order)
    ], None


def _solver(count: int) -> Any:
    """From a matrix of wins to ratings; None where the likelihood has no maximum."""
    try:
        import evalica
    except ImportError:
        raise MissingExtra("a rating of judged pairs", "ranking") from None
    one, other = (side.ravel() for side in np.indices((count, count)))
    sides = one != other
    xs, ys = one[sides].tolist(), other[sides].tolist()

    def solve(wins: Floats) -> Floats | None:
        parts, _ = connected_components(wins > 0, directed=True, connection="strong")
        if parts > 1 or count < 2:
            return None
        result = evalica.bradley_terry(
            xs, ys, [evalica.Winner.X] * len(xs), weights=wins[one[sides], other[sides]].tolist(),
            tolerance=_TOLERANCE, limit=_MOST_ROUNDS,
        )  # fmt: skip
        logs = np.log(result.scores.reindex(range(count)).to_numpy(dtype=np.float64))
        rated: Floats = MIDDLE + SCALE * (logs - logs.mean())
        return rated

    return solve


def _resampled(wins: Floats, solve: Any, resamples: int, seed: int) -> tuple[Floats | None, str | None]:
    """The ratings of each resample; None, with the reason, if there are too few clusters or ratings."""
    k = len(wins)
    if k < LEAST_CLUSTERS:
        return None, f"an interval needs {LEAST_CLUSTERS} conversations, there are {k}"
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(k, np.full(k, 1 / k), resamples)
    drawn = [solve(np.tensordot(each, wins, 1)) for each in weights]
    known = [each for each in drawn if each is not None]
    if len(known) < (1 - _MOST_WITHOUT) * resamples:
        return None, "too few wins or losses for an interval: judge more pairs"
    return np.array(known), None


def _groups(drawn: Floats, confidence: float) -> list[tuple[int, ...]]:
    pairs = list(combinations(range(drawn.shape[1]), 2))
    tail = (1 - bonferroni(confidence, len(pairs))) / 2
    different = []
    for one, other in pairs:
        low, high = np.quantile(drawn[:, one] - drawn[:, other], [tail, 1 - tail])
        if low > 0 or high < 0:
            different.append((one, other))
    return groups_of_equals(drawn.shape[1], different)
