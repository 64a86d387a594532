"""Checks of the arguments that statistics share: samples become arrays, cluster labels become numbers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from evalkit.stats.arrays import Floats, Whole


def finite(values: ArrayLike) -> Floats:
    """The values as one array of floats.

    Raises
    ------
    ValueError
        There is more than one dimension, NaN or infinity.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1:
        raise ValueError(f"samples must be a one-dimensional array, not of shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(
            "samples contain NaN or infinity: leave out missing values, and pass time-outs as censored values"
        )
    return x


def pairs(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    """Two samples of equal length, paired by position.

    Raises
    ------
    ValueError
        The lengths differ, or there is NaN or infinity.
    """
    x, y = finite(first), finite(second)
    if len(x) != len(y):
        raise ValueError(f"there are {len(x)} first and {len(y)} second values: pairs need equally many of both")
    return x, y


def cluster_numbers(clusters: ArrayLike | None, n: int) -> tuple[Whole, int]:
    """The cluster of each of n values as a number from 0, and how many clusters there are.

    Parameters
    ----------
    clusters : array_like, shape (n,), optional
        Sortable labels of any type, in any order. None: each value is a cluster of its own.

    Raises
    ------
    ValueError
        The number of labels is not n.
    """
    if clusters is None:
        return np.arange(n), n
    labels = np.asarray(clusters)
    if len(labels) != n:
        raise ValueError(f"{len(labels)} cluster labels were given for {n} values")
    if n and labels.dtype.kind in "iu" and (labels[1:] >= labels[:-1]).all():
        # in order, as in a run file: sorting is not needed
        steps = np.concatenate([[0], np.cumsum(labels[1:] != labels[:-1])])
        return steps, int(steps[-1]) + 1
    names, numbers = np.unique(labels, return_inverse=True)
    return numbers, len(names)


def cluster_totals(values: Floats, numbers: Whole, count: int) -> tuple[Floats, Floats]:
    """Sum and size of each of ``count`` clusters, which are numbered by ``cluster_numbers``."""
    sums = np.bincount(numbers, values, count).astype(np.float64)
    return sums, np.bincount(numbers, minlength=count).astype(np.float64)


def samples_needed(q: float) -> int:
    """How many samples the quantile q needs: ``1 / min(q, 1 − q)``, except for the median, which needs one."""
    # 1 - 0.99 is slightly more than 0.01 in binary
    least = math.ceil(1 / min(q, 1 - q) - 1e-9)
    return 1 if least == 2 else least


def check_level(confidence: float) -> None:
    """Raise ``ValueError`` unless the confidence is between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence!r}: it must be between 0 and 1")


def check_q(q: float) -> None:
    """Raise ``ValueError`` unless q is between 0 and 1."""
    if not 0 < q < 1:
        raise ValueError(f"q is {q!r}: it must be between 0 and 1")
