"""Agreement of raters: raw agreement, Cohen's kappa, Krippendorff's alpha, each with its interval."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from evalkit.stats.arrays import Floats, Whole
from evalkit.stats.bootstrap import resampled_sums
from evalkit.stats.bootstrap_quantiles import LEAST_CLUSTERS, too_few
from evalkit.stats.checked_samples import check_level, cluster_numbers
from evalkit.stats.estimate import Estimate
from evalkit.stats.proportions import proportion

LEVELS = ("nominal", "ordinal", "interval")
DRAWS = 2_000
_WEIGHTS_IN_MEMORY = 4_000_000  # draws of clusters in memory
_MOST_UNDEFINED = 0.05  # share of draws without a value, above which there is no interval

Coefficient = Callable[[Floats], Floats]  # tables of shape (…, V, V) to values of shape (…), NaN where undefined


def raw_agreement(
    first: ArrayLike, second: ArrayLike, clusters: ArrayLike | None = None, confidence: float = 0.95
) -> Estimate:
    """Share of the units that two raters rate equally, with the interval of ``proportions.proportion``.

    Parameters
    ----------
    first, second : array_like, shape (n,)
        Ratings as numbers; NaN: not rated. A unit that one rater left out does not count.
    clusters : array_like, shape (n,), optional
        Label of each unit's cluster. None: the units are independent.
    confidence : float
        Two-sided level of the interval.

    Returns
    -------
    Estimate
        ``n`` counts the units that both raters rated.
    """
    ratings = _two_raters(first, second)
    labels = cluster_numbers(clusters, ratings.shape[1])[0]
    both = ~np.isnan(ratings).any(axis=0)
    same = ratings[0, both] == ratings[1, both]
    return proportion(same.astype(np.float64), None if clusters is None else labels[both], confidence)


def cohen_kappa(
    first: ArrayLike,
    second: ArrayLike,
    clusters: ArrayLike | None = None,
    confidence: float = 0.95,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Agreement of two raters beyond chance, Cohen (1960): ``κ = (p_o − p_e) / (1 − p_e)``.

    ``p_o`` is the raw agreement, ``p_e = Σ over categories p_first · p_second`` that expected of two raters
    who keep their own frequencies and rate at random. 1: they always agree; 0: no better than chance; below 0: worse.

    Parameters
    ----------
    first, second : array_like, shape (n,)
        Categories as numbers; NaN: not rated. A unit that one rater left out does not count.
    clusters : array_like, shape (n,), optional
        Label of each unit's cluster. None: every unit is its own cluster.
    confidence : float
        Two-sided level of the interval, which is made as for ``alpha``.
    draws, seed : int
        Number of bootstrap draws, and their seed.

    Returns
    -------
    Estimate
        No value without units that both raters rated, or when all ratings are one category.

    References
    ----------
    J. Cohen, Educational and Psychological Measurement 20 (1960) 37–46.
    """
    ratings = _two_raters(first, second)
    labels = cluster_numbers(clusters, ratings.shape[1])[0]
    both = ~np.isnan(ratings).any(axis=0)
    values, codes = np.unique(ratings[:, both], return_inverse=True)
    codes = codes.reshape(2, -1)
    owner = np.unique(labels[both], return_inverse=True)[1]
    size = len(values)
    cells = (owner * size + codes[0]) * size + codes[1]
    count = int(owner.max()) + 1 if len(owner) else 0
    tables = np.bincount(cells, minlength=count * size * size).reshape(count, size, size).astype(np.float64)
    return _estimate(tables, _kappa, int(both.sum()), confidence, draws, seed)


def alpha(
    ratings: ArrayLike,
    level: str = "nominal",
    clusters: ArrayLike | None = None,
    confidence: float = 0.95,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """Krippendorff's alpha: agreement of any number of raters, who may have left units out.

    ``α = 1 − (n − 1) Σ o_ck δ²_ck / Σ n_c n_k δ²_ck`` over pairs of values c, k: ``o_ck`` counts the pairs of values
    within units, where a unit with m values has the weight ``1 / (m − 1)``; ``n_c = Σ_k o_ck`` and ``n = Σ n_c``. The
    difference ``δ²_ck`` is 1 for different values (nominal), ``(c − k)²`` (interval), or the square of the number of
    values between the two, counting half of those equal to either (ordinal). 1: they always agree; 0: agreement as by
    chance.

    The interval is that of a percentile bootstrap over clusters. There is none where the raters never differ, since all
    resamples are equal then, nor with few clusters, where it would be too short.

    Parameters
    ----------
    ratings : array_like, shape (raters, units)
        NaN: the rater left the unit out. A unit with fewer than two values does not count. Time and memory
        grow with the square of the number of different values.
    level : str
        ``nominal``, ``ordinal`` or ``interval``.
    clusters : array_like, shape (units,), optional
        Label of each unit's cluster. None: every unit is its own cluster.
    confidence : float
        Two-sided level of the interval.
    draws, seed : int
        Number of bootstrap draws, and their seed.

    Returns
    -------
    Estimate
        ``n`` counts the units with two or more values. No value without such units, or when all values are the same; no
        limits with fewer than 10 clusters, when no ratings differ, or when more than 5 % of the draws have no value.

    Raises
    ------
    ValueError
        The level is unknown, a rating is infinite, or the number of labels is wrong.

    References
    ----------
    K. Krippendorff, Computing Krippendorff's alpha-reliability (2011), University of Pennsylvania.
    A. Zapf, S. Castell, L. Morawietz, A. Karch, BMC Medical Research Methodology 16 (2016) 93, for the bootstrap.
    """
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}: it must be one of {', '.join(LEVELS)}")
    given = _ratings(ratings)
    labels = cluster_numbers(clusters, given.shape[1])[0]
    rated = (~np.isnan(given)).sum(axis=0) >= 2
    values, tables = _coincidences(given[:, rated], labels[rated])
    return _estimate(tables, _alpha_of(values, level), int(rated.sum()), confidence, draws, seed)


def _coincidences(ratings: Floats, labels: Whole) -> tuple[Floats, Floats]:
    """The different values, and the coincidence table of every cluster, shape (clusters, V, V)."""
    known = ~np.isnan(ratings)
    values = np.unique(ratings[known])
    counts = np.stack([(ratings == value).sum(axis=0) for value in values] or [np.zeros(0)]).astype(np.float64)
    owner = np.unique(labels, return_inverse=True)[1]
    count = int(owner.max()) + 1 if len(owner) else 0
    weight = 1 / np.maximum(known.sum(axis=0) - 1, 1)
    tables = np.zeros((count, len(values), len(values)))
    for c in range(len(values)):
        for k in range(len(values)):
            pairs = counts[c] * (counts[k] - (c == k)) * weight
            tables[:, c, k] = np.bincount(owner, weights=pairs, minlength=count)
    return values, tables


def _alpha_of(values: Floats, level: str) -> Coefficient:
    def coefficient(tables: Floats) -> Floats:
        counts = tables.sum(axis=-1)
        total = counts.sum(axis=-1)
        if level == "nominal":
            distance = np.broadcast_to(1 - np.eye(len(values)), tables.shape)
        else:
            # the position of a value on its scale: the value, or the number of values below the middle of its own
            position = (
                np.cumsum(counts, axis=-1) - counts / 2 if level == "ordinal" else np.broadcast_to(values, counts.shape)
            )
            distance = (position[..., :, None] - position[..., None, :]) ** 2
        observed = (tables * distance).sum(axis=(-1, -2))
        expected = (counts[..., :, None] * counts[..., None, :] * distance).sum(axis=(-1, -2))
        return _quotient(expected - (total - 1) * observed, expected)

    return coefficient


def _kappa(tables: Floats) -> Floats:
    total = tables.sum(axis=(-1, -2))
    same = np.trace(tables, axis1=-2, axis2=-1) * total
    chance = (tables.sum(axis=-1) * tables.sum(axis=-2)).sum(axis=-1)
    return _quotient(same - chance, total**2 - chance)


def _quotient(above: Floats, below: Floats) -> Floats:
    # the rest of two sums that cancel is rounding
    defined = below > 1e-12
    return np.divide(above, below, out=np.full_like(below, np.nan), where=defined)


def _estimate(tables: Floats, coefficient: Coefficient, n: int, confidence: float, draws: int, seed: int) -> Estimate:
    check_level(confidence)
    if n == 0:
        return Estimate(None, None, None, 0, "no unit was rated twice")
    value = float(coefficient(tables.sum(axis=0)[None])[0])
    if np.isnan(value):
        return Estimate(None, None, None, n, "all ratings are the same: agreement cannot be distinguished from chance")
    clusters, size = tables.shape[:2]
    if clusters < LEAST_CLUSTERS:
        return Estimate(value, None, None, n, too_few(clusters))
    if not (tables.sum(axis=0) * (1 - np.eye(size))).any():
        return Estimate(value, None, None, n, "no two ratings differ: resampling gives no interval")
    drawn = _resampled(tables, coefficient, draws, seed)
    defined = drawn[~np.isnan(drawn)]
    if len(defined) < (1 - _MOST_UNDEFINED) * draws:
        reason = "ratings hardly vary: too many resamples contain only one value"
        return Estimate(value, None, None, n, reason)
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high), n)


def _resampled(tables: Floats, coefficient: Coefficient, draws: int, seed: int) -> Floats:
    """The coefficient of each resample of the clusters; tables add up, so that a resample is a weighted sum of them."""
    clusters, size = tables.shape[:2]
    kinds, counts = np.unique(tables.reshape(clusters, -1), axis=0, return_counts=True)
    sums = resampled_sums(kinds, counts, draws, np.random.default_rng(seed), _WEIGHTS_IN_MEMORY)
    return np.concatenate([coefficient(part.reshape(-1, size, size)) for part in sums])


def _ratings(given: ArrayLike) -> Floats:
    ratings = np.asarray(given, dtype=np.float64)
    if ratings.ndim != 2:
        raise ValueError(f"ratings must be an array of raters by units, not of shape {ratings.shape}")
    if np.isinf(ratings).any():
        raise ValueError("a rating is infinite: use NaN for a missing rating")
    return ratings


def _two_raters(first: ArrayLike, second: ArrayLike) -> Floats:
    sides = [np.asarray(side, dtype=np.float64) for side in (first, second)]
    if sides[0].shape != sides[1].shape:
        raise ValueError(f"one rater has {sides[0].size} ratings, the other {sides[1].size}")
    return _ratings(np.stack(sides))
