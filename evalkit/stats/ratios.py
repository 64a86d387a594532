"""The ratio of two totals on the same items, such as the costs of two runs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from evalkit.stats.checked_samples import check_level, cluster_numbers, cluster_totals, pairs
from evalkit.stats.estimate import Estimate


def ratio(first: ArrayLike, second: ArrayLike, clusters: ArrayLike | None = None, confidence: float = 0.95) -> Estimate:
    """Total of second divided by total of first over pairs, with Fieller's interval, which accounts for clusters.

    The interval has every ratio r that the paired t-test by clusters, as in ``paired.difference``, does not reject for
    second and r times first: ``(Σ second − r Σ first)² ≤ t² K/(K − 1) Σ (v − r w)²``, where v and w are how much the
    totals of a cluster differ from those of a cluster of its size, and t is of K − 1 degrees of freedom. Solved for r
    this is a quadratic equation. It holds however skewed the ratio itself is, as no distribution of ratios is assumed.

    Parameters
    ----------
    first, second : array_like, shape (n,)
        In the same unit, 0 or more, paired by position.
    clusters : array_like, shape (n,), optional
        Label of each pair's cluster. None: the pairs are independent.
    confidence : float
        Two-sided level of the interval.

    Returns
    -------
    Estimate
        No value without pairs, or if the first total is 0. No limits for fewer than two clusters, if the ratio is the
        same in all clusters, or if the first total is so uncertain that it may be 0.

    Raises
    ------
    ValueError
        A value is NaN, infinite or negative, the lengths differ, or the confidence is not between 0 and 1.

    References
    ----------
    E. C. Fieller, J. R. Stat. Soc. B 16 (1954) 175–185.
    W. G. Cochran, Sampling Techniques, 3rd ed. (1977), chapter 6.
    """
    x, y = pairs(first, second)
    check_level(confidence)
    if len(x) and min(x.min(), y.min()) < 0:
        raise ValueError("a ratio of totals needs values of 0 or more")
    numbers, k = cluster_numbers(clusters, len(x))
    n = len(x)
    if not n or not x.sum():
        return Estimate(None, None, None, n, "the total of the first is 0" if n else "no pairs")
    of_first, sizes = cluster_totals(x, numbers, k)
    of_second, _ = cluster_totals(y, numbers, k)
    # in units of the first total, so that no square is too small
    scale = float(of_first.sum())
    of_first, of_second = of_first / scale, of_second / scale
    value = float(of_second.sum())
    if k < 2:
        return Estimate(value, None, None, n, "an interval needs two clusters, there is 1")
    if np.abs(of_second - value * of_first).max() <= 1e-12 * float(np.abs(of_second).max()):
        return Estimate(value, None, None, n, f"the ratio is the same in all {k:,} clusters")
    v, w = of_second - value * sizes / n, of_first - sizes / n
    t2 = float(special.stdtrit(k - 1, (1 + confidence) / 2)) ** 2 * k / (k - 1)
    square, linear, constant = 1 - t2 * float(w @ w), value - t2 * float(v @ w), value**2 - t2 * float(v @ v)
    if square <= 0:
        return Estimate(value, None, None, n, "the total of the first is too uncertain for a ratio")
    half = math.sqrt(max(linear**2 - square * constant, 0.0))
    return Estimate(value, (linear - half) / square, (linear + half) / square, n)
