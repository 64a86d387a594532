"""Two runs on the same turns: whether one is better, and by how much. Pairs of one conversation hang together."""

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
from evalkit.stats.checked_samples import check_level, check_q, needed, numbered, pairs, totals
from evalkit.stats.estimate import Estimate
from evalkit.stats.means import mean_and_error

_LEVEL, _FEW_DIFFER, _ONE_WAY = 0.95, 10, 0.75  # see ``doubt``
_MANY_DIFFER = 15  # clusters: from so many on the t interval needs no help; tests/benchmarks/bench_coverage.py


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference of pairs, with its test.

    Parameters
    ----------
    estimate : Estimate
        Mean of second − first, with its interval.
    p : float or None
        Two-sided, of the hypothesis that the true mean is 0; below 1 − confidence just where the interval leaves 0
        out. None: it cannot be told, ``estimate.reason`` says why.
    se : float or None
        Standard error by clusters; None: no variance can be told.
    clusters : int
        How many clusters the pairs are of.
    differing : int
        How many of these have a mean difference other than 0.
    """

    estimate: Estimate
    p: float | None
    se: float | None
    clusters: int
    differing: int


@dataclass(frozen=True, slots=True)
class McNemar:
    """McNemar's test of pairs that count as independent.

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
    """Mean of second − first over pairs, with an interval and a test that know of clusters.

    With d = second − first it is the interval of ``intervals.mean`` of d, and the t-test that belongs to it: the
    linearised variance between clusters, K − 1 degrees of freedom for K clusters. What the two have in common, the
    difficulty of the turn above all, falls out of d. For right and wrong this takes the place of McNemar's test, which
    it agrees with for many pairs that are independent, and stays valid where they are not. In simulation it found a
    difference between two equal models in 4 to 6 % of the runs in which there is a p. With few clusters that differ,
    nearly all one way, p holds, but the interval may not reach far enough: see ``doubt``.

    If all values lie between 0 and 1, a cluster that does not differ says nothing of which is better, and the t
    interval of few that do is too short. So two things are added, which fade as m, the number of clusters that differ,
    grows:

    - p is at least 2^−m, the mid-p of m that all go one way, as in ``mcnemar``, and the limit on the side of 0 is
      that of the standard error that would give this p. With fewer than ``log2(1 / α)`` that differ, 5 at 95 %, no
      outcome would decide: p is missing, and 0 lies within the limits.
    - The limit away from 0 reaches as far as clusters may that were not seen. For a mean that lies e beyond the span
      from 0 to the mean found, ``(α/2)^−a − 1`` times ``e (1 − e)`` is added to t² times the variance, by
      ``1 − m/15``, none from 15 on. a is how far a cluster that differs moves the mean: the average of those that do
      and one of ``ClusterSums.equal`` that differs wholly. Where none differs this is the limit of Clopper and Pearson
      for 0 of so many clusters, ``1 − (α/2)^(1/K)`` if they are of one size. It is the score interval's rule: the
      variance is that of the mean which is asked about, and not of the one found.
    - As no difference exceeds 1, no limit lies beyond that of the share of pairs in clusters that go that way, by
      Clopper and Pearson for ``ClusterSums.equal`` clusters. With a handful of clusters this is the nearer one.

    When all clusters have the same mean difference other than 0, no variance can be told, and ``se`` is missing. p is
    then that of the exact sign test of the clusters, 2^(1 − K).

    Parameters
    ----------
    first, second : array_like, shape (n,)
        In the same unit, a pair a place: right and wrong as 1 and 0, scores or times. No missing values: leave out
        pairs that lack one of the two.
    clusters : array_like, shape (n,), optional
        Label of each pair's cluster, such as its conversation, repeats included. None: the pairs are independent.
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
        NaN or infinity, other lengths, or the level is none.

    References
    ----------
    W. G. Cochran, Sampling Techniques, 3rd ed. (1977), section 11.9.
    N. A. Obuchowski, Stat. Med. 17 (1998) 1495–1507: the comparison of paired shares by clusters.
    J. A. Hanley, A. Lippman-Hand, J. Am. Med. Assoc. 249 (1983) 1743–1745: a bound when nothing was seen.
    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209–212: the variance at the value that is asked about.
    """
    x, y = pairs(first, second)
    check_level(confidence)
    numbers, k = numbered(clusters, len(x))
    if not k:
        return Difference(Estimate(None, None, None, 0, "no pairs"), None, None, 0, 0)
    n, sums, sizes = len(x), *totals(y - x, numbers, k)
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
    """``difference`` of values between 0 and 1, of two clusters or more."""
    n, k = int(sizes.sum()), len(sizes)
    enough = _enough(differing, confidence)
    alike = error is None and differing > 0
    least_p = 2.0 ** (1 - k if alike else -differing)
    spread = error or 0.0
    p = max(least_p, 2 * float(special.stdtr(k - 1, -abs(middle) / spread)) if spread else 0.0)
    # the standard error that gives this p
    needed_spread = spread if p > least_p or not differing else abs(middle) / -float(special.stdtrit(k - 1, p / 2))
    moves = (float(np.abs(sums).sum()) / n + float(sizes @ sizes) / n**2) / (differing + 1)
    unseen = (((1 - confidence) / 2) ** -moves - 1) * max(1 - differing / _MANY_DIFFER, 0.0)
    away, near = _reach(critical * spread, 0.0, unseen), critical * needed_spread
    if near >= abs(middle):
        near = _reach(near, abs(middle), unseen)
    low, high = (middle - near, middle + away) if middle >= 0 else (middle - away, middle + near)
    if not enough:
        reason: str | None = _too_few_differ(differing, k)
    else:
        same = f"all {k:,} clusters have the same difference: the limits are what so many leave possible"
        reason = same if alike else None
    most, least = (_at_most(way > 1e-9 * sizes, sizes, confidence) for way in (sums, -sums))
    told = Estimate(middle, max(low, -least), min(high, most), n, reason)
    return Difference(told, p if enough else None, error if enough else None, k, differing)


def _at_most(there: Flags, sizes: Floats, confidence: float) -> float:
    """Upper limit of the share of pairs in clusters like these."""
    share = float(sizes[there].sum() / sizes.sum())
    n = float(sizes.sum() ** 2 / (sizes**2).sum())
    return 1.0 if there.all() else float(special.betaincinv(share * n + 1, n - share * n, (1 + confidence) / 2))


def _reach(half: float, free: float, unseen: float) -> float:
    """The h of ``h² = half² + unseen · e (1 − e)``, with e = h − free, how far h lies beyond ``free``."""
    linear, constant = 2 * free - unseen, free**2 - half**2
    beyond = (math.sqrt(max(linear**2 - 4 * (1 + unseen) * constant, 0.0)) - linear) / (2 * (1 + unseen))
    return free + beyond


def doubt(first: ArrayLike, second: ArrayLike, clusters: ArrayLike | None = None, noun: str = "cluster") -> str | None:
    """Why to read the interval of ``difference`` with care here, in a sentence for the reader of a report.

    ``difference`` keeps its level over all runs. But runs in which 5 to 9 clusters differ, three in four of them or
    more one way, are often those in which chance made a small difference look larger: in simulation the 95 % interval
    of such runs held the truth in as few as 87 %, where the true difference was a point or two.

    Parameters
    ----------
    first, second, clusters
        As for ``difference``.
    noun : str
        What a cluster is.

    Returns
    -------
    str or None
        None: no doubt.
    """
    x, y = pairs(first, second)
    numbers, k = numbered(clusters, len(x))
    sums, sizes = totals(y - x, numbers, k)
    up, down = (int((way > 1e-9 * sizes).sum()) for way in (sums, -sums))
    n = up + down
    if not _enough(n, _LEVEL) or n >= min(_FEW_DIFFER, k) or max(up, down) < _ONE_WAY * n:
        return None
    return (
        f"only {n} of {k:,} {noun}s differ, nearly all one way: the true difference may well be smaller (in simulation "
        "the interval of such runs held the truth in as few as 87 %)"
    )


def smallest_decidable(difference: Difference, confidence: float = 0.95, power: float = 0.8) -> float | None:
    """The smallest true difference that so many clusters, spread like these, would have decided.

    At it, the test of ``paired.difference`` gives p ≤ 1 − confidence with probability ``power``: the non-centrality at
    which a t of K − 1 degrees of freedom exceeds its critical value so often, times the standard error found.

    Parameters
    ----------
    difference : Difference
        Of which ``se`` and ``clusters`` are used.
    confidence : float
        1 less the level of the test, which is two-sided.
    power : float
        Above (1 − confidence) / 2 and below 1.

    Returns
    -------
    float or None
        In the unit of the difference, above 0. None: no standard error is known.

    Raises
    ------
    ValueError
        The level or the power is none.

    References
    ----------
    J. Cohen, Statistical Power Analysis for the Behavioral Sciences, 2nd ed. (1988), chapter 2.
    """
    check_level(confidence)
    if not (1 - confidence) / 2 < power < 1:
        raise ValueError(f"power is {power!r}: it must lie between {(1 - confidence) / 2:g} and 1")
    if difference.se is None:
        return None
    freedom = difference.clusters - 1
    critical = special.stdtrit(freedom, (1 + confidence) / 2)
    return float(special.nctdtrinc(freedom, 1 - power, critical)) * difference.se


def mcnemar(only_first: int, only_second: int) -> McNemar:
    """McNemar's test, exact and by mid-p, of pairs that count as independent: one turn a conversation, asked once.

    Where a conversation brings several pairs it finds too much: ``paired.difference`` is the test then. Of n
    discordant pairs, under the hypothesis, those of one kind are binomial (n, 1/2). The exact p is twice the
    probability of so few of the rarer kind, at most 1. The mid-p takes off the probability of just this number; with
    as many of either kind it is 1 less half of that. The exact test rejects a true hypothesis more seldom than it
    says, the mid-p test hardly ever more often (Fagerland et al. 2013).

    Parameters
    ----------
    only_first, only_second : int
        Pairs of which only the first, and only the second, is right.

    Returns
    -------
    McNemar
        No p without discordant pairs.

    Raises
    ------
    ValueError
        A negative count.

    References
    ----------
    M. W. Fagerland, S. Lydersen, P. Laake, BMC Med. Res. Methodol. 13 (2013) 91.
    """
    rarer, n = min(only_first, only_second), only_first + only_second
    if rarer < 0:
        raise ValueError(f"{only_first} and {only_second} discordant pairs: a count is not negative")
    if n == 0:
        return McNemar(None, None, 0)
    exact = min(1.0, 2 * float(special.bdtr(rarer, n, 0.5)))
    log_alone = special.gammaln(n + 1) - special.gammaln(rarer + 1) - special.gammaln(n - rarer + 1) - n * math.log(2)
    alone = math.exp(float(log_alone))
    return McNemar(exact, 1 - alone / 2 if only_first == only_second else exact - alone, n)


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
    """Quantile of second less quantile of first, with a percentile interval by the paired bootstrap over clusters.

    Each resample draws as many clusters as there are, with replacement and with all their pairs, and takes the
    quantile of both sides (Hyndman and Fan's definition 7, as ``stats.quantile``). This is the difference of two
    quantiles and not the quantile of the differences; pairs make it exact where both sides are slow together.

    A resample of a million pairs need not be sorted: only the values near the quantile can become it, so the rest is
    counted (``redrawn``). The result is the same, in a few seconds.

    Parameters
    ----------
    first, second : array_like, shape (n,)
        In the same unit, a pair a place; no missing and no censored values.
    q : float
        0 < q < 1. Samples needed as for ``stats.quantile``.
    clusters : array_like, shape (n,), optional
        Label of each pair's cluster. None: the pairs are independent.
    confidence : float
        Two-sided level of the interval.
    resamples : int
        How many times the clusters are drawn again.
    seed : int
        Of the draws.

    Returns
    -------
    Estimate
        In the unit of the values. No value with too few pairs for q; no limits for fewer than 10 clusters, nor when
        all resamples give the same difference.

    Raises
    ------
    ValueError
        NaN or infinity, other lengths, or q or the level is none.

    References
    ----------
    R. Wilcox, Introduction to Robust Estimation and Hypothesis Testing, 5th ed. (2022), section 5.9: dependent groups.
    """
    x, y = pairs(first, second)
    check_level(confidence)
    check_q(q)
    check_resamples(resamples)
    n = len(x)
    numbers, k = numbered(clusters, n)
    if n < needed(q):
        few = f"p{100 * q:g} needs {needed(q):,} pairs, there are {n:,}"
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


def _enough(differing: int, confidence: float) -> bool:
    """Whether so many clusters would decide if they all differed one way."""
    return differing >= math.log2(1 / (1 - confidence)) - 1e-9


def _too_few_differ(differing: int, clusters: int) -> str:
    differ = "differs" if differing == 1 else "differ"
    return (
        f"{differing} of {clusters:,} clusters {differ}, too few for a test: the limits are what so many leave possible"
    )


def _is_share(values: Floats) -> bool:
    return bool(values.min() >= 0 and values.max() <= 1)
