"""Two runs on the same turns: whether one is better, and by how much. Pairs of one conversation are correlated."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from evalkit.stats.arrays import Flags, Floats
from evalkit.stats.bootstrap_quantiles import (
    LEAST_CLUSTERS,
    check_resamples,
    no_interval,
    quantile_differences,
    too_few,
)
from evalkit.stats.checked_samples import check_level, check_q, cluster_numbers, cluster_totals, pairs, samples_needed
from evalkit.stats.clusters import effective_clusters
from evalkit.stats.estimate import Estimate
from evalkit.stats.means import mean_and_error

_LEVEL, _FEW_DIFFER, _ONE_WAY = 0.95, 10, 0.75  # see ``doubt``
_MANY_DIFFER = 15  # clusters, from which the t interval needs no correction; tests/benchmarks/bench_coverage.py


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference of pairs, with its test.

    Parameters
    ----------
    estimate : Estimate
        Mean of second − first, with its interval.
    p : float or None
        Two-sided, of the hypothesis that the true mean is 0; below 1 − confidence exactly where the interval excludes
        0. None: not available, ``estimate.reason`` says why.
    se : float or None
        Standard error by clusters; None: the variance cannot be estimated.
    clusters : int
        Number of clusters.
    differing : int
        Number of clusters with a mean difference other than 0.
    """

    estimate: Estimate
    p: float | None
    se: float | None
    clusters: int
    differing: int


@dataclass(frozen=True, slots=True)
class McNemar:
    """McNemar's test of independent pairs.

    Parameters
    ----------
    exact_p, mid_p : float or None
        Two-sided; None: no pair is discordant.
    n : int
        Discordant pairs.
    """

    exact_p: float | None
    mid_p: float | None
    n: int


def difference(
    first: ArrayLike, second: ArrayLike, clusters: ArrayLike | None = None, confidence: float = 0.95
) -> Difference:
    """Mean of second − first over pairs, with an interval and a test that account for clusters.

    With d = second − first this is the interval of ``means.mean`` of d and the t-test that belongs to it: the
    linearised variance between clusters, with K − 1 degrees of freedom for K clusters. What the two runs have in
    common, above all the difficulty of the turn, cancels in d. For right and wrong it replaces McNemar's test: it
    agrees with it for many independent pairs, and is still valid where pairs are correlated. In simulation it found a
    difference between two equal models in 4 to 6 % of the runs that have a p. With few differing clusters, nearly all
    in one direction, p is valid, but the interval may be too short: see ``doubt``.

    If all values are between 0 and 1, a cluster that does not differ does not show which run is better, and the t
    interval from the few that differ is too short. So there are three corrections, of which the first two vanish as m,
    the number of differing clusters, grows:

    - p is at least 2^−m, the mid-p of m clusters that all differ in one direction, as in ``mcnemar``, and the limit
      towards 0 uses the standard error that would give this p. With fewer than ``log2(1 / α)`` differing clusters, 5 at
      95 %, no outcome would be decisive: p is missing, and 0 is within the limits.
    - The limit away from 0 allows for clusters that were not seen. For a mean at a distance e outside the span from 0
      to the observed mean, ``(α/2)^−a − 1`` times ``e (1 − e)`` is added to t² times the variance, by
      ``1 − m/15``, which is 0 from m = 15 on. a is how far a differing cluster moves the mean: the average of those
      that differ and of one of the ``clusters.effective_clusters`` that differs completely. Where none differs this is
      the limit of Clopper and Pearson for 0 of this many clusters, ``1 − (α/2)^(1/K)`` for clusters of one size. As in
      the score interval, the variance is that at the hypothetical mean, not at the observed one.
    - As no difference exceeds 1, no limit is beyond that of the share of pairs in clusters that differ in its
      direction, by Clopper and Pearson for ``clusters.effective_clusters``. With only a few clusters this limit is the
      closer one.

    When all clusters have the same mean difference other than 0, the variance cannot be estimated, and ``se`` is
    missing. p is then that of the exact sign test of the clusters, 2^(1 − K).

    Parameters
    ----------
    first, second : array_like, shape (n,)
        In the same unit, paired by position: right and wrong as 1 and 0, scores or times. No missing values: leave out
        incomplete pairs.
    clusters : array_like, shape (n,), optional
        Label of each pair's cluster, such as its conversation with all repeats. None: the pairs are independent.
    confidence : float
        Two-sided level of the interval.

    Returns
    -------
    Difference
        No value without pairs; no limits and no p for fewer than two clusters, nor when all clusters have the same
        mean difference and a value lies outside 0 to 1; no p and no standard error where too few clusters differ.

    Raises
    ------
    ValueError
        A value is NaN or infinite, the lengths differ, or the confidence is not between 0 and 1.

    References
    ----------
    W. G. Cochran, Sampling Techniques, 3rd ed. (1977), section 11.9.
    N. A. Obuchowski, Stat. Med. 17 (1998) 1495–1507: comparison of paired shares by clusters.
    J. A. Hanley, A. Lippman-Hand, J. Am. Med. Assoc. 249 (1983) 1743–1745: a bound when no event was seen.
    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209–212: the variance at the hypothetical value.
    """
    x, y = pairs(first, second)
    check_level(confidence)
    numbers, k = cluster_numbers(clusters, len(x))
    if not k:
        return Difference(Estimate(None, None, None, 0, "no pairs"), None, None, 0, 0)
    n, sums, sizes = len(x), *cluster_totals(y - x, numbers, k)
    differing = int((np.abs(sums) > 1e-9 * sizes).sum())
    middle, error, reason = mean_and_error(y - x, sums, sizes)
    critical = float(special.stdtrit(k - 1, (1 + confidence) / 2))
    if k > 1 and _is_share(x) and _is_share(y):
        return _difference_of_shares(middle, error, sums, sizes, differing, critical, confidence)
    if error is None:
        return Difference(Estimate(middle, None, None, n, reason), None, None, k, differing)
    p = 2 * float(special.stdtr(k - 1, -abs(middle) / error))
    half = critical * error
    return Difference(Estimate(middle, middle - half, middle + half, n), p, error, k, differing)


def _difference_of_shares(
    middle: float, error: float | None, sums: Floats, sizes: Floats, differing: int, critical: float, confidence: float
) -> Difference:
    """``difference`` of values between 0 and 1, with at least two clusters."""
    n, k = int(sizes.sum()), len(sizes)
    enough = _enough_differ(differing, confidence)
    all_equal = error is None and differing > 0
    least_p = 2.0 ** (1 - k if all_equal else -differing)
    observed_error = error or 0.0
    p = max(least_p, 2 * float(special.stdtr(k - 1, -abs(middle) / observed_error)) if observed_error else 0.0)
    # the standard error that would give this p
    needed_error = (
        observed_error if p > least_p or not differing else abs(middle) / -float(special.stdtrit(k - 1, p / 2))
    )
    shift = (float(np.abs(sums).sum()) / n + float(sizes @ sizes) / n**2) / (differing + 1)
    unseen = (((1 - confidence) / 2) ** -shift - 1) * max(1 - differing / _MANY_DIFFER, 0.0)
    away, near = _reach(critical * observed_error, 0.0, unseen), critical * needed_error
    if near >= abs(middle):
        near = _reach(near, abs(middle), unseen)
    low, high = (middle - near, middle + away) if middle >= 0 else (middle - away, middle + near)
    if not enough:
        reason: str | None = _too_few_differ(differing, k)
    else:
        same = f"all {k:,} clusters have the same difference: the limits are what this number does not rule out"
        reason = same if all_equal else None
    most, least = (_upper_share(side > 1e-9 * sizes, sizes, confidence) for side in (sums, -sums))
    estimate = Estimate(middle, max(low, -least), min(high, most), n, reason)
    return Difference(estimate, p if enough else None, error if enough else None, k, differing)


def _upper_share(selected: Flags, sizes: Floats, confidence: float) -> float:
    """Upper limit of Clopper and Pearson of the share of pairs in clusters like the selected ones."""
    share = float(sizes[selected].sum() / sizes.sum())
    n = float(effective_clusters(sizes.sum(), (sizes**2).sum()))
    return 1.0 if selected.all() else float(special.betaincinv(share * n + 1, n - share * n, (1 + confidence) / 2))


def _reach(half: float, free: float, unseen: float) -> float:
    """The h of ``h² = half² + unseen · e (1 − e)``, with e = h − free the distance of h beyond ``free``."""
    linear, constant = 2 * free - unseen, free**2 - half**2
    beyond = (math.sqrt(max(linear**2 - 4 * (1 + unseen) * constant, 0.0)) - linear) / (2 * (1 + unseen))
    return free + beyond


def doubt(first: ArrayLike, second: ArrayLike, clusters: ArrayLike | None = None, noun: str = "cluster") -> str | None:
    """Why the interval of ``difference`` needs care here, as a sentence for a report.

    ``difference`` keeps its level over all runs. But runs in which 5 to 9 clusters differ, at least three in four of
    them in one direction, are often runs in which a small difference looks larger by chance: in simulation the 95 %
    interval of such runs contained the truth in as few as 87 %, where the true difference was one or two points.

    Parameters
    ----------
    first, second, clusters
        As for ``difference``.
    noun : str
        The name of a cluster.

    Returns
    -------
    str or None
        None: there is no reason to doubt it.
    """
    x, y = pairs(first, second)
    numbers, k = cluster_numbers(clusters, len(x))
    sums, sizes = cluster_totals(y - x, numbers, k)
    up, down = (int((side > 1e-9 * sizes).sum()) for side in (sums, -sums))
    n = up + down
    if not _enough_differ(n, _LEVEL) or n >= min(_FEW_DIFFER, k) or max(up, down) < _ONE_WAY * n:
        return None
    return (
        f"only {n} of {k:,} {noun}s differ, nearly all in one direction: the true difference may be smaller (in "
        "simulation the interval of such runs contained the truth in as few as 87 %)"
    )


def smallest_decidable(difference: Difference, confidence: float = 0.95, power: float = 0.8) -> float | None:
    """The smallest true difference that this number of clusters, with this variance, would have shown.

    At it, the test of ``paired.difference`` gives p ≤ 1 − confidence with probability ``power``: the non-centrality at
    which a t of K − 1 degrees of freedom exceeds its critical value that often, times the observed standard error.

    Parameters
    ----------
    difference : Difference
        Its ``se`` and ``clusters`` are used.
    confidence : float
        1 minus the level of the two-sided test.
    power : float
        Above (1 − confidence) / 2 and below 1.

    Returns
    -------
    float or None
        In the unit of the difference, above 0. None: there is no standard error.

    Raises
    ------
    ValueError
        The confidence or the power is out of range.

    References
    ----------
    J. Cohen, Statistical Power Analysis for the Behavioral Sciences, 2nd ed. (1988), chapter 2.
    """
    check_level(confidence)
    if not (1 - confidence) / 2 < power < 1:
        raise ValueError(f"power is {power!r}: it must be between {(1 - confidence) / 2:g} and 1")
    if difference.se is None:
        return None
    freedom = difference.clusters - 1
    critical = special.stdtrit(freedom, (1 + confidence) / 2)
    return float(special.nctdtrinc(freedom, 1 - power, critical)) * difference.se


def mcnemar(only_first: int, only_second: int) -> McNemar:
    """McNemar's test, exact and by mid-p, of independent pairs: one turn per conversation, run once.

    Where a conversation has several pairs it rejects too often: use ``paired.difference`` then. Under the hypothesis,
    the number of one kind among n discordant pairs is binomial (n, 1/2). The exact p is twice the probability of at
    most the observed number of the rarer kind, and at most 1. The mid-p subtracts the probability of exactly this
    number; with equally many of both kinds it is 1 minus half of that. The exact test rejects a true hypothesis less
    often than its level, the mid-p test hardly ever more often (Fagerland et al. 2013).

    Parameters
    ----------
    only_first, only_second : int
        Number of pairs of which only the first is right, and only the second.

    Returns
    -------
    McNemar
        No p without discordant pairs.

    Raises
    ------
    ValueError
        A count is negative.

    References
    ----------
    M. W. Fagerland, S. Lydersen, P. Laake, BMC Med. Res. Methodol. 13 (2013) 91.
    """
    rarer, n = min(only_first, only_second), only_first + only_second
    if rarer < 0:
        raise ValueError(f"{only_first} and {only_second} discordant pairs: a count must not be negative")
    if n == 0:
        return McNemar(None, None, 0)
    exact = min(1.0, 2 * float(special.bdtr(rarer, n, 0.5)))
    log_exactly = special.gammaln(n + 1) - special.gammaln(rarer + 1) - special.gammaln(n - rarer + 1) - n * math.log(2)
    exactly = math.exp(float(log_exactly))
    return McNemar(exact, 1 - exactly / 2 if only_first == only_second else exact - exactly, n)


def quantile_difference(
    first: ArrayLike,
    second: ArrayLike,
    q: float,
    clusters: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Quantile of second minus quantile of first, with a percentile interval by the paired bootstrap over clusters.

    Each resample draws as many clusters as there are, with replacement and with all their pairs, and computes the
    quantile of both sides (definition 7 of Hyndman and Fan, as ``quantiles.quantile``). This is the difference of two
    quantiles, not the quantile of the differences; pairing makes it more precise where both sides are slow together.

    A resample of a million pairs is not sorted: only values near the quantile can become it, and the others are counted
    (``bootstrap_quantiles``). The result is the same, in a few seconds.

    Parameters
    ----------
    first, second : array_like, shape (n,)
        In the same unit, paired by position; no missing and no censored values.
    q : float
        0 < q < 1. It needs as many pairs as ``quantiles.quantile`` needs samples.
    clusters : array_like, shape (n,), optional
        Label of each pair's cluster. None: the pairs are independent.
    confidence : float
        Two-sided level of the interval.
    resamples : int
        Number of resamples.
    seed : int
        Seed of the draws.

    Returns
    -------
    Estimate
        In the unit of the values. No value with too few pairs for q; no limits for fewer than 10 clusters, nor when
        all resamples give the same difference.

    Raises
    ------
    ValueError
        A value is NaN or infinite, the lengths differ, or q or the confidence is not between 0 and 1.

    References
    ----------
    R. Wilcox, Introduction to Robust Estimation and Hypothesis Testing, 5th ed. (2022), section 5.9: dependent groups.
    """
    x, y = pairs(first, second)
    check_level(confidence)
    check_q(q)
    check_resamples(resamples)
    n = len(x)
    numbers, k = cluster_numbers(clusters, n)
    if n < samples_needed(q):
        few = f"p{100 * q:g} needs {samples_needed(q):,} pairs, there are {n:,}"
        return Estimate(None, None, None, n, few if n else "no pairs")
    value = float(np.quantile(y, q) - np.quantile(x, q))
    if k < LEAST_CLUSTERS:
        return Estimate(value, None, None, n, too_few(k))
    drawn = quantile_differences(x, y, q, numbers, k, resamples, np.random.default_rng(seed))
    reason = no_interval(drawn)
    if reason is not None:
        return Estimate(value, None, None, n, reason)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high), n)


def _enough_differ(differing: int, confidence: float) -> bool:
    """Whether this number of clusters would be decisive if all differed in one direction."""
    return differing >= math.log2(1 / (1 - confidence)) - 1e-9


def _too_few_differ(differing: int, clusters: int) -> str:
    differ = "differs" if differing == 1 else "differ"
    return (
        f"{differing} of {clusters:,} clusters {differ}, too few for a test: the limits are what this number does "
        "not rule out"
    )


def _is_share(values: Floats) -> bool:
    return bool(values.min() >= 0 and values.max() <= 1)
