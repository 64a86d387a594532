"""Several tests and several intervals, corrected for their number; and the p of an interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special

from evalkit.stats.arrays import Floats
from evalkit.stats.checked_samples import check_level
from evalkit.stats.estimate import Estimate


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Correct p values so that they control the probability of any wrong claim in the whole family.

    Step-down method of Holm (1979): the i-th smallest of m becomes ``max over j ≤ i of min(1, (m − j + 1) · p(j))``.
    It holds however the tests depend on each other.

    Parameters
    ----------
    ps : sequence of float or None
        From 0 to 1. None: there was no test, and it does not count.

    Returns
    -------
    list of float or None
        In the order of ``ps``; None where it was None.

    Raises
    ------
    ValueError
        A p value is not from 0 to 1.

    References
    ----------
    S. Holm, Scand. J. Stat. 6 (1979) 65–70.
    """
    known = _known(ps)
    return _in_place(ps, known, np.maximum.accumulate(np.sort(known) * np.arange(len(known), 0, -1)))


def benjamini_hochberg(ps: Sequence[float | None]) -> list[float | None]:
    """Correct p values so that of all claims made below q, a share of at most q is wrong on average.

    Step-up method of Benjamini and Hochberg (1995): the i-th smallest of m becomes
    ``min over j ≥ i of min(1, m · p(j) / j)``. It holds for tests that are independent or positively correlated.

    Parameters
    ----------
    ps : sequence of float or None
        From 0 to 1. None: there was no test, and it does not count.

    Returns
    -------
    list of float or None
        In the order of ``ps``; None where it was None.

    Raises
    ------
    ValueError
        A p value is not from 0 to 1.

    References
    ----------
    Y. Benjamini, Y. Hochberg, J. R. Stat. Soc. B 57 (1995) 289–300.
    """
    known = _known(ps)
    steps = np.sort(known) * len(known) / np.arange(1, len(known) + 1)
    return _in_place(ps, known, np.minimum.accumulate(steps[::-1])[::-1])


def bonferroni(confidence: float, count: int) -> float:
    """The confidence of each of several intervals that together hold their true values with ``confidence``.

    ``1 − (1 − confidence) / count`` (Dunn 1961). It holds however the intervals depend on each other.

    Raises
    ------
    ValueError
        The confidence is not between 0 and 1, or the count is below 1.

    References
    ----------
    O. J. Dunn, J. Am. Stat. Assoc. 56 (1961) 52–64.
    """
    check_level(confidence)
    if count < 1:
        raise ValueError(f"{count} intervals: there must be one or more")
    return 1 - (1 - confidence) / count


def p_of_interval(difference: Estimate, confidence: float = 0.95, clusters: int | None = None) -> float | None:
    """Two-sided p of no difference, from a difference and its interval, as Altman and Bland (2011) compute it.

    The half of the interval towards 0 is as long as so many standard errors as its level says, and p is that of a
    normal distribution with this error, or of Student's t for few clusters. So p is below 1 − confidence exactly where
    the interval excludes 0.

    Parameters
    ----------
    difference : Estimate
    confidence : float
        Level of its interval.
    clusters : int, optional
        Number of clusters behind the interval, 2 or more: p is that of Student's t with one degree of freedom less. A
        correction for many tests needs very small p, for which the normal distribution of an error that comes from ten
        clusters has too thin tails. None: normal.

    Returns
    -------
    float or None
        None: there is no value, or no limit on the side of 0.

    References
    ----------
    D. G. Altman, J. M. Bland, BMJ 343 (2011) d2304.
    """
    check_level(confidence)
    value = difference.value
    limit = difference.low if value is not None and value > 0 else difference.high
    if value is None or limit is None:
        return None
    half = abs(value - limit)
    if not half:
        return 0.0 if value else 1.0
    errors, tail = abs(value) / half, (1 + confidence) / 2
    if clusters is None:
        return float(2 * special.ndtr(-errors * special.ndtri(tail)))
    return float(2 * special.stdtr(clusters - 1, -errors * special.stdtrit(clusters - 1, tail)))


def _known(ps: Sequence[float | None]) -> Floats:
    known = np.array([p for p in ps if p is not None], dtype=np.float64)
    if not ((known >= 0) & (known <= 1)).all():
        raise ValueError("a p value is not from 0 to 1: pass None where there was no test")
    return known


def _in_place(ps: Sequence[float | None], known: Floats, corrected: Floats) -> list[float | None]:
    """The corrected values, given in ascending order, in the places of their p values."""
    back = np.empty_like(corrected)
    back[np.argsort(known, kind="stable")] = np.minimum(corrected, 1.0)
    values = iter(back.tolist())
    return [None if p is None else next(values) for p in ps]
