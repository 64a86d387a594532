"""Charts on one line of characters: a bar per value, or an interval; and the characters a terminal can show."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

_COERCED = {"C.UTF-8", "C.utf8", "UTF-8"}  # what Python makes of the C locale (PEP 538)


@dataclass(frozen=True, slots=True)
class Glyphs:
    """Characters to draw with.

    Parameters
    ----------
    levels : str
        Bars from the lowest to the highest.
    sure, below, above : str
        A bar up to the lower limit of its interval, from there to the value, and from there to the upper limit.
    mark : str
        Points up at a value.
    """

    levels: str
    sure: str
    below: str
    above: str
    mark: str

    def sparkline(self, values: Sequence[float | None]) -> str:
        """A bar per value, from 0 to the greatest; a blank for a missing, NaN or infinite value."""
        known = [value for value in values if value is not None and math.isfinite(value)]
        most, last = max(known, default=0.0) or 1.0, len(self.levels) - 1
        return "".join(
            " " if value is None or not math.isfinite(value) else self.levels[round(max(value, 0.0) / most * last)]
            for value in values
        )

    def counts(self, values: Sequence[float]) -> str:
        """A bar per count; a blank for 0 only."""
        most, last = max(values, default=0) or 1, len(self.levels) - 1
        return "".join(self.levels[max(round(value / most * last), 1)] if value > 0 else " " for value in values)

    def interval(self, value: float | None, low: float | None, high: float | None, width: int) -> str:
        """A share and its interval as a bar, with ``width`` cells for 0 to 1; blank when the share is missing."""
        if value is None:
            return " " * width
        lower, middle, upper = (
            round(min(max(share, 0.0), 1.0) * width) for share in (value if low is None else low, value, high or value)
        )
        return (self.sure * lower + self.below * (middle - lower) + self.above * (upper - middle)).ljust(width)


BLOCKS = Glyphs("▁▂▃▄▅▆▇█", "█", "▓", "░", "▲")
ASCII = Glyphs("_.:-=+*#", "#", "=", "-", "^")


def glyphs(stream: TextIO | None = None) -> Glyphs:
    """Blocks where both the locale and the stream (default: standard output) use UTF-8; else ASCII."""
    encoding = getattr(stream or sys.stdout, "encoding", None) or ""
    if encoding.lower().replace("-", "") != "utf8":
        return ASCII
    return BLOCKS if sys.platform == "win32" or _is_utf8(os.environ, coerced=bool(sys.flags.utf8_mode)) else ASCII


def _is_utf8(variables: Mapping[str, str], *, coerced: bool) -> bool:
    """Whether the locale of these variables uses UTF-8; Python may have replaced the C locale by another one."""
    name = variables.get("LC_ALL") or variables.get("LC_CTYPE") or ""
    if not name or (coerced and name in _COERCED and not variables.get("LC_ALL")):
        name = variables.get("LANG", "")
    return "UTF8" in name.upper().replace("-", "")
