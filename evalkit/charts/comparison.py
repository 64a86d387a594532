"""Charts of two runs compared turn by turn: differences with intervals, and turns that only one run has right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.charts import marks, safe_text, style
from evalkit.charts.chart import Chart, height_for_rows
from evalkit.charts.style import BLUE, FAINT, INK, ORANGE
from evalkit.wording import trends
from evalkit.wording.numbers import counted, points, signed, with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from evalkit.comparing.comparison import Contrast
    from evalkit.comparing.effects import Effect

MOST_TAGS = 16


@dataclass(frozen=True)
class _PairedChart(Chart):
    contrast: Contrast
    _grid_axis = "x"

    @property
    def _missing(self) -> str | None:
        both = f"{self.contrast.first.label} and {self.contrast.second.label}"
        return None if self.contrast.all.pairs else f"No turn was answered and scored in both runs, {both}"

    @property
    def _height(self) -> float:
        return height_for_rows(len(self._rows))

    @property
    def _rows(self) -> list[tuple[str, Effect]]:
        tags = self.contrast.by_tag[:MOST_TAGS]
        return [
            ("all turns", self.contrast.all),
            *((f"turn {effect.label}", effect) for effect in self.contrast.by_turn),
            *((safe_text.name(str(effect.label), 28), effect) for effect in tags),
        ]

    def _run_names(self) -> list[str]:
        first, second = self.contrast.first, self.contrast.second
        notes = [f"{first.label}: {safe_text.name(first.name)}; {second.label}: {safe_text.name(second.name)}"]
        shown = min(len(self.contrast.by_tag), MOST_TAGS)
        left_out = len(self.contrast.by_tag) - shown + self.contrast.tags_left_out
        return notes + ([f"{counted(left_out, 'less frequent tag')} left out"] if left_out else [])

    def _row_axis(self, ax: Axes) -> None:
        rows = self._rows
        labels = [f"{name}  n = {effect.pairs:,}" for name, effect in rows]
        ax.set_yticks(-np.arange(len(rows), dtype=float), labels, fontsize="small" if len(rows) > 12 else "medium")
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(0.4 - len(rows), 0.6)
        for end in (1, 1 + len(self.contrast.by_turn)):
            if end < len(rows):
                ax.axhline(0.5 - end, color=FAINT, linewidth=0.7)


@dataclass(frozen=True)
class Differences(_PairedChart):
    """The difference in accuracy of two runs: over all turns, by turn index and by tag."""

    @property
    def _finding(self) -> str:
        words = self.contrast.all.words.removesuffix(".")
        return words[:1].upper() + words[1:]

    @property
    def _numbers(self) -> str:
        rows = [f"{name} {with_interval(effect.difference, _points)}" for name, effect in self._rows]
        return f"Difference {self._what}: {trends.first_rows(rows)}"

    @property
    def _what(self) -> str:
        return f"{self.contrast.second.label} − {self.contrast.first.label}"

    @property
    def _notes(self) -> list[str]:
        return [
            "bars: 95 % interval of each row alone; n: turns answered and scored in both runs",
            "filled: the difference remains after correction for multiple comparisons",
            *self._run_names(),
        ]

    def _draw(self, ax: Axes) -> None:
        limits = [0.05]
        for place, (_, effect) in enumerate(self._rows):
            difference = effect.difference
            if difference.value is None:
                ax.text(
                    0, -place, difference.reason or "no pair", ha="center", va="center", color=FAINT, fontsize="small"
                )
                continue
            shown = effect.corrected_p is not None and effect.corrected_p < 0.05
            look: dict[str, Any] = {
                "color": BLUE,
                "marker": "D" if not place else "o",
                "markerfacecolor": BLUE if shown else style.PAPER,
            }
            marks.error_bars(ax, np.array([-float(place)]), [difference], across=True, **look)
            ends = (difference.low, difference.value, difference.high)
            limits += [abs(end) for end in ends if end is not None]
        ax.axvline(0, color=INK, linewidth=1, zorder=1)
        ax.set_xlim(-1.1 * max(limits), 1.1 * max(limits))
        ax.xaxis.set_major_formatter(lambda value, _: signed(100 * value) if abs(value) > 1e-9 else "0")
        first, second = self.contrast.first.label, self.contrast.second.label
        ax.set_xlabel(f"difference in accuracy, in points: ← {first} is better · {second} is better →")
        self._row_axis(ax)


@dataclass(frozen=True)
class FlippedTurns(_PairedChart):
    """Turns that only one of the two runs has right."""

    @property
    def _finding(self) -> str:
        everything, first, second = self.contrast.all, self.contrast.first.label, self.contrast.second.label
        if not everything.only_first + everything.only_second:
            return f"No turn is right in one run only ({counted(everything.pairs, 'pair')})"
        return (
            f"{counted(everything.only_second, 'turn')} right only in {second}, "
            f"{everything.only_first:,} only in {first}"
        )

    @property
    def _numbers(self) -> str:
        rows = [f"{name} {effect.only_first:,} and {effect.only_second:,}" for name, effect in self._rows]
        first, second = self.contrast.first.label, self.contrast.second.label
        return f"Right only in {first} and only in {second}: {trends.first_rows(rows)}"

    @property
    def _notes(self) -> list[str]:
        return [
            "counts of single answers; the chart of differences shows whether they may be chance",
            *self._run_names(),
        ]

    def _draw(self, ax: Axes) -> None:
        rows = self._rows
        at = -np.arange(len(rows), dtype=float)
        first, second = self.contrast.first.label, self.contrast.second.label
        for counts, colour, hatch, label, sign in (
            ([effect.only_first for _, effect in rows], ORANGE, "", f"right only in {first}", -1),
            ([effect.only_second for _, effect in rows], BLUE, "////", f"right only in {second}", 1),
        ):
            ax.barh(
                at,
                sign * np.array(counts),
                height=0.62,
                color=colour,
                hatch=hatch,
                edgecolor=INK,
                linewidth=0.6,
                label=label,
            )
            for place, count in zip(at, counts, strict=True):
                marks.label_value(ax, sign * count, place, f"{count:,}", (4 * sign, 0), "left" if sign > 0 else "right")
        most = max((max(effect.only_first, effect.only_second) for _, effect in rows), default=1)
        ax.axvline(0, color=INK, linewidth=1)
        ax.set_xlim(-1.2 * max(most, 1), 1.2 * max(most, 1))
        ax.xaxis.set_major_locator(_whole_numbers())
        ax.xaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
        ax.set_xlabel("turns")
        self._row_axis(ax)


def _whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True, nbins=7)


def _points(share: float) -> str:
    return f"{points(share)} points"
