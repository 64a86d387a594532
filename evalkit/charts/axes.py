"""Axes that several charts share: shares in percent, times in ms, turn indices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.wording.numbers import whole_percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_LABELLED_TURNS = 12


def percent_axis(axis: Any) -> None:
    """Scale an axis from 0 to 100 %."""
    axis.set_ticks(np.linspace(0, 1, 6))
    axis.set_major_formatter(lambda value, _: whole_percent(value))


def time_scale(ax: Axes, low: float, high: float, *, axis: str = "y", room: float = 1.8) -> bool:
    """Scale an axis of times in ms: from 0, or logarithmic if they span more than a factor of 20.

    Parameters
    ----------
    low, high : float
        The smallest time above 0, and the largest.
    room : float
        The factor by which a logarithmic axis extends beyond the largest time.

    Returns
    -------
    bool
        True if the axis is logarithmic.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    scaled, set_limits = (ax.yaxis, ax.set_ylim) if axis == "y" else (ax.xaxis, ax.set_xlim)
    logarithmic = high > 20 * low
    if logarithmic:
        (ax.set_yscale if axis == "y" else ax.set_xscale)("log")
        wide = high > 2000 * low
        scaled.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
        scaled.set_minor_formatter(NullFormatter())
        set_limits(low / 1.6, high * room)
    elif high > 0:
        set_limits(0, high * (1 + (room - 1) * 0.15))
    else:
        scaled.set_ticks([])
    scaled.set_major_formatter(lambda value, _: f"{value:,g}")
    return logarithmic


def turn_axis(ax: Axes, rows: Sequence[Any], counts: Sequence[int]) -> None:
    """Label turn indices along the x axis, each with its n and its failed turns; only some if there are many.

    ``rows`` are ``Measures``.
    """
    every = math.ceil(len(rows) / _MOST_LABELLED_TURNS)
    labels = []
    for row, n in zip(rows[::every], counts[::every], strict=True):
        errors = row.turns - row.answered - row.interrupted
        labels.append(f"turn {row.turn}\nn = {n:,}" + (f"\n{errors:,} failed" if errors else ""))
    ax.set_xticks(range(0, len(rows), every), labels)
    edge = 0.5 if len(rows) > 1 else 1.0
    ax.set_xlim(-edge, len(rows) - 1 + edge)
    ax.tick_params(axis="x", length=0)
