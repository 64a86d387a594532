"""Groups of things that are not shown to differ, from tests of all pairs."""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence


def groups_of_equals(count: int, different: Iterable[tuple[int, int]]) -> list[tuple[int, ...]]:
    """The largest groups in which no pair is different: the letters of a compact letter display.

    Insert and absorb (Piepho 2004): all are one group; for each pair that differs, a group with both becomes two, each
    without one of them, and groups inside other groups are left out. Two things share a group exactly where they do not
    differ.

    Parameters
    ----------
    count : int
        Number of things, numbered from 0.
    different : iterable of (int, int)
        Pairs that a test has shown to differ.

    Returns
    -------
    list of tuple of int
        In ascending order, each in ascending order.

    References
    ----------
    H.-P. Piepho, J. Comput. Graph. Stat. 13 (2004) 456–466.
    """
    groups = [frozenset(range(count))] if count else []
    for pair in different:
        split = [group - {one} for group in groups if group.issuperset(pair) for one in pair]
        kept = [group for group in groups if not group.issuperset(pair)]
        groups = list(dict.fromkeys([*kept, *split]))
        groups = [group for group in groups if not any(group < other for other in groups)]
    return sorted(tuple(sorted(group)) for group in groups)


def letters_of(number: int, groups: Sequence[tuple[int, ...]]) -> str:
    """The letters of the groups that hold this number: a to z, then aa, ab and so on."""
    return "".join(_letter(place) for place, group in enumerate(groups) if number in group)


def _letter(number: int) -> str:
    rest, last = divmod(number, len(string.ascii_lowercase))
    return (_letter(rest - 1) if rest else "") + string.ascii_lowercase[last]
