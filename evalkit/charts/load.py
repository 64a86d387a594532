"""Charts of a load test: throughput, time to first token, goodput and accuracy against load, with the knee."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.charts import axes, marks
from evalkit.charts.chart import Chart
from evalkit.charts.style import BLUE, FAINT, INK, SERIES, VERMILION
from evalkit.loadtest.accuracy_over_load import accuracy_changes
from evalkit.loadtest.step import Step
from evalkit.stats.estimate import Estimate, independent_difference
from evalkit.wording import run_results, trends
from evalkit.wording.numbers import MISSING, counted, number, short_ms, whole_percent, with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from evalkit.loadtest.sweep import Sweep

_QUANTILES = ("p50", "p95", "p99")


@dataclass(frozen=True)
class _LoadChart(Chart):
    sweep: Sweep

    @property
    def _missing(self) -> str | None:
        return None if self.sweep.measured else "No step of this load test was run"

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
        return (
            [f"client-bound at {self._by} {', '.join(bound)}: part of these times may be the client's"] if bound else []
        )

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
        unit = "conversations in parallel" if self._by == "concurrency" else "conversations started per second"
        ax.set_xlabel(f"{self._by} ({unit})")
        if (knee := self.sweep.knee) is not None:
            ax.axvline(knee.load, color=INK, linestyle=(0, (4, 3)), linewidth=1, zorder=1)
            up: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "rotation": 90, "va": "bottom", "ha": "right"}
            ax.text(knee.load, 0.03, "knee ", color=FAINT, fontsize="small", **up)
        for step in self.sweep.measured:
            if timed and step.client_bound:
                ax.axvspan(step.load / 1.1, step.load * 1.1, color=VERMILION, alpha=0.08, linewidth=0, zorder=0)


@dataclass(frozen=True)
class LoadThroughput(_LoadChart):
    """Answered turns per second against load."""

    def _values(self) -> list[float | None]:
        return [step.turns_per_s for step in self.sweep.measured]

    @property
    def _finding(self) -> str:
        known = [
            (step, value) for step, value in zip(self.sweep.measured, self._values(), strict=True) if value is not None
        ]
        if not known:
            return "No throughput is known: the full load was never reached"
        step, value = max(known, key=lambda pair: pair[1])
        return f"Highest throughput: {number(value)} turns per second at {self._at(step)}"

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
        unknown = [
            f"{step.load:g}" for step, value in zip(self.sweep.measured, self._values(), strict=True) if value is None
        ]
        notes = [f"one rate per step, without an interval; n of answered turns: {counts}"]
        if unknown:
            notes.append(f"no rate at {self._by} {', '.join(unknown)}: the full load was not reached")
        return notes + self._bound

    def _draw(self, ax: Axes) -> None:
        self._series(ax, self._values(), 0, "answered turns")
        ax.set_ylim(0, max([value for value in self._values() if value] or [1.0]) * 1.15)
        ax.set_ylabel("turns per second")
        self._load_axis(ax)


@dataclass(frozen=True)
class LoadFirstToken(_LoadChart):
    """TTFT p50, p95 and p99 against load, with intervals."""

    def _estimates(self, q: str) -> list[Estimate]:
        return [step.ttft_ms[q] for step in self.sweep.measured]

    @property
    def _missing(self) -> str | None:
        if (why := super()._missing) is not None:
            return why
        if any(estimate.value is not None for q in _QUANTILES for estimate in self._estimates(q)):
            return None
        return "TTFT is missing: no answer was streamed, or no token arrived"

    @property
    def _finding(self) -> str:
        medians = zip(self.sweep.measured, self._estimates("p50"), strict=True)
        known = [(step, median) for step, median in medians if median.value is not None]
        if not known:
            return "No median time to first token is known"
        (first, start), (last, end) = known[0], known[-1]
        if first is last:
            return f"Median time to first token: {short_ms(start.value or 0)} at {self._at(first)}"
        # a load test ends when times have risen, so any of the later steps could have been the last one
        verb = trends.direction(independent_difference(start, end), "falls", "rises", among=len(known) - 1)
        both = f"{short_ms(start.value or 0)} at {self._at(first)} to {short_ms(end.value or 0)} at {last.load:g}"
        title = "Median time to first token"
        return f"{title} {verb} from {both}" if verb else f"{title}: {both}, no clear difference"

    @property
    def _numbers(self) -> str:
        rows = [
            f"{self._at(step)}: " + ", ".join(f"{q} {with_interval(step.ttft_ms[q], short_ms)}" for q in _QUANTILES)
            for step in self.sweep.measured
        ]
        return f"Time to first token: {'; '.join(rows)}; {self._knee()}"

    @property
    def _notes(self) -> list[str]:
        counts = _counts(step.ttft_ms["p50"].n for step in self.sweep.measured)
        notes = [f"bars: 95 % interval; n of timed turns: {counts}"]
        missing = [q for q in _QUANTILES if any(estimate.value is None for estimate in self._estimates(q))]
        if missing:
            notes.append(f"{', '.join(missing)} missing where not drawn: p95 needs 20 turns per step, p99 needs 100")
        notes += [
            f"{self._at(step)}: {warning}"
            for step in self.sweep.measured
            for warning in run_results.first_token_warnings(*step.streams)
        ]
        return notes + self._bound

    def _draw(self, ax: Axes) -> None:
        at = np.array([step.load for step in self.sweep.measured], dtype=float)
        limits: list[float] = []
        for place, q in enumerate(_QUANTILES):
            colour, marker, line = SERIES[place]
            estimates = self._estimates(q)
            if all(estimate.value is None for estimate in estimates):
                continue
            ax.plot(at, marks.values(estimates), color=colour, linestyle=line, zorder=2)
            marks.error_bars(ax, at, estimates, color=colour, marker=marker, label=f"TTFT {q}")
            limits += [limit for one in estimates for limit in (one.low, one.value, one.high) if limit]
        axes.time_scale(ax, min(limits), max(limits), room=1.4)
        ax.set_ylabel("time to first token (ms)")
        self._load_axis(ax)


@dataclass(frozen=True)
class LoadGoodput(_LoadChart):
    """Answered turns per second that met every objective, against load."""

    @property
    def _missing(self) -> str | None:
        if (why := super()._missing) is not None:
            return why
        if not self.sweep.slo:
            return "There is no goodput: the load test had no objectives (--slo)"
        known = any(step.goodput is not None for step in self.sweep.measured)
        return None if known else "No goodput is known: the full load was never reached"

    @property
    def _finding(self) -> str:
        known = [step for step in self.sweep.measured if step.goodput is not None]
        best = max(known, key=lambda step: step.goodput or 0)
        if not best.goodput:
            return f"No turn met {self.sweep.slo}"
        return f"Best goodput: {number(best.goodput)} turns per second at {self._at(best)}"

    @property
    def _numbers(self) -> str:
        rows = [
            f"{self._at(step)} "
            + ("missing" if step.goodput is None else f"{number(step.goodput)} turns/s")
            + ("" if step.within_slo is None else f", {whole_percent(step.within_slo)} of {step.turns:,} turns")
            for step in self.sweep.measured
        ]
        return f"Goodput within {self.sweep.slo}: {'; '.join(rows)}; {self._knee()}"

    @property
    def _notes(self) -> list[str]:
        shares = [
            MISSING if step.within_slo is None else whole_percent(step.within_slo) for step in self.sweep.measured
        ]
        counts = _counts(step.turns for step in self.sweep.measured)
        return [
            f"within {self.sweep.slo}: {', '.join(shares)} of the turns (n: {counts})",
            "one rate per step, without an interval",
            *self._bound,
        ]

    def _draw(self, ax: Axes) -> None:
        throughput = [step.turns_per_s for step in self.sweep.measured]
        goodput = [step.goodput for step in self.sweep.measured]
        self._series(ax, throughput, 1, "all answered turns")
        self._series(ax, goodput, 0, "within the objectives")
        ax.set_ylim(0, max([value for value in (*throughput, *goodput) if value] or [1.0]) * 1.15)
        ax.set_ylabel("turns per second")
        self._load_axis(ax)


@dataclass(frozen=True)
class LoadAccuracy(_LoadChart):
    """Accuracy against load, with intervals."""

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
        scored = [step for step in self.sweep.measured if step.accuracy.value is not None]
        each = [f"{whole_percent(step.accuracy.value or 0)} at {self._at(step)}" for step in (scored[0], scored[-1])]
        return f"Accuracy: {each[0]}" if len(scored) == 1 else f"Accuracy: {' and '.join(each)}, no fall is shown"

    def _fall(self) -> str | None:
        """The fall that the warnings of the load test report too: over shared turns, corrected for all steps; or None.

        The intervals of the chart are those of each step alone, and no test.
        """
        first, *later = self.sweep.measured
        changes = accuracy_changes([getattr(step, "scores", {}) for step in self.sweep.measured])
        worse = [(step, change) for step, change in zip(later, changes, strict=True) if change.worse]
        if not worse:
            return None
        step, change = worse[-1]
        points = f"{abs(100 * (change.difference.estimate.value or 0)):.0f} points"
        return (
            f"Accuracy falls by {points} from {self._at(first)} to {step.load:g}, "
            f"over the {counted(change.turns, 'turn')} answered in both"
        )

    @property
    def _numbers(self) -> str:
        rows = [f"{self._at(step)} {with_interval(step.accuracy)}" for step in self.sweep.measured]
        return f"Accuracy: {'; '.join(rows)}; {self._knee()}"

    @property
    def _notes(self) -> list[str]:
        counts = _counts(step.accuracy.n for step in self.sweep.measured)
        return [f"bars: 95 % interval of each step alone; n of scored answers: {counts}"]

    def _draw(self, ax: Axes) -> None:
        at = np.array([step.load for step in self.sweep.measured], dtype=float)
        estimates = [step.accuracy for step in self.sweep.measured]
        ax.plot(at, marks.values(estimates), color=FAINT, linewidth=1, zorder=1)
        marks.error_bars(ax, at, estimates, color=BLUE, marker="o", label="answered turns (95 % interval)")
        for place, estimate in zip(at, estimates, strict=True):
            if estimate.value is None:
                ax.text(place, 0.5, "no scored\nanswer", ha="center", va="center", color=FAINT, fontsize="small")
        ax.set_ylim(-0.02, 1.04)
        axes.percent_axis(ax.yaxis)
        ax.set_ylabel("accuracy (mean score)")
        self._load_axis(ax, timed=False)


def _counts(numbers: Iterable[int]) -> str:
    """List the counts of all steps, or one count if all are equal."""
    texts = [f"{count:,}" for count in numbers]
    return f"{texts[0]} each" if len(set(texts)) == 1 < len(texts) else ", ".join(texts)
