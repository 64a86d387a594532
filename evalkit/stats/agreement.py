"""How far raters agree: raw agreement, Cohen's kappa, Krippendorff's alpha, each with its interval. Pure and seeded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evalkit.stats.arrays import Floats
from evalkit.stats.estimate import Estimate
from evalkit.stats.proportions import proportion

LEVELS = ("nominal", "ordinal", "interval")
DRAWS = 2_000
FEWEST_CLUSTERS = 10
_AT_ONCE = 4_000_000  # weights held in memory
_UNDEFINED = 0.05  # share of draws without a value beyond which there is no interval

Whole = NDArray[np.int64]
Coefficient = Callable[[Floats], Floats]  # tables of shape (…, V, V) to values of shape (…), NaN where undefined


def raw_agreement(
    first: ArrayLike, second: ArrayLike, clusters: ArrayLike | None = None, confidence: float = 0.95
) -> Estimate:
    """Share of the units on which two raters say the same, with the interval of ``stats.proportion``.

    Parameters
    ----------
    first, second : array_like, shape (n,)
        What each said, as numbers; NaN: nothing. A unit that one of them left out does not count.
    clusters : array_like, shape (n,), optional
        Label of each unit's cluster. None: the units are independent.
    confidence : float
        Two-sided level of the interval.

    Returns
    -------
    Estimate
        ``n`` counts the units that both rated.
    """
    ratings = _two(first, second)
    labels = _labels(clusters, ratings.shape[1])
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
    """Agreement of two raters beyond that by chance, Cohen (1960): ``κ = (p_o − p_e) / (1 − p_e)``.

    ``p_o`` is the raw agreement, ``p_e = Σ over categories p_first · p_second`` that of two raters who keep their own
    habits and look at nothing. 1: they always agree; 0: no better than that; below 0: worse.

    Parameters
    ----------
    first, second : array_like, shape (n,)
        Categories as numbers; NaN: nothing. A unit that one of them left out does not count.
    clusters : array_like, shape (n,), optional
        Label of each unit's cluster. None: every unit is its own.
    confidence : float
        Two-sided level of the interval, which is that of ``alpha``.
    draws, seed : int
        Of the bootstrap.

    Returns
    -------
    Estimate
        No value without units that both rated, or when both always say the one same thing.

    References
    ----------
    J. Cohen, Educational and Psychological Measurement 20 (1960) 37–46.
    """
    ratings = _two(first, second)
    labels = _labels(clusters, ratings.shape[1])
    both = ~np.isnan(ratings).any(axis=0)
    values, codes = np.unique(ratings[:, both], return_inverse=True)
    codes = codes.reshape(2, -1)
    owner = np.unique(labels[both], return_inverse=True)[1]
    size = len(values)
    cells = (owner * size + codes[0]) * size + codes[1]
    many = int(owner.max()) + 1 if len(owner) else 0
    tables = np.bincount(cells, minlength=many * size * size).reshape(many, size, size).astype(np.float64)
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
    """Krippendorff's alpha: agreement of any number of raters, some of whom may have left units out.

    ``α = 1 − (n − 1) Σ o_ck δ²_ck / Σ n_c n_k δ²_ck`` over pairs of values c, k: ``o_ck`` counts the pairs of values
    within units, each unit of m values weighing ``1 / (m − 1)``; ``n_c = Σ_k o_ck`` and ``n = Σ n_c``. The difference
    ``δ²_ck`` is 1 for unlike values (nominal), ``(c − k)²`` (interval), or the square of the number of values between
    the two, half of each of them included (ordinal). 1: they always agree; 0: as by chance.

    The interval is that of a percentile bootstrap over clusters. Resampling says nothing where the raters never differ,
    and says too little where clusters are few: there is no interval then.

    Parameters
    ----------
    ratings : array_like, shape (raters, units)
        NaN: the rater left the unit out. A unit with fewer than two values does not count. Time and memory go with the
        square of the number of different values.
    level : str
        ``nominal``, ``ordinal`` or ``interval``.
    clusters : array_like, shape (units,), optional
        Label of each unit's cluster. None: every unit is its own.
    confidence : float
        Two-sided level of the interval.
    draws, seed : int
        Of the bootstrap.

    Returns
    -------
    Estimate
        ``n`` counts the units with two values or more. No value when there are none, or all values are the same; no
        limits with fewer than 10 clusters, without a difference, or when more than one draw in twenty has no value.

    Raises
    ------
    ValueError
        Another level, infinite ratings, or labels of another length.

    References
    ----------
    K. Krippendorff, Computing Krippendorff's alpha-reliability (2011), University of Pennsylvania.
    A. Zapf, S. Castell, L. Morawietz, A. Karch, BMC Medical Research Methodology 16 (2016) 93, for the bootstrap.
    """
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}: it must be one of {', '.join(LEVELS)}")
    given = _ratings(ratings)
    labels = _labels(clusters, given.shape[1])
    rated = (~np.isnan(given)).sum(axis=0) >= 2
    values, tables = _coincidences(given[:, rated], labels[rated])
    return _estimate(tables, _alpha_of(values, level), int(rated.sum()), confidence, draws, seed)


def _coincidences(ratings: Floats, labels: Whole) -> tuple[Floats, Floats]:
    """The different values, and the coincidence table of every cluster, shape (clusters, V, V)."""
    known = ~np.isnan(ratings)
    values = np.unique(ratings[known])
    counts = np.stack([(ratings == value).sum(axis=0) for value in values] or [np.zeros(0)]).astype(np.float64)
    owner = np.unique(labels, return_inverse=True)[1]
    many = int(owner.max()) + 1 if len(owner) else 0
    weight = 1 / np.maximum(known.sum(axis=0) - 1, 1)
    tables = np.zeros((many, len(values), len(values)))
    for c in range(len(values)):
        for k in range(len(values)):
            pairs = counts[c] * (counts[k] - (c == k)) * weight
            tables[:, c, k] = np.bincount(owner, weights=pairs, minlength=many)
    return values, tables


def _alpha_of(values: Floats, level: str) -> Coefficient:
    def coefficient(tables: Floats) -> Floats:
        counts = tables.sum(axis=-1)
        total = counts.sum(axis=-1)
        if level == "nominal":
            apart = np.broadcast_to(1 - np.eye(len(values)), tables.shape)
        else:
            # the place of a value on its scale: itself, or how many values stand below the middle of its own
            at = (
                np.cumsum(counts, axis=-1) - counts / 2 if level == "ordinal" else np.broadcast_to(values, counts.shape)
            )
            apart = (at[..., :, None] - at[..., None, :]) ** 2
        seen = (tables * apart).sum(axis=(-1, -2))
        expected = (counts[..., :, None] * counts[..., None, :] * apart).sum(axis=(-1, -2))
        return _quotient(expected - (total - 1) * seen, expected)

    return coefficient


def _kappa(tables: Floats) -> Floats:
    total = tables.sum(axis=(-1, -2))
    same = np.trace(tables, axis1=-2, axis2=-1) * total
    chance = (tables.sum(axis=-1) * tables.sum(axis=-2)).sum(axis=-1)
    return _quotient(same - chance, total**2 - chance)


def _quotient(above: Floats, below: Floats) -> Floats:
    # what is left of two sums that cancel is no quantity
    fits = below > 1e-12
    return np.divide(above, below, out=np.full_like(below, np.nan), where=fits)


def _estimate(tables: Floats, coefficient: Coefficient, n: int, confidence: float, draws: int, seed: int) -> Estimate:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence!r}: it must lie between 0 and 1")
    if n == 0:
        return Estimate(None, None, None, 0, "nothing was rated twice")
    value = float(coefficient(tables.sum(axis=0)[None])[0])
    if np.isnan(value):
        return Estimate(None, None, None, n, "all ratings are the same: agreement cannot be told from chance")
    clusters, size = tables.shape[:2]
    if clusters < FEWEST_CLUSTERS:
        reason = f"{clusters} clusters are too few for an interval by resampling: {FEWEST_CLUSTERS} at least"
        return Estimate(value, None, None, n, reason)
    if not (tables.sum(axis=0) * (1 - np.eye(size))).any():
        return Estimate(value, None, None, n, "no two ratings differ: resampling cannot say how sure that is")
    drawn = _bootstrap(tables, coefficient, draws, seed)
    told = drawn[~np.isnan(drawn)]
    if len(told) < (1 - _UNDEFINED) * draws:
        reason = "ratings hardly vary: too many resamples hold one value only for an interval"
        return Estimate(value, None, None, n, reason)
    low, high = np.quantile(told, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high), n)


def _bootstrap(tables: Floats, coefficient: Coefficient, draws: int, seed: int) -> Floats:
    """The coefficient of clusters drawn with replacement.

    Tables add up, so that a draw is a weighted sum of them; clusters of equal tables are drawn as one kind.
    """
    clusters, size = tables.shape[:2]
    generator = np.random.default_rng(seed)
    kinds, many = np.unique(tables.reshape(clusters, -1), axis=0, return_counts=True)
    drawn, step = [], max(_AT_ONCE // len(kinds), 1)
    for begin in range(0, draws, step):
        weights = generator.multinomial(clusters, many / clusters, size=min(step, draws - begin))
        drawn.append(coefficient((weights @ kinds).reshape(-1, size, size)))
    return np.concatenate(drawn)


def _ratings(given: ArrayLike) -> Floats:
    ratings = np.asarray(given, dtype=np.float64)
    if ratings.ndim != 2:
        raise ValueError(f"ratings must be an array of raters by units, not of shape {ratings.shape}")
    if np.isinf(ratings).any():
        raise ValueError("ratings hold infinity: a missing one is NaN")
    return ratings


def _two(first: ArrayLike, second: ArrayLike) -> Floats:
    sides = [np.asarray(side, dtype=np.float64) for side in (first, second)]
    if sides[0].shape != sides[1].shape:
        raise ValueError(f"one rater has {sides[0].size} ratings, the other {sides[1].size}")
    return _ratings(np.stack(sides))


def _labels(clusters: ArrayLike | None, units: int) -> Whole:
    """A number for the cluster of each unit."""
    if clusters is None:
        return np.arange(units)
    labels = np.asarray(clusters)
    if labels.shape != (units,):
        raise ValueError(f"{labels.size} cluster labels were given for {units} units")
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)
