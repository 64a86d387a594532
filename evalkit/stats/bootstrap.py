"""The bootstrap: intervals of any statistic from whole clusters drawn with replacement."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from evalkit.stats.arrays import Floats, Whole
from evalkit.stats.bootstrap_quantiles import LEAST_CLUSTERS, check_resamples, no_interval, too_few
from evalkit.stats.checked_samples import check_level, cluster_numbers, cluster_totals, finite
from evalkit.stats.estimate import Estimate

_DRAWS_IN_MEMORY = 2_000_000  # numbers of draws in memory
_MOST_KINDS = 4_096
_MOST_CLUSTERS = 20_000

Statistic = Literal["mean"] | Callable[[Floats], float]


def bootstrap(
    values: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    statistic: Statistic = "mean",
    method: Literal["bca", "percentile"] = "bca",
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """A statistic of values, with an interval by the bootstrap over clusters.

    Each resample draws as many clusters as there are, with replacement, each with all its values. The percentile
    interval lies between the α/2 and the 1 − α/2 quantile of the resampled statistic (Efron and Tibshirani 1993,
    chapter 13). The BCa interval shifts these levels: ``Φ(z0 + (z0 + z) / (1 − a (z0 + z)))`` with z0 the normal
    quantile of the share of resamples below the statistic (equal resamples count half) and a the acceleration by the
    jackknife over clusters, ``Σ d³ / 6 (Σ d²)^1.5`` (chapter 14; a = 0 where leaving out a cluster changes nothing).

    For fewer than 10 clusters both intervals are far too short (for normal values, 95 % intervals from 5 clusters
    contained the truth in 85 % of simulated runs), so none is given; ``means.mean`` may give one.

    Parameters
    ----------
    values : array_like, shape (n,)
        In any unit, without missing values.
    clusters : array_like, shape (n,), optional
        Label of each value's cluster. None: the values are independent.
    statistic : "mean" or callable
        A callable gets an array of values, shape (m,), in no particular order; it is called ``resamples`` times, and
        for BCa also once for each cluster. The mean is fast even for a million values: more than 20,000 clusters of
        many kinds are first merged at random into 20,000 larger ones.
    method : {"bca", "percentile"}
        Which interval to return.
    confidence : float
        Two-sided level of the interval.
    resamples : int
        Number of resamples.
    seed : int
        Seed of the draws.

    Returns
    -------
    Estimate
        In the unit of the statistic. No value without samples. No limits, with the reason, for fewer than 10 clusters,
        when all resamples give the same value, when the statistic of a resample is not finite, and for BCa when all
        resamples are on one side of the statistic.

    Raises
    ------
    ValueError
        A value is NaN or infinite, the number of labels is not n, or an argument is not one of those above.

    References
    ----------
    B. Efron, J. Am. Stat. Assoc. 82 (1987) 171–185.
    B. Efron, R. J. Tibshirani, An Introduction to the Bootstrap (1993).
    C. A. Field, A. H. Welsh, J. R. Stat. Soc. B 69 (2007) 369–390: clusters drawn whole.
    """
    x = finite(values)
    check_level(confidence)
    if method not in ("bca", "percentile") or (statistic != "mean" and not callable(statistic)):
        raise ValueError(
            f"method {method!r} with statistic {statistic!r}: choose 'bca' or 'percentile', and 'mean' or a callable"
        )
    check_resamples(resamples)
    numbers, k = cluster_numbers(clusters, len(x))
    if not k:
        return Estimate(None, None, None, 0, "no samples")
    sample: _Means | _Values = _Means(x, numbers, k) if statistic == "mean" else _Values(x, numbers, k, statistic)
    if k < LEAST_CLUSTERS:
        return Estimate(sample.value, None, None, len(x), too_few(k))
    drawn = sample.resampled(resamples, np.random.default_rng(seed))
    reason = no_interval(drawn)
    if reason is not None:
        return Estimate(sample.value, None, None, len(x), reason)
    levels = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    if method == "bca":
        levels = _bca_levels(levels, drawn, sample.value, sample.jackknife())
        if not np.isfinite(levels).all():
            return Estimate(sample.value, None, None, len(x), "the resamples are too one-sided for a BCa interval")
    low, high = np.quantile(drawn, levels)
    return Estimate(sample.value, float(low), float(high), len(x))


class _Means:
    """Sums and sizes of the clusters, for the mean."""

    def __init__(self, values: Floats, numbers: Whole, k: int) -> None:
        self.sums, self.sizes = cluster_totals(values, numbers, k)
        self.value = float(self.sums.sum()) / len(values)

    def jackknife(self) -> Floats:
        left: Floats = (self.sums.sum() - self.sums) / (self.sizes.sum() - self.sizes)
        return left

    def resampled(self, resamples: int, rng: np.random.Generator) -> Floats:
        k = len(self.sums)
        kinds, counts = np.unique(self.sums + 1j * self.sizes, return_counts=True)
        if len(counts) > min(_MOST_KINDS, k // 2):
            return self._one_by_one(resamples, rng)
        each = np.stack([kinds.real, kinds.imag], axis=1)
        return _ratios(np.concatenate(list(resampled_sums(each, counts, resamples, rng, _DRAWS_IN_MEMORY))))

    def _one_by_one(self, resamples: int, rng: np.random.Generator) -> Floats:
        parts, k = np.stack([self.sums, self.sizes], axis=1), len(self.sums)
        if k > _MOST_CLUSTERS:
            # clusters merged at random are clusters too, with the same variance of their sums
            groups = rng.permutation(k) % _MOST_CLUSTERS
            parts = np.stack([np.bincount(groups, column, _MOST_CLUSTERS) for column in parts.T], axis=1)
            k = _MOST_CLUSTERS
        slices = _slices(resamples, _DRAWS_IN_MEMORY // k)
        return _ratios(np.concatenate([parts[rng.integers(k, size=(times, k))].sum(axis=1) for times in slices]))


class _Values:
    """The values of the clusters, for any statistic."""

    def __init__(self, values: Floats, numbers: Whole, k: int, statistic: Callable[[Floats], Any]) -> None:
        order = np.argsort(numbers, kind="stable")
        self.parts = np.split(values[order], np.cumsum(np.bincount(numbers, minlength=k))[:-1])
        self.statistic = statistic
        self.value = float(statistic(values))

    def jackknife(self) -> Floats:
        whole = np.concatenate(self.parts)
        ends = np.cumsum([len(part) for part in self.parts])
        begins = np.concatenate([[0], ends[:-1]])
        others = (np.delete(whole, np.s_[begin:end]) for begin, end in zip(begins, ends, strict=True))
        return np.array([float(self.statistic(each)) for each in others])

    def resampled(self, resamples: int, rng: np.random.Generator) -> Floats:
        k = len(self.parts)
        chosen = (rng.integers(k, size=k).tolist() for _ in range(resamples))
        return np.array([float(self.statistic(np.concatenate([self.parts[i] for i in each]))) for each in chosen])


def resampled_sums(
    kinds: Floats, counts: Whole, resamples: int, rng: np.random.Generator, most_draws: int
) -> Iterator[Floats]:
    """The sum over the clusters of each resample, some resamples at a time.

    Equal clusters are one kind: drawing the number of each kind is the same as drawing clusters one by one.

    Parameters
    ----------
    kinds : ndarray of float, shape (kinds, columns)
        What is added up, of one cluster of each kind.
    counts : ndarray of int, shape (kinds,)
        Number of clusters of each kind.
    most_draws : int
        The largest number of drawn numbers in memory.

    Yields
    ------
    ndarray of float, shape (some resamples, columns)
    """
    clusters = int(counts.sum())
    for times in _slices(resamples, most_draws // len(counts)):
        yield rng.multinomial(clusters, counts / clusters, times) @ kinds


def _slices(total: int, most: int) -> list[int]:
    """Numbers that add up to the total, none of them above ``most``."""
    whole, rest = divmod(total, max(most, 1))
    return [max(most, 1)] * whole + [rest] * bool(rest)


def _ratios(drawn: Floats) -> Floats:
    ratios: Floats = drawn[:, 0] / drawn[:, 1]
    return ratios


def _bca_levels(levels: Floats, drawn: Floats, value: float, jackknife: Floats) -> Floats:
    """The BCa levels of the resampled values; NaN: there are none."""
    below = (np.count_nonzero(drawn < value) + np.count_nonzero(drawn <= value)) / (2 * len(drawn))
    if below in (0.0, 1.0):
        return np.full(2, math.nan)
    shift = float(special.ndtri(below))
    deviations = jackknife.mean() - jackknife
    squares = float(deviations @ deviations)
    acceleration = float((deviations**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0
    shifted = shift + special.ndtri(levels)
    scale = 1 - acceleration * shifted
    if (scale <= 0).any():
        return np.full(2, math.nan)
    return np.asarray(special.ndtr(shift + shifted / scale), dtype=np.float64)
