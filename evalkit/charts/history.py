"""Charts of the runs of one dataset over time: accuracy and median latency, with the real steps marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evalkit.charts import axes, marks, safe_text, style
from evalkit.charts.chart import Chart
from evalkit.charts.style import BLUE, FAINT, HEIGHT, INK, VERMILION
from evalkit.stats.estimate import Estimate
from evalkit.wording import trends
from evalkit.wording.numbers import counted, points, short_ms, signed, with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from evalkit.comparing.history import History, Step

_MOST_LABELS = 12  # names of runs on the axis
_MOST_DATES = 5  # with so many names at most
_LONGEST_TICK = 20  # characters
_MOST_STEPS = 6  # real steps that are named


@dataclass(frozen=True)
class _Panel(Chart):
    history: History

    @property
    def _estimates(self) -> list[Estimate]:
        raise NotImplementedError

    @property
    def _steps(self) -> list[tuple[int, str]]:
        """The place of each run after a real step, and the step in words."""
        raise NotImplementedError

    @property
    def _what(self) -> str:
        raise NotImplementedError

    @property
    def _missing(self) -> str | None:
        known = any(estimate.value is not None for estimate in self._estimates)
        return None if known else f"No run has {'a score' if self._what == 'Accuracy' else 'a time'}"

    @property
    def _finding(self) -> str:
        tested, real = len(self.history.steps), self._steps
        if not tested:
            return f"{self._what} of one run"
        if not real:
            return f"{self._what}: no step is shown to be real ({counted(tested, 'step')})"
        named = [f"{words} at {safe_text.name(self.history.runs[place].path.stem, 28)}" for place, words in real]
        verb = "is" if len(real) == 1 else "are"
        return f"{self._what}: {len(real)} of {counted(tested, 'step')} {verb} real: {_first(named)}"

    @property
    def _notes(self) -> list[str]:
        return ["diamonds: the step from the run before is real after Holm's correction for all steps"]

    def _draw(self, ax: Axes) -> None:
        estimates, runs = self._estimates, self.history.runs
        places, values = np.arange(len(runs), dtype=float), marks.values(estimates)
        ax.plot(places, values, color=FAINT, linewidth=1, zorder=1)
        marks.error_bars(ax, places, estimates, color=BLUE, marker="o")
        for place, words in self._steps:
            ax.plot(
                places[place - 1 : place + 1], values[place - 1 : place + 1], color=VERMILION, linewidth=2.2, zorder=2
            )
            ax.plot(places[place], values[place], "D", color=VERMILION, markeredgecolor=INK, markersize=8, zorder=5)
            if (value := estimates[place].value) is not None:
                fell = bool(values[place] < values[place - 1])
                end = estimates[place].low if fell else estimates[place].high
                offset = (0.0, -10.0 if fell else 10.0) if end is not None else (0.0, -16.0 if fell else 16.0)
                marks.label_value(ax, place, value if end is None else end, words, offset, "center", color=VERMILION)
        shown = np.unique(np.linspace(0, len(runs) - 1, min(len(runs), _MOST_LABELS)).round().astype(int))
        crowded = len(shown) > _MOST_DATES
        names = [_tick(runs[at].path.stem, int(at)) for at in shown]
        dates = ["" if crowded else f"\n{runs[at].started.astimezone():%Y-%m-%d}" for at in shown]
        labels = [f"{name}{date}" for name, date in zip(names, dates, strict=True)]
        ax.set_xticks(
            shown, labels, rotation=40 if crowded else 0, ha="right" if crowded else "center", fontsize="small"
        )
        ax.set_xlim(-0.5, len(runs) - 0.5)


@dataclass(frozen=True)
class AccuracyHistory(_Panel):
    """Accuracy of the runs of one dataset, in the order in which they were started."""

    @property
    def _what(self) -> str:
        return "Accuracy"

    @property
    def _estimates(self) -> list[Estimate]:
        return [run.accuracy.mean for run in self.history.runs]

    @property
    def _steps(self) -> list[tuple[int, str]]:
        return _real(
            self.history.steps,
            lambda step: None if not step.accuracy_is_real or step.accuracy is None else step.accuracy.difference.value,
            lambda value: f"{points(value)} points",
        )

    @property
    def _numbers(self) -> str:
        rows = [f"{safe_text.name(run.path.stem, 28)} {with_interval(run.accuracy.mean)}" for run in self.history.runs]
        return f"Accuracy over answered and scored turns: {trends.first_rows(rows)}"

    @property
    def _notes(self) -> list[str]:
        return [
            "bars: 95 % interval of each run alone; steps are measured on the turns that both runs have",
            *super()._notes,
        ]

    def _draw(self, ax: Axes) -> None:
        super()._draw(ax)
        ax.set_ylim(-0.02, 1.04)
        axes.percent_axis(ax.yaxis)
        ax.set_ylabel("accuracy (mean score)")


@dataclass(frozen=True)
class LatencyHistory(_Panel):
    """Median latency of the runs of one dataset, in the order in which they were started."""

    @property
    def _what(self) -> str:
        return "Latency"

    @property
    def _estimates(self) -> list[Estimate]:
        return [Estimate(run.latency_ms, None, None, run.turns) for run in self.history.runs]

    @property
    def _steps(self) -> list[tuple[int, str]]:
        return _real(
            self.history.steps,
            lambda step: None if not step.latency_is_real or step.latency is None else step.latency.difference.value,
            lambda value: signed(value, short_ms),
        )

    @property
    def _numbers(self) -> str:
        rows = [
            f"{safe_text.name(run.path.stem, 28)} {'missing' if run.latency_ms is None else short_ms(run.latency_ms)}"
            for run in self.history.runs
        ]
        return f"Median latency: {trends.first_rows(rows)}"

    def _draw(self, ax: Axes) -> None:
        super()._draw(ax)
        ax.set_ylim(0, 1.15 * max(run.latency_ms or 0.0 for run in self.history.runs))
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        ax.set_ylabel("latency p50 (ms)")


@dataclass(frozen=True)
class RunHistory(Chart):
    """Accuracy above median latency, of the runs of one dataset."""

    history: History

    @property
    def _panels(self) -> tuple[Chart, Chart]:
        return AccuracyHistory(self.history), LatencyHistory(self.history)

    @property
    def _height(self) -> float:
        return 2 * HEIGHT + 1

    @property
    def _finding(self) -> str:
        return "\n".join(panel.finding for panel in self._panels if panel.missing is None)

    @property
    def _numbers(self) -> str:
        return ". ".join(panel._numbers for panel in self._panels)

    def draw(self, ax: Axes | None = None) -> Axes:
        """Draw both in the place of an Axes, or on a new figure if none is given; returns the upper one."""
        if ax is None:
            ax = style.subplots(style.WIDTH, self._height)[1]
        spec, figure = ax.get_subplotspec(), ax.get_figure()
        assert spec is not None
        assert figure is not None
        ax.remove()
        grid = spec.subgridspec(2, 1)
        upper, lower = (figure.add_subplot(grid[place]) for place in (0, 1))
        for panel, place in zip(self._panels, (upper, lower), strict=True):
            panel.draw(place)
        return upper

    def _draw(self, ax: Axes) -> None:
        self.draw(ax)


def _real(
    steps: Sequence[Step], difference: Callable[[Step], float | None], form: Callable[[float], str]
) -> list[tuple[int, str]]:
    found = [(place, difference(step)) for place, step in enumerate(steps, start=1)]
    return [(place, form(value)) for place, value in found if value is not None]


def _tick(name: str, place: int) -> str:
    """A short name of a run; its number where characters without a font would be spelled out at length."""
    text = safe_text.name(name, _LONGEST_TICK)
    return text if len(text) <= 2 * _LONGEST_TICK else f"run {place + 1}"


def _first(named: Sequence[str]) -> str:
    return trends.listed(named[:_MOST_STEPS], len(named) - _MOST_STEPS)
