"""Markers with error bars, and labels next to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.charts.style import INK, PAPER
from evalkit.stats.arrays import Floats
from evalkit.stats.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def values(estimates: Sequence[Estimate]) -> Floats:
    """Return the values of estimates. A missing one is NaN, which is not drawn."""
    return np.array([estimate.value for estimate in estimates], dtype=float)


def error_bars(ax: Axes, at: Floats, estimates: Sequence[Estimate], *, across: bool = False, **look: Any) -> None:
    """Draw markers at the values and bars to the limits; a missing limit leaves out that half of the bar.

    ``across``: the values are along the x axis.
    """
    value = values(estimates)
    low = np.array([estimate.low for estimate in estimates], dtype=float)
    high = np.array([estimate.high for estimate in estimates], dtype=float)
    lengths = np.maximum(np.nan_to_num(np.array([value - low, high - value])), 0)
    drawing = {"markeredgecolor": INK, "markeredgewidth": 0.8, "markersize": 6, "zorder": 4, "capsize": 3, **look}
    colour = drawing.pop("color")
    common: dict[str, Any] = {"linestyle": "none", "color": colour, "ecolor": INK, "elinewidth": 1.3, **drawing}
    if across:
        ax.errorbar(value, at, xerr=lengths, **common)
    else:
        ax.errorbar(at, value, yerr=lengths, **common)


def label_value(ax: Axes, x: float, y: float, text: str, offset: tuple[float, float], ha: str, **look: Any) -> None:
    """Write a value next to its marker, ``offset`` points away from it."""
    box = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
    settings: dict[str, Any] = {"va": "center", "fontsize": "small", "color": INK, "bbox": box, "zorder": 3, **look}
    ax.annotate(text, (x, y), offset, textcoords="offset points", ha=ha, **settings)
