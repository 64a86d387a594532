"""Charts of two runs compared in pairs: differences with their intervals, and the turns that only one has right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from evalkit.charts import safe_text, style
from evalkit.charts.style import BLUE, FAINT, INK, ORANGE, Chart
from evalkit.stats.estimate import Estimate
from evalkit.wording import numbers, trends

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_TAGS = 16


class Labelled(Protocol):
    """One of the two runs."""

    @property
    def label(self) -> str:
        """A letter, such as ``A``."""

    @property
    def name(self) -> str:
        """Of the run."""


class Effect(Protocol):
    """Differences over some pairs."""

    @property
    def label(self) -> int | str | None:
        """Turn index, tag, or None: all pairs."""

    @property
    def pairs(self) -> int:
        """How many."""

    @property
    def difference(self) -> Estimate:
        """Second − first."""

    @property
    def corrected_p(self) -> float | None:
        """Of no difference, corrected for the comparisons beside it."""

    @property
    def only_first(self) -> int:
        """Turns that only the first run has right."""

    @property
    def only_second(self) -> int:
        """Turns that only the second has right."""

    @property
    def words(self) -> str:
        """The effect as a sentence."""


class Contrast(Protocol):
    """A ``comparison.Contrast``: two runs, the second compared with the first."""

    @property
    def first(self) -> Labelled:
        """The baseline."""

    @property
    def second(self) -> Labelled:
        """The run compared with it."""

    @property
    def all(self) -> Effect:
        """Over all pairs."""

    @property
    def by_turn(self) -> Sequence[Effect]:
        """By turn index."""

    @property
    def by_tag(self) -> Sequence[Effect]:
        """By tag, those of most pairs first."""

    @property
    def tags_left_out(self) -> int:
        """Tags that are not in it."""


@dataclass(frozen=True)
class _Paired(Chart):
    contrast: Contrast
    _bar_axis = "x"

    @property
    def _missing(self) -> str | None:
        both = f"{self.contrast.first.label} and {self.contrast.second.label}"
        return None if self.contrast.all.pairs else f"No turn was answered and scored in both runs, {both}"

    @property
    def _height(self) -> float:
        return style.height(len(self._rows))

    @property
    def _rows(self) -> list[tuple[str, Effect]]:
        tags = self.contrast.by_tag[:MOST_TAGS]
        return [
            ("all turns", self.contrast.all),
            *((f"turn {effect.label}", effect) for effect in self.contrast.by_turn),
            *((safe_text.name(str(effect.label), 28), effect) for effect in tags),
        ]

    def _about(self) -> list[str]:
        first, second = self.contrast.first, self.contrast.second
        notes = [f"{first.label}: {safe_text.name(first.name)}; {second.label}: {safe_text.name(second.name)}"]
        shown = min(len(self.contrast.by_tag), MOST_TAGS)
        left = len(self.contrast.by_tag) - shown + self.contrast.tags_left_out
        return notes + ([f"{left:,} less frequent tags are left out"] if left else [])

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
class Differences(_Paired):
    """The difference of the two runs' rates, in all, by turn index and by tag."""

    @property
    def _finding(self) -> str:
        words = self.contrast.all.words.removesuffix(".")
        return words[:1].upper() + words[1:]

    @property
    def _numbers(self) -> str:
        rows = [f"{name} {style.within(effect.difference, _points)}" for name, effect in self._rows]
        return f"Difference {self._what}: {trends.some(rows)}"

    @property
    def _what(self) -> str:
        return f"{self.contrast.second.label} − {self.contrast.first.label}"

    @property
    def _notes(self) -> list[str]:
        return [
            "bars: 95 % interval, each by itself; n: pairs of turns that both runs answered and scored",
            "filled: shown also after correction for several comparisons",
            *self._about(),
        ]

    def _draw(self, ax: Axes) -> None:
        reach = [0.05]
        for place, (_, effect) in enumerate(self._rows):
            told = effect.difference
            if told.value is None:
                ax.text(0, -place, told.reason or "no pair", ha="center", va="center", color=FAINT, fontsize="small")
                continue
            shown = effect.corrected_p is not None and effect.corrected_p < 0.05
            look: dict[str, Any] = {
                "color": BLUE,
                "marker": "D" if not place else "o",
                "markerfacecolor": BLUE if shown else style.PAPER,
            }
            style.errorbars(ax, np.array([-float(place)]), [told], across=True, **look)
            reach += [abs(limit) for limit in (told.low, told.value, told.high) if limit is not None]
        ax.axvline(0, color=INK, linewidth=1, zorder=1)
        ax.set_xlim(-1.1 * max(reach), 1.1 * max(reach))
        ax.xaxis.set_major_formatter(lambda value, _: style.signed(100 * value) if abs(value) > 1e-9 else "0")
        first, second = self.contrast.first.label, self.contrast.second.label
        ax.set_xlabel(f"difference of accuracy in points: ← {first} is better · {second} is better →")
        self._row_axis(ax)


@dataclass(frozen=True)
class FlippedTurns(_Paired):
    """Turns that only one of the two runs has right."""

    @property
    def _finding(self) -> str:
        everything, first, second = self.contrast.all, self.contrast.first.label, self.contrast.second.label
        if not everything.only_first + everything.only_second:
            return f"No turn is right in one run only ({style.counted(everything.pairs, 'pair')})"
        return (
            f"{style.counted(everything.only_second, 'turn')} right only in {second}, "
            f"{everything.only_first:,} only in {first}"
        )

    @property
    def _numbers(self) -> str:
        rows = [f"{name} {effect.only_first:,} and {effect.only_second:,}" for name, effect in self._rows]
        first, second = self.contrast.first.label, self.contrast.second.label
        return f"Right only in {first} and only in {second}: {trends.some(rows)}"

    @property
    def _notes(self) -> list[str]:
        return [
            "counts of single answers; whether they differ by more than chance: see the differences",
            *self._about(),
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
                style.write(ax, sign * count, place, f"{count:,}", (4 * sign, 0), "left" if sign > 0 else "right")
        most = max((max(effect.only_first, effect.only_second) for _, effect in rows), default=1)
        ax.axvline(0, color=INK, linewidth=1)
        ax.set_xlim(-1.2 * max(most, 1), 1.2 * max(most, 1))
        ax.xaxis.set_major_locator(_whole())
        ax.xaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
        ax.set_xlabel("turns")
        self._row_axis(ax)


def _whole() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True, nbins=7)


def _points(share: float) -> str:
    return f"{numbers.points(share)} points"
