"""The mean of labels where only a few values have one, and a judge's prediction is known for all of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from evalkit.stats.arrays import Floats, Whole
from evalkit.stats.checked_samples import check_level, cluster_numbers, finite, pairs
from evalkit.stats.estimate import Estimate
from evalkit.stats.proportions import score_limits

PSEUDO_CLUSTERS = 0.25  # of each kind of mistake, in the variance; tests/benchmarks/bench_judges.py


class _Part(NamedTuple):
    """Values of the labelled or of the other answers around their mean, summed by cluster."""

    deviations: Floats  # (clusters of both parts,), divided by the number of values
    pseudo_variance: float


def prediction_powered_mean(
    labels: ArrayLike,
    predictions: ArrayLike,
    other_predictions: ArrayLike,
    clusters: ArrayLike | None = None,
    other_clusters: ArrayLike | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """Mean of values between 0 and 1 of which some are labelled and all are predicted, such as by a judge.

    The estimate is PPI++ of Angelopoulos, Duchi and Zrnic (2023): ``λ · mean(other predictions) + mean(labels − λ ·
    predictions)``. The weight λ from 0 to 1 is that of the least variance, ``cov(labels, predictions) / ((1 + n/N) ·
    var(predictions))``, so predictions that tell nothing about the labels are ignored, and the result is then the mean
    of the labels. It needs no model of the mistakes of the judge. The labelled values must be a random sample of all.

    The variance is that of both means, over clusters: a cluster with values in both adds up in both. Next to the real
    clusters, a quarter of a cluster has each of the two largest mistakes, since few labels may contain none although
    the judge makes some. The interval is the score interval of Wilson (1927) for as many independent values as have
    this variance, as in ``proportions.proportion``, with Student's quantiles for few clusters. In simulations with 50
    to 400 labels, sensitivities and specificities from 0.6 to 0.95, it contains the true mean in 92.4 % to 97.0 %.

    Parameters
    ----------
    labels, predictions : array_like, shape (n,)
        Of the labelled values, 0 to 1.
    other_predictions : array_like, shape (N,)
        Of the values without a label, 0 to 1.
    clusters : array_like, shape (n,), optional
        Cluster of each labelled value. None: all values are independent; then ``other_clusters`` is None too.
    other_clusters : array_like, shape (N,), optional
    confidence : float
        Two-sided level of the interval.

    Returns
    -------
    Estimate
        ``n`` is the number of all values, n + N. No value without labels; no limits when all labelled values are of one
        cluster.

    Raises
    ------
    ValueError
        A value is NaN or outside 0 to 1, the lengths differ, or ``confidence`` is not between 0 and 1.

    References
    ----------
    A. N. Angelopoulos, S. Bates, C. Fannjiang, M. I. Jordan, T. Zrnic, Science 382 (2023) 669–674.
    A. N. Angelopoulos, J. C. Duchi, T. Zrnic, PPI++: Efficient Prediction-Powered Inference (2023), arXiv:2311.01453.

    Examples
    --------
    >>> prediction_powered_mean([1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0, 1, 1, 1, 1]).value  # doctest: +ELLIPSIS
    0.55...
    """
    check_level(confidence)
    y, f = pairs(labels, predictions)
    others = finite(other_predictions)
    if any(len(values) and not (values.min() >= 0 and values.max() <= 1) for values in (y, f, others)):
        raise ValueError("labels and predictions must be from 0 to 1")
    if (clusters is None) != (other_clusters is None):
        raise ValueError("clusters are needed for both the labelled and the other values, or for neither")
    n = len(y) + len(others)
    if not len(y):
        return Estimate(None, None, None, n, "no answer is labelled")
    weight = _weight(y, f, others)
    corrected = float(y.mean() - weight * (f.mean() - (others.mean() if len(others) else 0.0)))
    value = min(max(corrected, 0.0), 1.0)
    numbers, count = _numbered(clusters, other_clusters, len(y), len(others))
    labelled = _different(numbers[: len(y)])
    if labelled < 2:
        return Estimate(value, None, None, n, "all labelled answers are of one cluster: an interval needs two")
    parts = [_part(y - weight * f, numbers[: len(y)], count, (-weight, 1.0))]
    if len(others):
        parts.append(_part(weight * others, numbers[len(y) :], count, (0.0, weight)))
    deviations = np.sum([part.deviations for part in parts], axis=0)
    variance = float((deviations**2).sum()) + sum(part.pseudo_variance for part in parts)
    return estimate_of(value, variance, labelled, n, len(y), labelled, confidence)


def estimate_of(
    value: float, variance: float, effective: float, n: int, labels: int, clusters: int, confidence: float
) -> Estimate:
    """The value with its score interval, for as many independent values as have this variance.

    Parameters
    ----------
    value, variance : float
        The mean, and its variance over clusters with the pseudo clusters.
    effective : float
        How many clusters of equal weight tell as much.
    n, labels, clusters : int
        Number of all values, of the labelled ones, and of their clusters.
    confidence : float
    """
    # the same quarters of clusters, or a value of 0 or 1 would have no variance
    p = (effective * value + PSEUDO_CLUSTERS) / (effective + 2 * PSEUDO_CLUSTERS)
    tail = (1 + confidence) / 2
    of_values, of_clusters = (float(special.stdtrit(size - 1, tail)) for size in (labels, clusters))
    independent = min(p * (1 - p) / variance, n) * (of_values / of_clusters) ** 2
    return Estimate(value, *score_limits(value, independent, confidence), n)


def _weight(y: Floats, f: Floats, others: Floats) -> float:
    """The weight λ of the predictions."""
    everything = np.concatenate([f, others])
    variance = float(everything.var(ddof=1)) if len(everything) > 1 else 0.0
    if not len(others) or not variance:
        return 0.0
    covariance = float(((y - y.mean()) * (f - f.mean())).mean())
    return min(max(covariance / ((1 + len(y) / len(others)) * variance), 0.0), 1.0)


def _numbered(clusters: ArrayLike | None, other_clusters: ArrayLike | None, n: int, others: int) -> tuple[Whole, int]:
    """The cluster of each value as a number, labelled values first, and how many clusters there are."""
    if clusters is None or other_clusters is None:
        return cluster_numbers(None, n + others)
    first, second = np.asarray(clusters), np.asarray(other_clusters)
    if (len(first), len(second)) != (n, others):
        raise ValueError(f"{len(first)} and {len(second)} cluster labels were given for {n} and {others} values")
    return cluster_numbers(np.concatenate([first, second]), n + others)


def _different(numbers: Whole) -> int:
    return int(np.count_nonzero(np.bincount(numbers)))


def _part(values: Floats, numbers: Whole, count: int, extremes: tuple[float, float]) -> _Part:
    """The deviations of clusters from the mean, and the variance that the quarters of clusters add."""
    known, added = _different(numbers), PSEUDO_CLUSTERS * len(extremes)
    clusters, size = known + added, len(values) / known  # values in a pseudo cluster
    total = len(values) + added * size
    mean = float(values.sum() + PSEUDO_CLUSTERS * size * sum(extremes)) / total
    few = clusters / (clusters - 1)
    pseudo = sum((size * (value - mean)) ** 2 for value in extremes) * PSEUDO_CLUSTERS * few / total**2
    return _Part(np.bincount(numbers, values - mean, count) * few**0.5 / total, pseudo)
