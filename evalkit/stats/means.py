"""Further intervals: of a count, exact or by score; of the mean of any values, by clusters. Where to doubt one."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from evalkit.stats.arrays import Floats
from evalkit.stats.checked_samples import check_level, finite, numbered, totals
from evalkit.stats.estimate import Estimate

# by tests/benchmarks/bench_coverage.py: clusters' worth of the rarer outcome, its share, how graded values may be, and
# how many there must be
DOUBTFUL_BELOW, DOUBTFUL_SHARE, DOUBTFUL_GRADED, DOUBTFUL_FROM = 4, 0.1, 0.8, 40


def mean(values: ArrayLike, clusters: ArrayLike | None = None, confidence: float = 0.95) -> Estimate:
    """Mean of any values, with an interval that knows of clusters.

    ``m ± t[K−1] √v`` with ``v = K/(K − 1) · Σ over clusters (Σ in cluster (y − m))² / n²``, the linearised variance of
    a ratio of sums (Cochran 1977, section 11.9: clusters of unequal size), and t the Student quantile. Without
    clusters each value is its own, and this is the interval of the t-test.

    For a share of right answers ``stats.proportion`` is better: near 0 and 1 this interval is too short, because few
    clusters tell its variance.

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
        clusters have the same mean, which tells no variance.

    Raises
    ------
    ValueError
        NaN or infinity, labels of another length, or the level is none.

    References
    ----------
    W. G. Cochran, Sampling Techniques, 3rd ed. (1977).
    """
    y = finite(values)
    check_level(confidence)
    numbers, k = numbered(clusters, len(y))
    if not k:
        return Estimate(None, None, None, 0, "no samples")
    middle, error, reason = mean_and_error(y, *totals(y, numbers, k))
    if error is None:
        return Estimate(middle, None, None, len(y), reason)
    half = float(special.stdtrit(k - 1, (1 + confidence) / 2)) * error
    return Estimate(middle, middle - half, middle + half, len(y))


def mean_and_error(values: Floats, sums: Floats, sizes: Floats) -> tuple[float, float | None, str | None]:
    """Mean of the values and its standard error by clusters, or why there is none; see ``mean``.

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
        return middle, None, f"all {n} samples are of one cluster: no interval can be told" if n > 1 else "one sample"
    apart = sums - middle * sizes
    # sums that differ in their last bits do not differ
    if np.abs(apart).max() <= 1e-12 * float(np.abs(values).max()) * float(sizes.max()):
        return middle, None, f"all {k} clusters have the same mean: no variance can be told"
    return middle, math.sqrt(k / (k - 1) * float(apart @ apart)) / n, None


def doubt(n_clusters: int, value: float, graded: float = 0.0, n: int | None = None) -> str | None:
    """Why the interval of ``stats.proportion`` may be too short here, in a sentence for the reader of a report.

    With few clusters that hold the rarer outcome, chance tells how much the turns of a cluster resemble each other. In
    simulation (tests/benchmarks/bench_coverage.py) the 95 % interval held the truth in 93 to 97 % of runs or more,
    except where the rarer outcome was worth fewer than about four clusters and less than a tenth of them, of 40 turns
    or more: there, and only where the turns of a cluster went alike, down to 90 % for clusters of 4 turns, and to 84 %
    for 20. Not where it never came: then each cluster counts as one sample. Clusters of one turn are no cause for it.

    Parameters
    ----------
    n_clusters : int
        Clusters, such as conversations, of more than one sample each.
    value : float
        The share found.
    graded : float
        By which share single values vary less than right and wrong with this mean; above 0.8 there is no rare outcome.
    n : int, optional
        Samples in all: below 40 the interval is wide enough for any of them. None: there are many.

    Returns
    -------
    str or None
        None: no doubt.
    """
    if graded > DOUBTFUL_GRADED or (n is not None and n < DOUBTFUL_FROM):
        return None
    worth = n_clusters * min(value, 1 - value)
    # 1 - 0.95 is a little more than 0.05 in binary
    if worth <= 1e-9 * n_clusters or worth >= min(DOUBTFUL_BELOW, DOUBTFUL_SHARE * n_clusters) - 1e-9 * n_clusters:
        return None
    rarer = "wrong" if value > 0.5 else "right"
    return (
        f"The {rarer} answers are worth {worth:.2g} of {n_clusters:,} conversations. So few do not show whether the "
        "turns of a conversation go alike. Where they do, an interval of 95 % held the truth in as few as 84 % of "
        "simulated runs; where they do not, it holds what it says. Ask more conversations."
    )
