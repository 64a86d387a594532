"""Statistics: arrays in, small result types out. Pure functions; what cannot be told is None, with the reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from evalkit.clusters import ClusterSums, Floats, Whole
from evalkit.orderstatistics import kaplan_meier, order_statistic, ranks
from evalkit.samples import check_level, check_q, finite, needed, numbered, totals

Flags = NDArray[np.bool_]
Below = Callable[[float], ClusterSums]  # of a limit: which values are at or below it, added up by clusters

_PSEUDO_CLUSTERS = 0.25  # weight of p(1 − p) in the variance of graded scores; tests/benchmarks/bench_coverage.py
LEAST_BEYOND = 2.0  # clusters' worth of values beyond a quantile: fewer do not tell how alike they are
CLIENT_BOUND_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate with its interval.

    Parameters
    ----------
    value : float or None
        None: there is too little data, ``reason`` says what is lacking.
    low, high : float or None
        Limits of the interval; None: the data do not bound it on that side.
    n : int
        Samples it stands on, censored ones included.
    reason : str or None
        Why a value or a limit is missing.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None = None


def proportion(values: ArrayLike, clusters: ArrayLike | None = None, confidence: float = 0.95) -> Estimate:
    """Mean of values between 0 and 1, with an interval that knows of clusters.

    Without clusters this is the score interval of Wilson (1927), without continuity correction:
    ``(p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)``.

    Samples of one cluster resemble each other, so n of them tell less than n independent ones. And values strictly
    between 0 and 1, such as f1 or a judge's grades, vary less than right and wrong with the same mean. So n is replaced
    by the number of independent values of 0 and 1 whose mean varies as much, as in Korn and Graubard (1998), used in
    the score interval as Franco et al. (2019) recommend: ``n* = n / max(deff, 1 − g) · f``, where

    - ``deff = v / (p(1 − p) / (n − 1))`` is the design effect,
    - ``v = K/(K − 1) · Σ over clusters (Σ in cluster (y − p))² / n²`` the between-cluster variance of the mean,
    - ``1 − g`` the variance of single values, in units of p(1 − p), with
      ``g = mean of y(1 − y) / (p(1 − p)) · m / (m + ¼)``, which is 0 when all values are 0 or 1. The last factor, of m
      clusters that hold a value between 0 and 1, keeps the interval wide while such values are few,
    - ``f = ((1 − g) t[n−1]² + g z²) / t[K−1]²`` for the few clusters, of which K there are, with t[d] the Student
      quantile of d degrees of freedom and z the normal one.

    For right and wrong this is ``n / max(deff, 1) · (t[n−1] / t[K−1])²``, and without clusters plain Wilson.

    When all values are equal, no variance tells the design effect: every cluster counts as one sample, the cautious
    end.

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
        A value outside 0 to 1 or NaN, or labels of another length.

    References
    ----------
    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209–212.
    E. L. Korn, B. I. Graubard, Survey Methodology 24 (1998) 193–201.
    C. Franco, R. J. A. Little, T. A. Louis, E. V. Slud, J. Surv. Stat. Methodol. 7 (2019) 334–364.
    """
    y = finite(values)
    sums = ClusterSums()
    if clusters is None:
        sums.add(np.arange(len(y)), y)
    else:
        labels = np.asarray(clusters)
        if len(labels) != len(y):
            raise ValueError(f"{len(labels)} cluster labels were given for {len(y)} values")
        order = np.argsort(labels, kind="stable")
        sums.add(np.unique(labels[order], return_inverse=True)[1], y[order])
    sums.close()
    return clustered_proportion(sums, confidence)


def clustered_proportion(sums: ClusterSums, confidence: float = 0.95) -> Estimate:
    """``proportion`` of values that were added up by clusters, the last of which is closed."""
    check_level(confidence)
    n, k = sums.n, sums.clusters
    if n == 0:
        return Estimate(None, None, None, 0, "no samples")
    p = sums.right / n
    if k == 1 < n:
        return Estimate(p, None, None, n, f"all {n} samples are of one cluster: no interval can be told")
    return Estimate(p, *score_limits(p, _effective_n(sums, p, confidence), confidence), n)


def _effective_n(sums: ClusterSums, p: float, confidence: float) -> float:
    """n* of ``proportion``."""
    n, k = sums.n, sums.clusters
    if k == n and (n == 1 or not sums.partial):
        return float(n)
    tail = (1 + confidence) / 2
    of_values, of_clusters = (float(special.stdtrit(count - 1, tail)) ** 2 for count in (n, k))
    most = p * (sums.lacking / n)  # the variance of values of 0 and 1
    within = sums.partial / n
    if most - within <= 1e-9 * most:
        return k * (of_values / of_clusters)
    deff = k / (k - 1) * sums.spread() / n**2 * (n - 1) / most
    saved = within / most * sums.partial_clusters / (sums.partial_clusters + _PSEUDO_CLUSTERS)
    few_clusters = ((1 - saved) * of_values + saved * float(special.ndtri(tail)) ** 2) / of_clusters
    return n / max(deff, 1 - saved) * few_clusters


def score_limits(p: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Limits of the score interval of a share p of n samples, n whole or effective; see ``proportion``."""
    z2 = float(special.ndtri((1 + confidence) / 2)) ** 2
    centre = p + z2 / (2 * n)
    half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n)))
    low, high = (centre - half) / (1 + z2 / n), (centre + half) / (1 + z2 / n)
    # rounding must not leave 1e-17 where the limit is 0
    return (0.0 if p == 0 else max(low, 0.0)), (1.0 if p == 1 else min(high, 1.0))


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
    return max(_effective_n(sums, sums.right / sums.n, confidence), 1.0)


def _unbounded(name: str, n: int, sums: ClusterSums | None) -> str:
    if sums is None or sums.clusters == sums.n:
        return f"{n:,} samples do not bound {name} on both sides"
    if sums.clusters == 1:
        return f"all {n:,} samples are of one cluster: no interval can be told"
    return f"{n:,} samples in {sums.clusters:,} clusters do not bound {name} on both sides"


def difference(first: Estimate, second: Estimate) -> Estimate:
    """Difference second − first of two estimates of one kind, with an interval from theirs.

    Square-and-add limits, method 10 of Newcombe (1998) for proportions:
    ``d − √((p2 − low2)² + (high1 − p1)²)`` to ``d + √((high2 − p2)² + (p1 − low1)²)``. They take the two as
    independent; where both rise and fall together, as the turns of the same conversations do, they are too wide.

    Parameters
    ----------
    first, second : Estimate
        Of the same confidence.

    Returns
    -------
    Estimate
        ``n`` is the smaller of the two. Missing where either estimate, or one of its limits, is.

    References
    ----------
    R. G. Newcombe, Statistics in Medicine 17 (1998) 873–890.
    """
    n = min(first.n, second.n)
    if first.value is None or second.value is None:
        return Estimate(None, None, None, n, first.reason or second.reason)
    value = second.value - first.value
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return Estimate(value, None, None, n, first.reason or second.reason)
    down = math.hypot(second.value - second.low, first.high - first.value)
    up = math.hypot(second.high - second.value, first.value - first.low)
    return Estimate(value, value - down, value + up, n)


def client_bound(lag_ms: float | None, time_ms: float | None) -> bool | None:
    """Whether more than a twentieth of a time may be the client's, and not the endpoint's.

    Parameters
    ----------
    lag_ms : float or None
        What the client may have added: the 99th percentile of its event loop's lag. None: not measured.
    time_ms : float or None
        The time it is compared with, such as the median TTFT.

    Returns
    -------
    bool or None
        None: one of them is not known.
    """
    if lag_ms is None or time_ms is None:
        return None
    return lag_ms > CLIENT_BOUND_SHARE * time_ms
