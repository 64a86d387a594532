"""Several tests at once: p values corrected for how many there are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evalkit.stats.arrays import Floats


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """P values corrected so that one wrong claim in the whole family is as rare as each p says.

    Step-down method of Holm (1979): the i-th smallest of m becomes ``max over j ≤ i of min(1, (m − j + 1) · p(j))``.
    It holds whatever the tests have to do with each other.

    Parameters
    ----------
    ps : sequence of float or None
        From 0 to 1. None: there was no test, and none is counted.

    Returns
    -------
    list of float or None
        In the order of ``ps``; None where it was None.

    Raises
    ------
    ValueError
        A p that is no number from 0 to 1.

    References
    ----------
    S. Holm, Scand. J. Stat. 6 (1979) 65–70.
    """
    known = _known(ps)
    return _in_place(ps, known, np.maximum.accumulate(np.sort(known) * np.arange(len(known), 0, -1)))


def benjamini_hochberg(ps: Sequence[float | None]) -> list[float | None]:
    """P values corrected so that of all claims made below q, on average no larger share than q is wrong.

    Step-up method of Benjamini and Hochberg (1995): the i-th smallest of m becomes
    ``min over j ≥ i of min(1, m · p(j) / j)``. It holds for tests that are independent or rise and fall together.

    Parameters
    ----------
    ps : sequence of float or None
        From 0 to 1. None: there was no test, and none is counted.

    Returns
    -------
    list of float or None
        In the order of ``ps``; None where it was None.

    Raises
    ------
    ValueError
        A p that is no number from 0 to 1.

    References
    ----------
    Y. Benjamini, Y. Hochberg, J. R. Stat. Soc. B 57 (1995) 289–300.
    """
    known = _known(ps)
    steps = np.sort(known) * len(known) / np.arange(1, len(known) + 1)
    return _in_place(ps, known, np.minimum.accumulate(steps[::-1])[::-1])


def _known(ps: Sequence[float | None]) -> Floats:
    known = np.array([p for p in ps if p is not None], dtype=np.float64)
    if not ((known >= 0) & (known <= 1)).all():
        raise ValueError("a p value is no number from 0 to 1: give None where there was no test")
    return known


def _in_place(ps: Sequence[float | None], known: Floats, corrected: Floats) -> list[float | None]:
    """The corrected values, given in rising order, where the p values stood."""
    back = np.empty_like(corrected)
    back[np.argsort(known, kind="stable")] = np.minimum(corrected, 1.0)
    values = iter(back.tolist())
    return [None if p is None else next(values) for p in ps]
