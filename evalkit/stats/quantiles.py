"""Quantiles with intervals by order statistics, of values in clusters and with lower bounds among them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from evalkit.stats.arrays import Floats, Whole
from evalkit.stats.checked_samples import check_level, check_q, finite, needed, numbered, totals
from evalkit.stats.clusters import ClusterSums
from evalkit.stats.estimate import Estimate
from evalkit.stats.proportions import independent_n

Below = Callable[[float], ClusterSums]  # of a limit: which values are at or below it, added up by clusters
LEAST_BEYOND = 2.0  # clusters' worth of values beyond a quantile: fewer do not tell how alike they are


def quantile(
    values: ArrayLike,
    q: float,
    censored: ArrayLike | None = None,
    confidence: float = 0.95,
    clusters: ArrayLike | None = None,
) -> Estimate:
    """Quantile of a sample, with an interval by order statistics.

    Nothing censored: linear interpolation, definition 7 of Hyndman and Fan (1996). With right-censored values, such as
    time-outs, which are lower bounds: the smallest time at which the Kaplan–Meier curve has come down to 1 − q;
    missing, with the reason "more than …", when it does not come down that far.

    The interval needs no assumption on the distribution: the number of values below the quantile is binomial (n, q),
    so the r-th and the s-th smallest value bound it, where r is the largest rank with ``P(B < r) ≤ α/2`` and s the
    smallest with ``P(B ≥ s) ≤ α/2``. A censored value stands at its bound for the lower limit and above all others for
    the upper one. A rank that the sample does not hold leaves that limit missing. Where both
    limits are one value, as when all values are equal, they are missing: the values are too coarse for an interval.

    Values of one cluster resemble each other. As Woodruff (1952) does, the interval is then taken of the share of
    values at or below the quantile, with its effective sample size n* of ``proportion``, rounded down, in place of n.
    A rank of n* stands for the n / n* values of that part of the sample, the outermost of which is the limit. Where
    fewer than two clusters' worth of values lie beyond the quantile (of p95: fewer than 40 clusters of one size), it is
    chance how alike they seem, and n* is the number of clusters of one size that would tell as much.

    Parameters
    ----------
    values : array_like, shape (n,)
        Any unit; lower bounds where ``censored``. No NaN: leave missing values out before.
    q : float
        0 < q < 1. At least ``1 / min(q, 1 − q)`` samples are needed (none but one for the median): p95 from 20,
        p99 from 100, p99.9 from 1,000. See ``expected_level`` for how low the quantile of so few is.
    censored : array_like of bool, shape (n,), optional
        True: the value is a lower bound.
    confidence : float
        Two-sided level of the interval.
    clusters : array_like, shape (n,), optional
        Label of each value's cluster, such as its conversation. None: the values are independent.

    Returns
    -------
    Estimate
        In the unit of ``values``. No limits when all values are of one cluster, or when both would be one value.

    Raises
    ------
    ValueError
        NaN or infinity among the values, flags or labels of another length, or q outside (0, 1).

    References
    ----------
    R. J. Hyndman, Y. Fan, Am. Stat. 50 (1996) 361–365.
    E. L. Kaplan, P. Meier, J. Am. Stat. Assoc. 53 (1958) 457–481.
    W. J. Conover, Practical Nonparametric Statistics, 3rd ed. (1999), section 3.2.
    R. S. Woodruff, J. Am. Stat. Assoc. 47 (1952) 635–646.
    """
    return quantiles(values, (q,), censored, confidence, clusters)[0]


def quantiles(
    values: ArrayLike,
    qs: Sequence[float],
    censored: ArrayLike | None = None,
    confidence: float = 0.95,
    clusters: ArrayLike | None = None,
) -> list[Estimate]:
    """Several quantiles of one sample, which is sorted once; see ``quantile``."""
    x = finite(values)
    check_level(confidence)
    for q in qs:
        check_q(q)
    bound = np.zeros(len(x), dtype=bool) if censored is None else np.asarray(censored, dtype=bool)
    if bound.shape != x.shape:
        raise ValueError(f"{bound.size} censoring flags were given for {len(x)} values")
    below = None if clusters is None else by_clusters(x, *numbered(clusters, len(x)))
    return ordered_quantiles(np.sort(x[~bound]), np.sort(x[bound]), qs, confidence, below)


def by_clusters(values: Floats, numbers: Whole, count: int) -> Below:
    """How the values at or below a limit lie in clusters, numbered from 0 to ``count`` − 1; some may be empty."""

    def below(limit: float) -> ClusterSums:
        there, sizes = totals((values <= limit).astype(np.float64), numbers, count)
        sums = ClusterSums()
        sums.add_whole(there[sizes > 0], sizes[sizes > 0].astype(np.int64))
        return sums

    return below


def ordered_quantiles(
    known: Floats, lost: Floats, qs: Sequence[float], confidence: float = 0.95, below: Below | None = None
) -> list[Estimate]:
    """``quantiles`` of known values and of lower bounds, both finite and in ascending order; nothing is copied.

    ``below`` tells of the clusters; None: the values are independent.
    """
    return [_quantile(known, lost, q, confidence, below) for q in qs]


def _quantile(known: Floats, lost: Floats, q: float, confidence: float, below: Below | None) -> Estimate:
    name, n, least = f"p{100 * q:g}", len(known) + len(lost), needed(q)
    if n < least:
        return Estimate(None, None, None, n, f"{name} needs {least:,} samples, there are {n:,}" if n else "no samples")
    middle = order_statistic(known, lost, math.ceil(n * q))
    sums = None if below is None or middle is None else below(middle)
    effective = n if sums is None else int(effective_n(sums, q, confidence))
    first, last = ranks(n, effective, q, confidence)
    low = order_statistic(known, lost, first)
    # what was lost stands above all others: a rank among it is no limit
    high = order_statistic(known, lost[:0], last)
    reason = None if low is not None and high is not None else _unbounded(name, n, sums)
    if low is not None and low == high:
        # what was rounded to one value is not known to be one
        reason = f"both limits of {name} are {low:,.6g}: values as coarse as these tell no interval"
        low = high = None
    if not len(lost):
        at = int((n - 1) * q)
        value = float(np.quantile(known[at : at + 2], (n - 1) * q - at))
        return Estimate(value, low, high, n, reason)
    value_or_none = kaplan_meier(known, lost, q)
    if value_or_none is None:
        largest = order_statistic(known, lost, n)
        reason = f"{name} is more than {largest:,.6g}: {len(lost):,} of {n:,} values are lower bounds"
    return Estimate(value_or_none, low, high, n, reason)


def expected_level(n: int, q: float) -> float:
    """The share of all values that lies below the quantile q of n of them, on average: ``((n − 1) q + 1) / (n + 1)``.

    The k-th smallest of n values has the share k / (n + 1) below it on average (David and Nagaraja 2003, section 2.3),
    and the quantile lies at place ``(n − 1) q + 1``, by interpolation. So p95 of 20 values stands at percentile 90.7,
    of 100 at 94.1, and p99 of 100 at 98.0.

    Parameters
    ----------
    n : int
        At least 1.
    q : float
        0 < q < 1.

    References
    ----------
    H. A. David, H. N. Nagaraja, Order Statistics, 3rd ed. (2003).
    """
    check_q(q)
    return ((n - 1) * q + 1) / (n + 1)


def effective_n(sums: ClusterSums, share: float, confidence: float = 0.95) -> float:
    """How many independent values tell as much of where a share of them lies as these do, which lie in clusters.

    Parameters
    ----------
    sums : ClusterSums
        Of values that are 1 where they lie at or below, else 0.
    share : float
        That share, as wanted and not as found, 0 to 1.
    confidence : float
        Two-sided level of the interval that it is for.

    Returns
    -------
    float
        n* of ``proportion``; where fewer than two clusters' worth lie on one side, ``ClusterSums.equal``. 0: the values
        are of one cluster, which tells nothing.
    """
    if sums.clusters == sums.n:
        return sums.n
    if sums.clusters == 1:
        return 0.0
    if sums.equal() * min(share, 1 - share) < LEAST_BEYOND - 1e-9:
        return sums.equal() + 1e-9
    return max(independent_n(sums, sums.right / sums.n, confidence), 1.0)


def _unbounded(name: str, n: int, sums: ClusterSums | None) -> str:
    if sums is None or sums.clusters == sums.n:
        return f"{n:,} samples do not bound {name} on both sides"
    if sums.clusters == 1:
        return f"all {n:,} samples are of one cluster: no interval can be told"
    return f"{n:,} samples in {sums.clusters:,} clusters do not bound {name} on both sides"


def ranks(n: int, effective: int, q: float, confidence: float) -> tuple[int, int]:
    """Ranks of the limits, from 1 to n; others, where the sample does not bound the quantile."""
    tail = (1 - confidence) / 2
    if not effective:
        return 0, n + 1
    first, last = _binomial_quantile(tail, effective, q), _binomial_quantile(1 - tail, effective, q) + 1
    # part k of n* parts holds the values after (k − 1) n / n*, up to k n / n*
    return (first - 1) * n // effective + 1 if first else 0, -(-last * n // effective)


def order_statistic(first: Floats, second: Floats, rank: int) -> float | None:
    """The value of this rank, from 1, among those of two arrays in order."""
    if not 1 <= rank <= len(first) + len(second):
        return None
    taken, most = max(rank - len(second), 0), min(rank, len(first))  # how many of these come from the first
    while taken < most:
        middle = (taken + most) // 2
        if first[middle] < second[rank - middle - 1]:
            taken = middle + 1
        else:
            most = middle
    return float(max(part[count - 1] for part, count in ((first, taken), (second, rank - taken)) if count))


def _binomial_quantile(probability: float, n: int, q: float) -> int:
    """Smallest k with P(B ≤ k) ≥ probability; SciPy's inverse is continuous and may be off by one in its last bits."""
    k = max(math.ceil(float(special.bdtrik(probability, n, q))) - 1, 0)
    while special.bdtr(k, n, q) < probability:
        k += 1
    return k


def kaplan_meier(known: Floats, lost: Floats, q: float) -> float | None:
    """Smallest known time at which the curve is down to 1 − q; None: it does not come down that far.

    Between two losses the factors ``(r − 1) / r`` of the curve cancel, r at risk before each known time. So there is
    one factor to a loss, and not one to a value.
    """
    goal = 1 - q + 1e-12  # the curve is a product of fractions: 0.5 may come out as 0.5000000000000001
    # a loss at a known time comes after it
    begins = np.concatenate([[0], np.searchsorted(known, lost, side="right")])
    risk = len(known) + len(lost) - begins - np.arange(len(begins))
    deaths = np.diff(begins, append=len(known))
    curve = np.cumprod(1 - deaths / np.maximum(risk, 1))
    down = np.flatnonzero(curve <= goal)
    if not down.size:
        return None
    at = int(down[0])
    above = float(curve[at - 1]) if at else 1.0
    more = min(max(math.ceil(int(risk[at]) * (1 - goal / above)), 1), int(deaths[at]))
    return float(known[begins[at] + more - 1])
