"""Quantiles with intervals by order statistics, for values in clusters and with censored values (lower bounds)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from evalkit.stats.arrays import Flags, Floats, Whole
from evalkit.stats.checked_samples import check_level, check_q, cluster_numbers, cluster_totals, finite, samples_needed
from evalkit.stats.clusters import ClusterSums
from evalkit.stats.estimate import Estimate
from evalkit.stats.proportions import independent_n

CountBelow = Callable[[float], ClusterSums]  # counts the values at or below a limit, by clusters
LEAST_BEYOND = 2.0  # clusters beyond a quantile; fewer do not show how correlated their values are


def quantile(
    values: ArrayLike,
    q: float,
    censored: ArrayLike | None = None,
    confidence: float = 0.95,
    clusters: ArrayLike | None = None,
) -> Estimate:
    """Quantile of a sample, with an interval by order statistics.

    Without censored values: linear interpolation, definition 7 of Hyndman and Fan (1996). With right-censored values,
    such as time-outs, which are lower bounds: the smallest time at which the Kaplan–Meier curve is down to 1 − q;
    missing, with the reason "more than …", when it does not come down that far.

    The interval makes no assumption about the distribution: the number of values below the quantile is binomial (n, q),
    so the r-th and the s-th smallest value bound it, where r is the largest rank with ``P(B < r) ≤ α/2`` and s the
    smallest with ``P(B ≥ s) ≤ α/2``. A censored value counts at its bound for the lower limit and above all others for
    the upper one. If the sample has no value of a rank, that limit is missing. Where both limits are the same value, as
    when all values are equal, they are missing: the values are too coarse for an interval.

    Values of one cluster are correlated. Following Woodruff (1952), n is then replaced by the effective sample size n*
    of the share of values at or below the quantile (see ``proportions.proportion``), rounded down. A rank of n* stands
    for the n / n* values of that part of the sample, and the outermost of these is the limit. Where fewer than two
    clusters of values are beyond the quantile (for p95: fewer than 40 clusters of one size), their observed correlation
    is chance, and n* is the number of equally large clusters that carry as much information.

    Parameters
    ----------
    values : array_like, shape (n,)
        In any unit; lower bounds where ``censored``. No NaN: leave out missing values.
    q : float
        0 < q < 1. At least ``1 / min(q, 1 − q)`` samples are needed (one for the median): p95 from 20,
        p99 from 100, p99.9 from 1,000. See ``expected_level`` for how low a quantile of few values is.
    censored : array_like of bool, shape (n,), optional
        True: the value is a lower bound.
    confidence : float
        Two-sided level of the interval.
    clusters : array_like, shape (n,), optional
        Label of each value's cluster, such as its conversation. None: the values are independent.

    Returns
    -------
    Estimate
        In the unit of ``values``. No limits when all values are of one cluster, or when both limits would be the same
        value.

    Raises
    ------
    ValueError
        A value is NaN or infinite, the number of flags or labels is not n, or q is outside (0, 1).

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
    flags = np.zeros(len(x), dtype=bool) if censored is None else np.asarray(censored, dtype=bool)
    if flags.shape != x.shape:
        raise ValueError(f"{flags.size} censoring flags were given for {len(x)} values")
    below = None if clusters is None else count_below(x, *cluster_numbers(clusters, len(x)))
    return ordered_quantiles(np.sort(x[~flags]), np.sort(x[flags]), qs, confidence, below)


def count_below(values: Floats, numbers: Whole, count: int) -> CountBelow:
    """Count values at or below a limit by clusters, which are numbered from 0 to ``count`` − 1 and may be empty."""

    def below(limit: float) -> ClusterSums:
        counts, sizes = cluster_totals((values <= limit).astype(np.float64), numbers, count)
        sums = ClusterSums()
        sums.add_whole(counts[sizes > 0], sizes[sizes > 0].astype(np.int64))
        return sums

    return below


def ordered_quantiles(
    known: Floats, censored: Floats, qs: Sequence[float], confidence: float = 0.95, below: CountBelow | None = None
) -> list[Estimate]:
    """``quantiles`` of known and censored values, both finite and in ascending order; nothing is copied.

    ``below`` counts values by clusters; None: the values are independent.
    """
    return [_quantile(known, censored, q, confidence, below) for q in qs]


def _quantile(known: Floats, censored: Floats, q: float, confidence: float, below: CountBelow | None) -> Estimate:
    name, n, least = f"p{100 * q:g}", len(known) + len(censored), samples_needed(q)
    if n < least:
        return Estimate(None, None, None, n, f"{name} needs {least:,} samples, there are {n:,}" if n else "no samples")
    middle = order_statistic(known, censored, math.ceil(n * q))
    sums = None if below is None or middle is None else below(middle)
    effective = n if sums is None else int(effective_n(sums, q, confidence))
    first, last = ranks(n, effective, q, confidence)
    low = order_statistic(known, censored, first)
    # censored values count above all others: a rank among them gives no limit
    high = order_statistic(known, censored[:0], last)
    reason = None if low is not None and high is not None else _unbounded(name, n, sums)
    if low is not None and low == high:
        # equal values may be rounded ones
        reason = f"both limits of {name} are {low:,.6g}: the values are too coarse for an interval"
        low = high = None
    if not len(censored):
        index = int((n - 1) * q)
        value = float(np.quantile(known[index : index + 2], (n - 1) * q - index))
        return Estimate(value, low, high, n, reason)
    value_or_none = kaplan_meier(known, censored, q)
    if value_or_none is None:
        largest = order_statistic(known, censored, n)
        reason = f"{name} is more than {largest:,.6g}: {len(censored):,} of {n:,} values are lower bounds"
    return Estimate(value_or_none, low, high, n, reason)


def median(values: Floats, censored: Flags) -> float | None:
    """The median as ``quantile`` gives it, without its interval; None: missing. ``values`` are finite."""
    known, bounds = np.sort(values[~censored]), np.sort(values[censored])
    if len(bounds):
        return kaplan_meier(known, bounds, 0.5)
    return float((known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2) if len(known) else None


def expected_level(n: int, q: float) -> float:
    """Mean share of a population below the quantile q of n of its values: ``((n − 1) q + 1) / (n + 1)``.

    On average a share k / (n + 1) of the population is below the k-th smallest of n values (David and Nagaraja 2003,
    section 2.3), and the quantile is at place ``(n − 1) q + 1``, by interpolation. So p95 of 20 values is at percentile
    90.7, of 100 at 94.1, and p99 of 100 at 98.0.

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
    """Effective sample size of clustered values for the quantile with this share below it.

    Parameters
    ----------
    sums : ClusterSums
        Sums of values that are 1 at or below the quantile, else 0.
    share : float
        The intended share, not the observed one, 0 to 1.
    confidence : float
        Two-sided level of the interval that uses it.

    Returns
    -------
    float
        n* of ``proportions.proportion``; where fewer than two clusters of values are on one side,
        ``ClusterSums.effective_clusters``. 0: all values are of one cluster.
    """
    if sums.clusters == sums.n:
        return sums.n
    if sums.clusters == 1:
        return 0.0
    if sums.effective_clusters() * min(share, 1 - share) < LEAST_BEYOND - 1e-9:
        return sums.effective_clusters() + 1e-9
    return max(independent_n(sums, sums.total / sums.n, confidence), 1.0)


def _unbounded(name: str, n: int, sums: ClusterSums | None) -> str:
    if sums is None or sums.clusters == sums.n:
        return f"{n:,} samples do not bound {name} on both sides"
    if sums.clusters == 1:
        return f"all {n:,} samples are of one cluster: an interval needs two"
    return f"{n:,} samples in {sums.clusters:,} clusters do not bound {name} on both sides"


def ranks(n: int, effective: int, q: float, confidence: float) -> tuple[int, int]:
    """Ranks of the limits, from 1 to n; outside of that where the sample does not bound the quantile."""
    tail = (1 - confidence) / 2
    if not effective:
        return 0, n + 1
    first, last = _binomial_quantile(tail, effective, q), _binomial_quantile(1 - tail, effective, q) + 1
    # part k of n* parts has the values after (k − 1) n / n*, up to k n / n*
    return (first - 1) * n // effective + 1 if first else 0, -(-last * n // effective)


def order_statistic(first: Floats, second: Floats, rank: int) -> float | None:
    """The value of a rank, from 1, among those of two sorted arrays; None: there is none."""
    if not 1 <= rank <= len(first) + len(second):
        return None
    least, most = max(rank - len(second), 0), min(rank, len(first))  # how many of these are from the first
    while least < most:
        middle = (least + most) // 2
        if first[middle] < second[rank - middle - 1]:
            least = middle + 1
        else:
            most = middle
    return float(max(part[count - 1] for part, count in ((first, least), (second, rank - least)) if count))


def _binomial_quantile(probability: float, n: int, q: float) -> int:
    """Smallest k with P(B ≤ k) ≥ probability; SciPy's inverse is continuous and may be off by one."""
    k = max(math.ceil(float(special.bdtrik(probability, n, q))) - 1, 0)
    while special.bdtr(k, n, q) < probability:
        k += 1
    return k


def kaplan_meier(known: Floats, censored: Floats, q: float) -> float | None:
    """Smallest known time at which the Kaplan–Meier curve is down to 1 − q; None: it does not come down that far.

    Between two censored values the factors ``(r − 1) / r`` of the curve cancel, with r at risk before each known time.
    So there is one factor for each censored value, not for each value.
    """
    goal = 1 - q + 1e-12  # the curve is a product of fractions: 0.5 may be 0.5000000000000001
    # a value censored at a known time counts after it
    begins = np.concatenate([[0], np.searchsorted(known, censored, side="right")])
    risk = len(known) + len(censored) - begins - np.arange(len(begins))
    deaths = np.diff(begins, append=len(known))
    curve = np.cumprod(1 - deaths / np.maximum(risk, 1))
    down = np.flatnonzero(curve <= goal)
    if not down.size:
        return None
    part = int(down[0])
    before = float(curve[part - 1]) if part else 1.0
    steps = min(max(math.ceil(int(risk[part]) * (1 - goal / before)), 1), int(deaths[part]))
    return float(known[begins[part] + steps - 1])
