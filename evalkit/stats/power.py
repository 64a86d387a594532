"""How many conversations a wanted precision or difference takes, and what so many can tell.

A conversation, asked once or several times, gives one value: its share in the accuracy, or in the difference of two
accuracies. Conversations are unrelated, and the mean of their values is judged by Student's t. All is in the unit of
the values, so that 0.03 is three points of accuracy.

A pilot knows the variance roughly, and a run shows another one again. A plan that takes the pilot's for certain is too
small in half of the cases; those of ``assured_for_precision`` and ``assured_for_difference`` are large enough in a
stated share of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from evalkit.stats.checked_samples import finite
from evalkit.stats.proportions import score_limits
from evalkit.stats.repeats import variance_split

_MOST = 10**12
_LEAST_KURTOSIS = 1.2  # 1 is that of two values alike in number, whose variance would be known for certain
_FAR = 7.0  # standard deviations: a millionth of a millionth of a normal distribution lies beyond


@dataclass(frozen=True, slots=True)
class VarianceSplit:
    """How values vary between items, and between the repeats of one item.

    Parameters
    ----------
    total : float
        Variance of one repeat of an item: the sum of both.
    between, within : float or None
        Between items, and between repeats of one. None: no item has repeats, and they cannot be told apart.
    items : int
    """

    total: float
    between: float | None
    within: float | None
    items: int

    def sd(self, repeats: int) -> float | None:
        """Standard deviation of an item's mean over so many repeats; None: what repeats save is not known."""
        if repeats == 1:
            return math.sqrt(self.total)
        if self.between is None or self.within is None:
            return None
        return math.sqrt(self.between + self.within / repeats)


def split_variance(values: ArrayLike, items: ArrayLike) -> VarianceSplit:
    """Split the variance of values as ``repeats.variance_split`` does, with a variance between items of at least 0.

    Parameters
    ----------
    values : array_like, shape (N,)
        No missing values.
    items : array_like, shape (N,)
        Label of each value's item.

    Raises
    ------
    ValueError
        Fewer than two items.
    """
    found = variance_split(values, items)
    if found.items < 2:
        raise ValueError(f"a variance between items needs two of them at least, and there are {found.items}")
    if found.between is None or found.within is None:
        return VarianceSplit(float(np.var(np.asarray(values, dtype=np.float64), ddof=1)), None, None, found.items)
    between = max(found.between, 0.0)
    return VarianceSplit(between + found.within, between, found.within, found.items)


@dataclass(frozen=True, slots=True)
class Spread:
    """What a pilot knows of the standard deviation of one cluster's value.

    Parameters
    ----------
    sd : float
        The pilot's.
    clusters : int
        Clusters it stands on, two or more.
    kurtosis : float
        Fourth moment over squared variance, 3 for normal values.
    least : float
        A standard deviation below which no run shows its values to lie: that of independent turns.
    """

    sd: float
    clusters: int
    kurtosis: float = 3.0
    least: float = 0.0

    def bound(self, level: float, clusters: float = math.inf) -> float:
        """The standard deviation that a run of so many clusters shows at most, with probability ``level``.

        The variances of two samples have a ratio that is F distributed, with as many degrees of freedom as their
        kurtosis leaves them: ``2 K / (κ − (K − 3)/(K − 1))`` of K clusters, K − 1 if they are normal (O'Neill 2014).
        Infinitely many clusters: the true standard deviation, by chi-square (Browne 1995).

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


def spread_of(values: ArrayLike, sd: float | None = None, least: float = 0.0) -> Spread:
    """The spread of values, one a cluster.

    Parameters
    ----------
    values : array_like, shape (K,)
        At least two, not all of them equal. Their kurtosis is the unbiased one for normal values (G2 + 3).
    sd : float, optional
        Another standard deviation than theirs, such as for another number of repeats.
    least : float
        See ``Spread``.

    Raises
    ------
    ValueError
        Fewer than two values, or all are equal.
    """
    x = finite(values)
    k, apart = len(x), x - x.mean() if len(x) else x
    if k < 2 or not apart.any():
        raise ValueError(f"{k} values have no spread: two are needed that differ")
    kurtosis = 3.0
    if k > 3:
        excess = float((apart**4).mean() / (apart**2).mean() ** 2) - 3
        kurtosis += (k - 1) / ((k - 2) * (k - 3)) * ((k + 1) * excess + 6)
    return Spread(float(x.std(ddof=1)) if sd is None else sd, k, max(kurtosis, _LEAST_KURTOSIS), least)


def assured_for_precision(
    wanted: float, spread: Spread, value: float | None = None, assurance: float = 0.8, confidence: float = 0.95
) -> int:
    """The fewest clusters whose interval has a half-width of at most ``wanted`` with probability ``assurance``.

    Parameters
    ----------
    wanted : float
    spread : Spread
    value : float, optional
        The accuracy, above 0 and below 1: the interval is that of ``stats.proportion``. None: that of ``half_width``.
    assurance : float
        Probability, over pilots and runs, that so many clusters are enough.
    confidence : float
        Two-sided level of the interval.
    """
    _check_above_0("the half-width", wanted)
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

    return _fewest(lambda clusters: half(clusters) <= wanted)


def assured_for_difference(
    difference: float, spread: Spread, power: float = 0.8, assurance: float = 0.8, alpha: float = 0.05
) -> int:
    """The fewest clusters that have this power to find a difference, with probability ``assurance`` over pilots."""
    _check_share("assurance", assurance)
    return clusters_for_difference(difference, spread.bound(assurance), power, alpha)


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


def clusters_for_precision(wanted: float, sd: float, confidence: float = 0.95) -> int:
    """The fewest clusters whose mean has a half-width of at most ``wanted``; see ``half_width``."""
    _check_above_0("the half-width", wanted)
    _check_above_0("sd", sd)
    return _fewest(lambda clusters: half_width(clusters, sd, confidence) <= wanted)


def power_of(clusters: int, difference: float, sd: float, alpha: float = 0.05) -> float:
    """Probability that the two-sided t test of K paired differences finds a true mean difference.

    ``P(|T| > t)`` of the noncentral t distribution with K − 1 degrees of freedom and noncentrality
    ``difference · √K / sd``, t being the quantile 1 − α/2 of the central one.

    Parameters
    ----------
    clusters : int
        K, two or more.
    difference : float
        The true one.
    sd : float
        Standard deviation of one cluster's difference.
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
    # SciPy has NaN where next to nothing is left; and below 0 lies less than a normal value beyond the shift
    below = float(special.nctdtr(free, shift, -limit)) if shift < _FAR else 0.0
    return 1 - (0.0 if math.isnan(missed) else missed) + below


def clusters_for_difference(difference: float, sd: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """The fewest clusters that find a difference of this size with this power; see ``power_of``."""
    _check_above_0("the difference", abs(difference))
    _check_power(power, alpha)
    return _fewest(lambda clusters: power_of(clusters, difference, sd, alpha) >= power)


def smallest_difference(clusters: int, sd: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest difference that so many clusters find with this power; see ``power_of``."""
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
    """The smallest number from 2 up that is enough, all above it being enough too."""
    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
        if low > _MOST:
            raise ValueError("more than a million million clusters would be needed")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check(sd: float, clusters: int) -> None:
    if clusters < 2:
        raise ValueError(f"two clusters are needed at least, and there are {clusters}")
    if not 0 <= sd < math.inf:
        raise ValueError(f"sd is {sd}: it must be a number from 0 up")


def _check_above_0(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is {value}: it must be above 0")


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}: it must lie between 0 and 1")


def _check_power(power: float, alpha: float) -> None:
    _check_share("alpha", alpha)
    if not alpha < power < 1:
        raise ValueError(f"power is {power}: it must lie between alpha, {alpha}, and 1")
