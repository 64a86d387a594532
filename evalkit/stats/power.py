"""How many clusters a precision or a difference needs, and what a given number of clusters can show.

A cluster, such as a conversation run once or several times, gives one value: its share in the accuracy, or in the
difference of two accuracies. Clusters are independent, and the mean of their values is tested by Student's t. All
numbers are in the unit of the values, so that 0.03 is three points of accuracy.

A pilot gives only an estimate of the variance, and that of the run differs again. A plan that relies on the pilot's
variance is too small in half of the cases; those of ``assured_for_precision`` and ``assured_for_difference`` are large
enough in a stated share of the cases.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from numpy.typing import ArrayLike
from scipy import special

from evalkit.stats.checked_samples import finite
from evalkit.stats.proportions import score_limits

_MOST = 10**12
_LEAST_KURTOSIS = 1.2  # 1 is that of two values of equal frequency, whose variance would be known exactly
_FAR = 7.0  # standard deviations; 1e-12 of a normal distribution is beyond


@dataclass(frozen=True, slots=True)
class PilotSpread:
    """The standard deviation of one cluster's value as a pilot estimates it.

    Parameters
    ----------
    sd : float
        The pilot's estimate.
    clusters : int
        Number of clusters of the pilot, two or more.
    kurtosis : float
        Fourth moment over squared variance, 3 for normal values.
    least : float
        A lower bound of the standard deviation of any run: that of independent turns.
    """

    sd: float
    clusters: int
    kurtosis: float = 3.0
    least: float = 0.0

    def bound(self, level: float, clusters: float = math.inf) -> float:
        """Upper limit, with probability ``level``, of the standard deviation in a run of this many clusters.

        The ratio of the variances of two samples is F distributed, with degrees of freedom that depend on the kurtosis:
        ``2 K / (κ − (K − 3)/(K − 1))`` for K clusters, K − 1 if they are normal (O'Neill 2014). With infinitely many
        clusters it is the limit of the true standard deviation, by chi-square (Browne 1995).

        References
        ----------
        R. H. Browne, Stat. Med. 14 (1995) 1933–1940.
        B. O'Neill, Am. Stat. 68 (2014) 282–296.
        """
        own = _freedom(self.clusters, self.kurtosis)
        if clusters == math.inf:
            ratio = own / float(special.chdtri(own, level))
        else:
            ratio = float(special.fdtri(_freedom(clusters, self.kurtosis), own, level))
        return max(self.sd * math.sqrt(ratio), self.least)


def pilot_spread(values: ArrayLike, sd: float | None = None, least: float = 0.0) -> PilotSpread:
    """Estimate the standard deviation and kurtosis of values, one per cluster.

    Parameters
    ----------
    values : array_like, shape (K,)
        At least two, not all equal. Their kurtosis is estimated without bias for normal values (G2 + 3).
    sd : float, optional
        Used in place of that of the values, for example for another number of repeats.
    least : float
        See ``PilotSpread``.

    Raises
    ------
    ValueError
        There are fewer than two values, or all are equal.
    """
    x = finite(values)
    k, deviations = len(x), x - x.mean() if len(x) else x
    if k < 2 or not deviations.any():
        raise ValueError(f"a spread needs two values that differ: there {'is' if k == 1 else 'are'} {k}")
    kurtosis = 3.0
    if k > 3:
        excess = float((deviations**4).mean() / (deviations**2).mean() ** 2) - 3
        kurtosis += (k - 1) / ((k - 2) * (k - 3)) * ((k + 1) * excess + 6)
    return PilotSpread(float(x.std(ddof=1)) if sd is None else sd, k, max(kurtosis, _LEAST_KURTOSIS), least)


def assured_for_precision(
    precision: float, spread: PilotSpread, value: float | None = None, assurance: float = 0.8, confidence: float = 0.95
) -> int:
    """The smallest number of clusters with a half-width of at most ``precision`` with probability ``assurance``.

    Parameters
    ----------
    precision : float
    spread : PilotSpread
    value : float, optional
        The accuracy, above 0 and below 1: the interval is that of ``proportions.proportion``. None: that of
        ``half_width``.
    assurance : float
        Probability, over pilots and runs, that this number of clusters is enough.
    confidence : float
        Two-sided level of the interval.
    """
    _check_above_0("the half-width", precision)
    _check_above_0("sd", spread.sd)
    _check_share("assurance", assurance)

    def half(clusters: int) -> float:
        sd = spread.bound(assurance, clusters)
        if value is None:
            return half_width(clusters, sd, confidence)
        tail = (1 + confidence) / 2
        few_clusters = float(special.ndtri(tail) / special.stdtrit(clusters - 1, tail)) ** 2
        low, high = score_limits(value, value * (1 - value) * clusters / sd**2 * few_clusters, confidence)
        return (high - low) / 2

    return _fewest(lambda clusters: half(clusters) <= precision)


def assured_for_difference(
    difference: float, spread: PilotSpread, power: float = 0.8, assurance: float = 0.8, alpha: float = 0.05
) -> int:
    """The smallest number of clusters with this power for a difference, with probability ``assurance`` over pilots."""
    _check_share("assurance", assurance)
    return clusters_for_difference(difference, spread.bound(assurance), power, alpha)


def clusters_without_a_difference(difference: float, confidence: float = 0.95) -> int:
    """How many clusters, none of which differs, rule out that this share of clusters, or more, differs.

    The smallest K for which the limit of Clopper and Pearson for 0 of K, ``1 − (α/2)^(1/K)``, is below the difference.

    Parameters
    ----------
    difference : float
        Above 0 and below 1.
    confidence : float
        Two-sided level of the interval.

    References
    ----------
    J. A. Hanley, A. Lippman-Hand, J. Am. Med. Assoc. 249 (1983) 1743–1745.
    """
    _check_share("the difference", difference)
    _check_share("confidence", confidence)
    return math.floor(math.log((1 - confidence) / 2) / math.log1p(-difference)) + 1


def half_width(clusters: int, sd: float, confidence: float = 0.95) -> float:
    """Half-width of the t interval of a mean: ``t[K−1] · sd / √K``.

    Parameters
    ----------
    clusters : int
        K, two or more.
    sd : float
        Standard deviation of the value of one cluster.
    confidence : float
        Two-sided level.
    """
    _check(sd, clusters)
    _check_share("confidence", confidence)
    return float(special.stdtrit(clusters - 1, (1 + confidence) / 2)) * sd / math.sqrt(clusters)


def clusters_for_precision(precision: float, sd: float, confidence: float = 0.95) -> int:
    """The smallest number of clusters whose mean has a half-width of at most ``precision``; see ``half_width``."""
    _check_above_0("the half-width", precision)
    _check_above_0("sd", sd)
    return _fewest(lambda clusters: half_width(clusters, sd, confidence) <= precision)


def power_of(clusters: int, difference: float, sd: float, alpha: float = 0.05) -> float:
    """Probability that the two-sided t test of K paired differences finds a true mean difference.

    ``P(|T| > t)`` of the noncentral t distribution with K − 1 degrees of freedom and noncentrality
    ``difference · √K / sd``, t being the quantile 1 − α/2 of the central one.

    Parameters
    ----------
    clusters : int
        K, two or more.
    difference : float
        The true mean difference.
    sd : float
        Standard deviation of the difference of one cluster.
    alpha : float
        Two-sided level of the test.

    References
    ----------
    J. Cohen, Statistical Power Analysis for the Behavioral Sciences, 2nd ed. (1988), chapter 2.
    """
    _check(sd, clusters)
    _check_above_0("sd", sd)
    _check_share("alpha", alpha)
    free, shift = clusters - 1, abs(difference) * math.sqrt(clusters) / sd
    limit = float(special.stdtrit(free, 1 - alpha / 2))
    missed = float(special.nctdtr(free, shift, limit))
    # SciPy returns NaN where the probability is near 0; the part below 0 is less than a normal tail beyond the shift
    below = float(special.nctdtr(free, shift, -limit)) if shift < _FAR else 0.0
    return 1 - (0.0 if math.isnan(missed) else missed) + below


def clusters_for_difference(difference: float, sd: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """The smallest number of clusters that finds a difference of this size with this power; see ``power_of``."""
    _check_above_0("the difference", abs(difference))
    _check_power(power, alpha)
    return _fewest(lambda clusters: power_of(clusters, difference, sd, alpha) >= power)


def smallest_difference(clusters: int, sd: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest difference that this number of clusters finds with this power; see ``power_of``."""
    _check(sd, clusters)
    _check_power(power, alpha)
    low, high = 0.0, sd
    while power_of(clusters, high, sd, alpha) < power:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (low, middle) if power_of(clusters, middle, sd, alpha) >= power else (middle, high)
    return high


def _freedom(clusters: float, kurtosis: float) -> float:
    return 2 * clusters / (kurtosis - (clusters - 3) / (clusters - 1))


def _fewest(enough: Callable[[int], bool]) -> int:
    """The smallest number from 2 up that is enough; all numbers above it are enough too."""
    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
        if low > _MOST:
            raise ValueError("more than 10¹² clusters would be needed")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check(sd: float, clusters: int) -> None:
    if clusters < 2:
        raise ValueError(f"at least two clusters are needed, there {'is' if clusters == 1 else 'are'} {clusters}")
    if not 0 <= sd < math.inf:
        raise ValueError(f"sd is {sd}: it must be 0 or more")


def _check_above_0(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is {value}: it must be above 0")


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}: it must be between 0 and 1")


def _check_power(power: float, alpha: float) -> None:
    _check_share("alpha", alpha)
    if not alpha < power < 1:
        raise ValueError(f"power is {power}: it must be between alpha, {alpha}, and 1")
