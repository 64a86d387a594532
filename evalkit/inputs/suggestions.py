"""Known names similar to a mistyped one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST = 60  # characters that are compared


def similar_names(name: str, known: Iterable[str], *, most: int = 3, cutoff: float = 0.6) -> list[str]:
    """The known names most similar to a mistyped one, best first.

    Parameters
    ----------
    name : str
    known : iterable of str
    most : int
        How many names are returned at most.
    cutoff : float
        The least similarity, from 0 to 1, as ``difflib.SequenceMatcher.ratio`` computes it.

    Returns
    -------
    list of str
        Empty if no name is similar.
    """
    return get_close_matches(name[:_LONGEST], list(known), n=most, cutoff=cutoff)


def nearest_name(name: str, known: Iterable[str], cutoff: float = 0.75) -> str | None:
    """The known name most similar to a mistyped one, for "did you mean"; None if no name is similar."""
    return next(iter(similar_names(name, known, most=1, cutoff=cutoff)), None)
