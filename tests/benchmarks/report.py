"""What a benchmark prints: its table in Markdown, and on the way a word on where it is."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(map(str, cells))} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def machine() -> str:
    """How busy it is, for the line above a table."""
    return f"load of the machine at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def say(text: str) -> None:
    """For the eyes of who waits; not part of the table."""
    print(text, file=sys.stderr, flush=True)


def met(good: bool) -> str:
    return "yes" if good else "**no**"


def quantile(values: Sequence[float], share: float) -> float:
    """The nearest rank; NaN of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)] if ordered else math.nan
