"""Charts of a load test: throughput, first tokens, goodput and accuracy over the load, with the knee."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from evalkit.charts import style
from evalkit.charts.style import BLUE, FAINT, INK, SERIES, VERMILION, Chart, ms, percent
from evalkit.loadtest.accuracy_over_load import accuracy_changes
from evalkit.loadtest.slo import Slo
from evalkit.loadtest.step import Step
from evalkit.stats.estimate import Estimate, independent_difference
from evalkit.wording import run_results, trends
from evalkit.wording.numbers import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_QUANTILES = ("p50", "p95", "p99")


class PlannedBy(Protocol):
    """A ``sweep.Plan``."""

    @property
    def by(self) -> str:
        """``concurrency`` or ``rate``."""


class Swept(Protocol):
    """A ``sweep.Sweep``: it stands above the charts, which only read it."""

    @property
    def plan(self) -> PlannedBy:
        """What load was put on."""

    @property
    def slo(self) -> Slo:
        """Objectives."""

    @property
    def measured(self) -> tuple[Step, ...]:
        """The steps that were asked."""

    @property
    def knee(self) -> Step | None:
        """The step beyond which more load gives no more."""


@dataclass(frozen=True)
class _OverLoad(Chart):
    sweep: Swept

    @property
    def _missing(self) -> str | None:
        return None if self.sweep.measured else "No step of this load test was asked"

    @property
    def _by(self) -> str:
        return self.sweep.plan.by

    def _at(self, step: Step) -> str:
        return f"{self._by} {step.load:g}"

    def _knee(self) -> str:
        knee = self.sweep.knee
        return "knee: none found" if knee is None else f"knee: {self._at(knee)}"

    @property
    def _bound(self) -> list[str]:
        bound = [f"{step.load:g}" for step in self.sweep.measured if step.client_bound]
        return [f"client-bound at {self._by} {', '.join(bound)}: the times are partly the client's"] if bound else []

    def _series(self, ax: Axes, values: Sequence[float | None], place: int, label: str) -> None:
        colour, marker, line = SERIES[place]
        at = np.array([step.load for step in self.sweep.measured], dtype=float)
        ax.plot(
            at, np.array(values, dtype=float), color=colour, marker=marker, linestyle=line, markeredgecolor=INK,
            markeredgewidth=0.8, label=label, zorder=3,
        )  # fmt: skip

    def _load_axis(self, ax: Axes, *, timed: bool = True) -> None:
        from matplotlib.ticker import NullLocator

        loads = [step.load for step in self.sweep.measured]
        if len(loads) > 1 and loads[-1] > 5 * loads[0]:
            ax.set_xscale("log", base=2)
            ax.set_xlim(loads[0] / 1.25, loads[-1] * 1.25)
        ax.set_xticks(loads, [f"{load:g}" for load in loads])
        ax.xaxis.set_minor_locator(NullLocator())
        at_once = "conversations at once" if self._by == "concurrency" else "conversations begun a second"
        ax.set_xlabel(f"{self._by} ({at_once})")
        if (knee := self.sweep.knee) is not None:
            ax.axvline(knee.load, color=INK, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
            up: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "rotation": 90, "va": "bottom", "ha": "right"}
            ax.text(knee.load, 0.03, "knee ", color=FAINT, fontsize="small", **up)
        for step in self.sweep.measured:
            if timed and step.client_bound:
                ax.axvspan(step.load / 1.1, step.load * 1.1, color=VERMILION, alpha=0.08, linewidth=0, zorder=0)


@dataclass(frozen=True)
class LoadThroughput(_OverLoad):
    """Answered turns a second over the load."""

    def _values(self) -> list[float | None]:
        return [step.turns_per_s for step in self.sweep.measured]

    @property
    def _finding(self) -> str:
        told = [
            (step, value) for step, value in zip(self.sweep.measured, self._values(), strict=True) if value is not None
        ]
        if not told:
            return "No throughput is known: the load was never whole"
        step, value = max(told, key=lambda pair: pair[1])
        return f"Highest throughput: {number(value)} turns a second at {self._at(step)}"

    @property
    def _numbers(self) -> str:
        rows = [
            f"{self._at(step)} " + ("missing" if value is None else f"{number(value)} turns/s")
            for step, value in zip(self.sweep.measured, self._values(), strict=True)
        ]
        return f"{', '.join(rows)}; {self._knee()}"

    @property
    def _notes(self) -> list[str]:
        counts = _counts(step.answered for step in self.sweep.measured)
        gone = [
            f"{step.load:g}" for step, value in zip(self.sweep.measured, self._values(), strict=True) if value is None
        ]
        notes = [f"rates of one step each, without an interval; n of answered turns: {counts}"]
        if gone:
            notes.append(f"no rate at {self._by} {', '.join(gone)}: the load was never whole")
        return notes + self._bound

    def _draw(self, ax: Axes) -> None:
        self._series(ax, self._values(), 0, "answered turns")
        ax.set_ylim(0, max([value for value in self._values() if value] or [1.0]) * 1.15)
        ax.set_ylabel("turns a second")
        self._load_axis(ax)


@dataclass(frozen=True)
class LoadFirstToken(_OverLoad):
    """TTFT p50, p95 and p99 over the load, with intervals."""

    def _estimates(self, q: str) -> list[Estimate]:
        return [step.ttft_ms[q] for step in self.sweep.measured]

    @property
    def _missing(self) -> str | None:
        if (why := super()._missing) is not None:
            return why
        if any(estimate.value is not None for q in _QUANTILES for estimate in self._estimates(q)):
            return None
        return "TTFT is missing: no answer was streamed, or no token came"

    @property
    def _finding(self) -> str:
        told = [
            (step, est)
            for step, est in zip(self.sweep.measured, self._estimates("p50"), strict=True)
            if est.value is not None
        ]
        if not told:
            return "No median first token can be told"
        (first, start), (last, end) = told[0], told[-1]
        if first is last:
            return f"Median first token: {ms(start.value or 0)} at {self._at(first)}"
        # a load test ends where times have risen, so that any of the later steps might have been its last
        said = trends.direction(independent_difference(start, end), "falls", "rises", among=len(told) - 1)
        both = f"{ms(start.value or 0)} at {self._at(first)} to {ms(end.value or 0)} at {last.load:g}"
        return f"Median first token {said} from {both}" if said else f"Median first token: {both}, no clear difference"

    @property
    def _numbers(self) -> str:
        rows = [
            f"{self._at(step)}: " + ", ".join(f"{q} {style.within(step.ttft_ms[q], ms)}" for q in _QUANTILES)
            for step in self.sweep.measured
        ]
        return f"Time to first token: {'; '.join(rows)}; {self._knee()}"

    @property
    def _notes(self) -> list[str]:
        counts = _counts(step.ttft_ms["p50"].n for step in self.sweep.measured)
        notes = [f"bars: 95 % interval; n of timed turns: {counts}"]
        short = [q for q in _QUANTILES if any(estimate.value is None for estimate in self._estimates(q))]
        if short:
            notes.append(f"{', '.join(short)} missing where not drawn: p95 needs 20 turns a step, p99 100")
        notes += [
            f"{self._at(step)}: {note}" for step in self.sweep.measured for note in run_results.streams(*step.streams)
        ]
        return notes + self._bound

    def _draw(self, ax: Axes) -> None:
        at = np.array([step.load for step in self.sweep.measured], dtype=float)
        reach: list[float] = []
        for place, q in enumerate(_QUANTILES):
            colour, marker, line = SERIES[place]
            estimates = self._estimates(q)
            if all(estimate.value is None for estimate in estimates):
                continue
            ax.plot(at, style.values(estimates), color=colour, linestyle=line, zorder=2)
            style.errorbars(ax, at, estimates, color=colour, marker=marker, label=f"TTFT {q}")
            reach += [limit for one in estimates for limit in (one.low, one.value, one.high) if limit]
        style.time_scale(ax, min(reach), max(reach), room=1.4)
        ax.set_ylabel("time to first token (ms)")
        self._load_axis(ax)


@dataclass(frozen=True)
class LoadGoodput(_OverLoad):
    """Answered turns a second that met every objective, over the load."""

    @property
    def _missing(self) -> str | None:
        if (why := super()._missing) is not None:
            return why
        if not self.sweep.slo:
            return "There is no goodput: the load test had no objectives (--slo)"
        known = any(step.goodput is not None for step in self.sweep.measured)
        return None if known else "No goodput is known: the load was never whole"

    @property
    def _finding(self) -> str:
        told = [step for step in self.sweep.measured if step.goodput is not None]
        best = max(told, key=lambda step: step.goodput or 0)
        if not best.goodput:
            return f"No turn kept within {self.sweep.slo}"
        return f"Best goodput: {number(best.goodput)} turns a second at {self._at(best)}"

    @property
    def _numbers(self) -> str:
        rows = [
            f"{self._at(step)} "
            + ("missing" if step.goodput is None else f"{number(step.goodput)} turns/s")
            + ("" if step.within_slo is None else f", {percent(step.within_slo)} of {step.turns:,} turns")
            for step in self.sweep.measured
        ]
        return f"Within {self.sweep.slo}: {'; '.join(rows)}; {self._knee()}"

    @property
    def _notes(self) -> list[str]:
        shares = ["–" if step.within_slo is None else percent(step.within_slo) for step in self.sweep.measured]
        counts = _counts(step.turns for step in self.sweep.measured)
        return [
            f"within {self.sweep.slo}: {', '.join(shares)} of the turns (n: {counts})",
            "rates of one step each, without an interval",
            *self._bound,
        ]

    def _draw(self, ax: Axes) -> None:
        throughput = [step.turns_per_s for step in self.sweep.measured]
        goodput = [step.goodput for step in self.sweep.measured]
        self._series(ax, throughput, 1, "all answered turns")
        self._series(ax, goodput, 0, "within the objectives")
        ax.set_ylim(0, max([value for value in (*throughput, *goodput) if value] or [1.0]) * 1.15)
        ax.set_ylabel("turns a second")
        self._load_axis(ax)


@dataclass(frozen=True)
class LoadAccuracy(_OverLoad):
    """Accuracy over the load, with intervals."""

    @property
    def _missing(self) -> str | None:
        if (why := super()._missing) is not None:
            return why
        known = any(step.accuracy.value is not None for step in self.sweep.measured)
        return None if known else "No answer of this load test has a score"

    @property
    def _finding(self) -> str:
        if (fall := self._fall()) is not None:
            return fall
        told = [step for step in self.sweep.measured if step.accuracy.value is not None]
        each = [f"{percent(step.accuracy.value or 0)} at {self._at(step)}" for step in (told[0], told[-1])]
        return f"Accuracy: {each[0]}" if len(told) == 1 else f"Accuracy: {' and '.join(each)}, no fall is shown"

    def _fall(self) -> str | None:
        """As the warnings of the load test say it: over shared turns, corrected for all steps; None: nothing is shown.

        The intervals of the chart are of each step by itself, and no test.
        """
        first, *later = self.sweep.measured
        changes = accuracy_changes([getattr(step, "scores", {}) for step in self.sweep.measured])
        worse = [(step, change) for step, change in zip(later, changes, strict=True) if change.worse]
        if not worse:
            return None
        step, change = worse[-1]
        lost = f"{abs(100 * (change.difference.estimate.value or 0)):.0f} points"
        return (
            f"Accuracy falls by {lost} from {self._at(first)} to {step.load:g}, "
            f"over the {style.counted(change.turns, 'turn')} that both answered"
        )

    @property
    def _numbers(self) -> str:
        rows = [f"{self._at(step)} {style.within(step.accuracy)}" for step in self.sweep.measured]
        return f"Accuracy: {'; '.join(rows)}; {self._knee()}"

    @property
    def _notes(self) -> list[str]:
        counts = _counts(step.accuracy.n for step in self.sweep.measured)
        return [f"bars: 95 % interval, each by itself; n of scored answers: {counts}"]

    def _draw(self, ax: Axes) -> None:
        at = np.array([step.load for step in self.sweep.measured], dtype=float)
        estimates = [step.accuracy for step in self.sweep.measured]
        ax.plot(at, style.values(estimates), color=FAINT, linewidth=1, zorder=1)
        style.errorbars(ax, at, estimates, color=BLUE, marker="o", label="answered turns (95 % interval)")
        for place, estimate in zip(at, estimates, strict=True):
            if estimate.value is None:
                ax.text(place, 0.5, "no scored\nanswer", ha="center", va="center", color=FAINT, fontsize="small")
        ax.set_ylim(-0.02, 1.04)
        style.percent_axis(ax.yaxis)
        ax.set_ylabel("accuracy (mean score)")
        self._load_axis(ax, timed=False)


PANELS: tuple[type[_OverLoad], ...] = (LoadThroughput, LoadFirstToken, LoadGoodput, LoadAccuracy)


def figure(sweep: Swept) -> Figure:
    """The four panels on one figure."""
    drawing, axes = style.subplots(12, 8.6, 2, 2)
    for panel, ax in zip(PANELS, axes.flat, strict=True):
        panel(sweep).draw(ax)
    return drawing


def _counts(numbers: Iterable[int]) -> str:
    """How many, step by step; once where all are equal."""
    told = [f"{count:,}" for count in numbers]
    return f"{told[0]} each" if len(set(told)) == 1 < len(told) else ", ".join(told)
