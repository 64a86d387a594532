"""Suggestions for mistyped names."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST = 60  # characters that are compared


def near(key: str, known: Iterable[str], cutoff: float = 0.75) -> str | None:
    """The known key most similar to this one; None: none is similar enough."""
    return next(iter(get_close_matches(key[:_LONGEST], list(known), n=1, cutoff=cutoff)), None)
