"""Shares and means of values between 0 and 1, with score intervals, clustered or not, and exact intervals of counts."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from evalkit.stats.checked_samples import check_level, finite
from evalkit.stats.clusters import ClusterSums
from evalkit.stats.estimate import Estimate

_PSEUDO_CLUSTERS = 0.25  # weight of p(1 − p) in the variance of graded scores; tests/benchmarks/bench_coverage.py


def proportion(values: ArrayLike, clusters: ArrayLike | None = None, confidence: float = 0.95) -> Estimate:
    """Mean of values between 0 and 1, with an interval that accounts for clusters.

    Without clusters this is the score interval of Wilson (1927), without continuity correction:
    ``(p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)``.

    Samples of one cluster are correlated, so n of them carry less information than n independent samples. And values
    strictly between 0 and 1, such as f1 or a judge's grades, vary less than values of 0 and 1 with the same mean. So n
    is replaced by the number of independent values of 0 and 1 whose mean has the same variance, as in Korn and Graubard
    (1998), and used in the score interval as Franco et al. (2019) recommend: ``n* = n / max(deff, 1 − g) · f``, where

    - ``deff = v / (p(1 − p) / (n − 1))`` is the design effect,
    - ``v = K/(K − 1) · Σ over clusters (Σ in cluster (y − p))² / n²`` the between-cluster variance of the mean,
    - ``1 − g`` is the variance of single values, in units of p(1 − p), with
      ``g = mean of y(1 − y) / (p(1 − p)) · m / (m + ¼)``, which is 0 when all values are 0 or 1. The last factor, with
      m the number of clusters that contain a value between 0 and 1, keeps the interval wide while there are few,
    - ``f = ((1 − g) t[n−1]² + g z²) / t[K−1]²`` corrects for a small number K of clusters, with t[d] the
      Student quantile for d degrees of freedom and z the normal quantile.

    For values of 0 and 1 this is ``n / max(deff, 1) · (t[n−1] / t[K−1])²``, and without clusters the plain Wilson
    interval.

    When all values are equal, the design effect cannot be estimated: every cluster then counts as one sample, which is
    the cautious choice.

    Parameters
    ----------
    values : array_like, shape (n,)
        Booleans or numbers from 0 to 1; no missing values.
    clusters : array_like, shape (n,), optional
        Label of each value's cluster. None: the values are independent.
    confidence : float
        Two-sided level of the interval.

    Returns
    -------
    Estimate
        No value without samples; no limits when all samples are of one cluster.

    Raises
    ------
    ValueError
        A value is NaN or outside 0 to 1, or the number of labels is not n.

    References
    ----------
    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209–212.
    E. L. Korn, B. I. Graubard, Survey Methodology 24 (1998) 193–201.
    C. Franco, R. J. A. Little, T. A. Louis, E. V. Slud, J. Surv. Stat. Methodol. 7 (2019) 334–364.
    """
    y = finite(values)
    sums = ClusterSums()
    if clusters is None:
        sums.add(np.arange(len(y)), y, last=True)
    else:
        labels = np.asarray(clusters)
        if len(labels) != len(y):
            raise ValueError(f"{len(labels)} cluster labels were given for {len(y)} values")
        order = np.argsort(labels, kind="stable")
        sums.add(np.unique(labels[order], return_inverse=True)[1], y[order], last=True)
    return clustered_proportion(sums, confidence)


def clustered_proportion(sums: ClusterSums, confidence: float = 0.95) -> Estimate:
    """``proportion`` of values that were added up by clusters; the last cluster must be closed."""
    check_level(confidence)
    n, k = sums.n, sums.clusters
    if n == 0:
        return Estimate(None, None, None, 0, "no samples")
    p = sums.total / n
    if k == 1 < n:
        return Estimate(p, None, None, n, f"all {n} samples are of one cluster: an interval needs two")
    return Estimate(p, *score_limits(p, independent_n(sums, p, confidence), confidence), n)


def independent_n(sums: ClusterSums, p: float, confidence: float) -> float:
    """The effective sample size n* of ``proportion``."""
    n, k = sums.n, sums.clusters
    if k == n and (n == 1 or not sums.partial):
        return float(n)
    tail = (1 + confidence) / 2
    of_values, of_clusters = (float(special.stdtrit(count - 1, tail)) ** 2 for count in (n, k))
    variance = p * (sums.complement / n)  # of values of 0 and 1 with this mean
    within = sums.partial / n
    if variance - within <= 1e-9 * variance:
        return k * (of_values / of_clusters)
    deff = k / (k - 1) * sums.squared_deviations() / n**2 * (n - 1) / variance
    saved = within / variance * sums.partial_clusters / (sums.partial_clusters + _PSEUDO_CLUSTERS)
    few_clusters = ((1 - saved) * of_values + saved * float(special.ndtri(tail)) ** 2) / of_clusters
    return n / max(deff, 1 - saved) * few_clusters


def score_limits(p: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Limits of the score interval of a share p; n is a sample size, which may be fractional; see ``proportion``."""
    z2 = float(special.ndtri((1 + confidence) / 2)) ** 2
    centre = p + z2 / (2 * n)
    half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n)))
    low, high = (centre - half) / (1 + z2 / n), (centre + half) / (1 + z2 / n)
    # rounding could leave 1e-17 where the limit is 0
    return (0.0 if p == 0 else max(low, 0.0)), (1.0 if p == 1 else min(high, 1.0))


def clopper_pearson(right: int, n: int, confidence: float = 0.95) -> Estimate:
    """Share of a count with the exact interval, whose coverage is never below its level and mostly above it.

    Limits of Clopper and Pearson (1934): the shares at which ``right`` or more, and ``right`` or fewer, have
    probability α/2, by quantiles of the beta distribution. The n samples are assumed to be independent.

    Parameters
    ----------
    right, n : int
        ``right`` successes in ``n`` samples.
    confidence : float
        Two-sided level of the interval.

    Returns
    -------
    Estimate
        Missing for n = 0.

    Raises
    ------
    ValueError
        ``right`` is not from 0 to n, or the confidence is not between 0 and 1.

    References
    ----------
    C. J. Clopper, E. S. Pearson, Biometrika 26 (1934) 404–413.
    """
    if not 0 <= right <= n:
        raise ValueError(f"{right} right of {n}: the first number must be from 0 to the second")
    check_level(confidence)
    if n == 0:
        return Estimate(None, None, None, 0, "no samples")
    tail = (1 - confidence) / 2
    low = float(special.betaincinv(right, n - right + 1, tail)) if right else 0.0
    high = float(special.betaincinv(right + 1, n - right, 1 - tail)) if right < n else 1.0
    return Estimate(right / n, low, high, n)
