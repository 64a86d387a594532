"""The mean of any values with an interval by clusters, and when to doubt the interval of an accuracy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from evalkit.stats.arrays import Floats
from evalkit.stats.checked_samples import check_level, cluster_numbers, cluster_totals, finite
from evalkit.stats.estimate import Estimate

# from tests/benchmarks/bench_coverage.py: the rarer outcome in clusters, its share, the largest effect of graded
# values, and the smallest number of samples
DOUBTFUL_BELOW, DOUBTFUL_SHARE, DOUBTFUL_GRADED, DOUBTFUL_FROM = 4, 0.1, 0.8, 40


def mean(values: ArrayLike, clusters: ArrayLike | None = None, confidence: float = 0.95) -> Estimate:
    """Mean of any values, with an interval that accounts for clusters.

    ``m ± t[K−1] √v`` with ``v = K/(K − 1) · Σ over clusters (Σ in cluster (y − m))² / n²``, the linearised variance of
    a ratio of sums (Cochran 1977, section 11.9: clusters of unequal size), and t the Student quantile. Without
    clusters each value is its own cluster, and this is the interval of the t-test.

    For a share of right answers use ``proportions.proportion``: near 0 and 1 this interval is too short, because its
    variance comes from few clusters.

    Parameters
    ----------
    values : array_like, shape (n,)
        In any unit; no missing values.
    clusters : array_like, shape (n,), optional
        Label of each value's cluster. None: the values are independent.
    confidence : float
        Two-sided level of the interval.

    Returns
    -------
    Estimate
        In the unit of ``values``. No value without samples; no limits for fewer than two clusters, nor when all
        clusters have the same mean, as the variance cannot be estimated then.

    Raises
    ------
    ValueError
        A value is NaN or infinite, the number of labels is not n, or the confidence is not between 0 and 1.

    References
    ----------
    W. G. Cochran, Sampling Techniques, 3rd ed. (1977).
    """
    y = finite(values)
    check_level(confidence)
    numbers, k = cluster_numbers(clusters, len(y))
    if not k:
        return Estimate(None, None, None, 0, "no samples")
    middle, error, reason = mean_and_error(y, *cluster_totals(y, numbers, k))
    if error is None:
        return Estimate(middle, None, None, len(y), reason)
    half = float(special.stdtrit(k - 1, (1 + confidence) / 2)) * error
    return Estimate(middle, middle - half, middle + half, len(y))


def mean_and_error(values: Floats, sums: Floats, sizes: Floats) -> tuple[float, float | None, str | None]:
    """Mean of the values and its standard error by clusters, or the reason why there is no error; see ``mean``.

    Parameters
    ----------
    values : ndarray, shape (n,)
        At least one.
    sums, sizes : ndarray, shape (K,)
        Of each cluster.
    """
    n, k = len(values), len(sums)
    middle = float(sums.sum()) / n
    if k < 2:
        return middle, None, f"all {n} samples are of one cluster: an interval needs two" if n > 1 else "one sample"
    deviations = sums - middle * sizes
    # sums that differ only in their last bits count as equal
    if np.abs(deviations).max() <= 1e-12 * float(np.abs(values).max()) * float(sizes.max()):
        return middle, None, f"all {k} clusters have the same mean: the variance cannot be estimated"
    return middle, math.sqrt(k / (k - 1) * float(deviations @ deviations)) / n, None


def doubt(n_clusters: int, value: float, graded: float = 0.0, n: int | None = None) -> str | None:
    """Why the interval of ``proportions.proportion`` may be too short here, as a sentence for a report.

    With few clusters that contain the rarer outcome, the estimated correlation within clusters is largely chance. In
    simulation (tests/benchmarks/bench_coverage.py) the 95 % interval contained the truth in 93 to 97 % of runs or
    more, except where the rarer outcome amounted to fewer than about four clusters and less than a tenth of them, with
    40 turns or more: there, and only where the turns of a cluster were correlated, in as few as 90 % for clusters of 4
    turns, and 84 % for 20. This does not happen when the rarer outcome never occurs, since each cluster then counts as
    one sample, nor with clusters of one turn.

    Parameters
    ----------
    n_clusters : int
        Number of clusters, such as conversations, of more than one sample each.
    value : float
        The observed share.
    graded : float
        By what share single values vary less than values of 0 and 1 with this mean; above 0.8 no outcome is rare.
    n : int, optional
        Number of samples: below 40 the interval is always wide enough. None: there are many.

    Returns
    -------
    str or None
        None: there is no reason to doubt it.
    """
    if graded > DOUBTFUL_GRADED or (n is not None and n < DOUBTFUL_FROM):
        return None
    rare = n_clusters * min(value, 1 - value)
    # 1 - 0.95 is slightly more than 0.05 in binary
    if rare <= 1e-9 * n_clusters or rare >= min(DOUBTFUL_BELOW, DOUBTFUL_SHARE * n_clusters) - 1e-9 * n_clusters:
        return None
    rarer = "wrong" if value > 0.5 else "right"
    return (
        f"The {rarer} answers amount to {rare:.2g} of {n_clusters:,} conversations, too few to show whether the turns "
        "of a conversation are correlated. Where they are, a 95 % interval contained the truth in as few as 84 % of "
        "simulated runs; where they are not, it keeps its level. Run more conversations."
    )
