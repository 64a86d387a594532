"""Charts over time: a run from start to end, and one streamed answer from the request to its last byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.analysis.client_trust import Trust
from evalkit.analysis.measures import RunMeasures
from evalkit.analysis.times.along_run import Timeline
from evalkit.analysis.times.one_answer import AnswerTiming
from evalkit.charts import marks, safe_text
from evalkit.charts.chart import Chart
from evalkit.charts.style import BLUE, FAINT, INK, ORANGE, VERMILION
from evalkit.wording import run_results, trends
from evalkit.wording.numbers import counted, duration, number, short_ms, short_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_UNITS = ((3600.0, "h"), (60.0, "min"), (1.0, "s"))


@dataclass(frozen=True)
class TurnsOverTime(Chart):
    """Turns ended per second over the time of the run, failed turns shown separately."""

    timeline: Timeline
    run: RunMeasures

    @property
    def _missing(self) -> str | None:
        if self.timeline.stretches:
            return None
        return "No finished turn has an end time" if self.run.by_turn else trends.NO_TURN

    @property
    def _finding(self) -> str:
        run = self.run
        failed = run.all.turns - run.all.answered
        if not run.all.answered:
            return trends.all_failed(run)
        answered = " answered" if failed else ""
        pace = "" if run.turns_per_s is None else f", {number(run.turns_per_s)}{answered} per second on average"
        outcome = "none failed" if not failed else f"{failed:,} failed ({self._kinds()})"
        return f"{counted(run.all.turns, 'turn')} in {duration(self._seconds)}{pace}; {outcome}"

    def _kinds(self) -> str:
        return ", ".join(f"{kind} {count:,}" for kind, count in list(self.run.all.errors.items())[:4])

    @property
    def _seconds(self) -> float:
        return float(self.timeline.stretches[-1].edges[-1])

    @property
    def _numbers(self) -> str:
        pauses = "".join(f"; {note}" for note in self._pauses())
        rates = np.concatenate([(one.answered + one.failed) / np.diff(one.edges) for one in self.timeline.stretches])
        return (
            f"In bins of {self.timeline.width_s:g} s, between {short_number(float(rates.min()))} and "
            f"{short_number(float(rates.max()))} turns ended per second{pauses}"
        )

    def _pauses(self) -> list[str]:
        paused = [duration(one.paused_s) for one in self.timeline.stretches if one.paused_s is not None]
        if not paused:
            return []
        shown = trends.listed(paused[:4], len(paused) - 4)
        return [f"{len(paused) + 1} sessions, the time between them left out ({shown})"]

    @property
    def _notes(self) -> list[str]:
        notes = [
            f"counts of finished turns in bins of {self.timeline.width_s:g} s, n = {self.run.all.turns:,}; "
            "a record of the run, so without an interval",
            *self._pauses(),
        ]
        if self.timeline.untimed:
            notes.append(f"never sent, so not drawn: {counted(self.timeline.untimed, 'turn')}")
        return notes

    def _draw(self, ax: Axes) -> None:
        unit, name = next((unit for unit in _UNITS if self._seconds >= 2 * unit[0]), _UNITS[-1])
        top = 0.0
        for place, one in enumerate(self.timeline.stretches):
            wide = np.diff(one.edges)
            edges, answered, both = one.edges / unit, one.answered / wide, (one.answered + one.failed) / wide
            label: dict[str, Any] = {"label": "answered"} if not place else {}
            ax.stairs(answered, edges, fill=True, color=BLUE, alpha=0.75, linewidth=0, **label)
            label = {"label": "failed"} if not place and self.run.all.errors else {}
            ax.stairs(
                both, edges, baseline=answered, fill=True, facecolor=VERMILION, edgecolor=INK, hatch="////",
                linewidth=0, **label,
            )  # fmt: skip
            if one.paused_s is not None:
                ax.axvline(edges[0], color=INK, linestyle=(0, (4, 3)), linewidth=1)
                up: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "rotation": 90, "va": "top", "ha": "right"}
                ax.text(edges[0], 0.99, f"resumed after {duration(one.paused_s)} ", color=FAINT, fontsize="small", **up)
            top = max(top, float(both.max()))
        ax.set_xlim(0, self._seconds / unit)
        ax.set_ylim(0, top * 1.12)
        ax.set_ylabel("turns ended per second")
        ax.set_xlabel(f"time of the run ({name})")


@dataclass(frozen=True)
class OneAnswer(Chart):
    """One streamed answer: every read that brought tokens, from the request to the end."""

    anatomy: AnswerTiming | None
    run: RunMeasures
    _grid_axis = "x"

    @property
    def _missing(self) -> str | None:
        if self.anatomy is not None and len(self.anatomy.arrivals):
            return None
        if not self.run.by_turn:
            return trends.NO_TURN
        if self.anatomy is not None:
            return f"{self._which} streamed no token"
        if not self.run.all.answered:
            return trends.all_failed(self.run)
        return "There is no stream to show: no answer arrived in two or more reads"

    @property
    def _trust(self) -> Trust:
        return self.run.trust

    @property
    def _timed_metrics(self) -> tuple[str, ...]:
        return ("ttft", "latency")

    @property
    def _one(self) -> AnswerTiming:
        assert self.anatomy is not None
        return self.anatomy

    @property
    def _which(self) -> str:
        one = self._one
        repeat = "" if one.repeat == 1 else f", repeat {one.repeat}"
        return f"Turn {one.turn} of conversation {safe_text.name(one.conversation)}{repeat}"

    @property
    def _finding(self) -> str:
        one = self._one
        text = f"First token after {short_ms(float(one.arrivals[0]))}"
        if len(one.arrivals) > 1:
            gaps = np.diff(one.arrivals)
            reads = counted(len(gaps), "read")
            streaming = short_ms(float(one.arrivals[-1] - one.arrivals[0]))
            text += f", then {reads} in {streaming}; longest gap {short_ms(float(gaps.max()))}"
        return text if one.error_kind is None else f"{text}; then the answer failed ({one.error_kind})"

    @property
    def _numbers(self) -> str:
        one = self._one
        parts = [] if one.headers is None else [f"headers after {short_ms(one.headers)}"]
        parts.append(f"last token after {short_ms(float(one.arrivals[-1]))}")
        parts += [] if one.end is None else [f"end after {short_ms(one.end)}"]
        parts.append(f"{int(one.events.sum()):,} token-bearing events in {counted(len(one.arrivals), 'read')}")
        return f"{self._which}: {', '.join(parts)}"

    @property
    def _notes(self) -> list[str]:
        reported = self._one.output_tokens
        tokens = "no tokens" if reported is None else counted(reported, "output token")
        warning = run_results.first_token_warning(self._one.flags)
        return [
            f"{self._which}; each dot is a read that brought tokens; the endpoint reported {tokens}; "
            "one answer, so without an interval",
            *([warning] if warning else []),
        ]

    def _draw(self, ax: Axes) -> None:
        one = self._one
        from matplotlib.ticker import MaxNLocator

        events = np.cumsum(one.events)
        total = int(events[-1])
        ax.step(
            np.concatenate([[0.0], one.arrivals]), np.concatenate([[0], events]), where="post", color=BLUE,
            linewidth=1.2, zorder=2,
        )  # fmt: skip
        ax.plot(one.arrivals, events, color=BLUE, marker="o", markersize=4, linestyle="none", zorder=3)
        # the reads again, on one line that shows bunches and gaps
        ax.plot(
            one.arrivals,
            np.full(len(one.arrivals), -0.07 * total),
            color=INK,
            marker="|",
            linestyle="none",
            markersize=9,
        )
        ax.axhline(-0.07 * total, color=FAINT, linewidth=0.7, zorder=1)
        self._draw_time_stamps(ax, total)
        if len(one.arrivals) > 2:
            self._draw_longest_gap(ax, events)
        last = max(float(one.arrivals[-1]), one.end or 0.0, one.headers or 0.0)
        ax.set_xlim(-0.02 * last, last * 1.04)
        ax.set_ylim(-0.14 * total, total * 1.24)
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_yticks([tick for tick in ax.get_yticks() if 0 <= tick <= total])
        ax.set_ylabel("token-bearing events so far")
        ax.set_xlabel("time since the request was sent (ms)")
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")

    def _draw_time_stamps(self, ax: Axes, total: int) -> None:
        one = self._one
        stamps = [
            ("sent", 0.0, 0),
            ("headers", one.headers, 1),
            ("first token", float(one.arrivals[0]), 2),
            ("end", one.end, 0),
        ]
        for name, at, row in stamps:
            if at is None:
                continue
            ax.plot(
                [at, at],
                [-0.14 * total, (1.19 - 0.075 * row) * total],
                color=FAINT,
                linewidth=0.9,
                linestyle=(0, (3, 2)),
                zorder=1,
            )
            away, ha = ((-4, 0), "right") if name == "end" else ((4, 0), "left")
            marks.label_value(ax, at, (1.19 - 0.075 * row) * total, f"{name} {short_ms(at)}" if at else name, away, ha)

    def _draw_longest_gap(self, ax: Axes, events: Any) -> None:
        one = self._one
        gaps = np.diff(one.arrivals)
        place = int(np.argmax(gaps))
        begin, end = one.arrivals[place : place + 2].tolist()
        level = float(events[place])
        ax.plot([begin, end], [level, level], color=ORANGE, linewidth=3.5, zorder=2.5, solid_capstyle="butt")
        away, ha, at = ((6, -8), "left", end) if end < 0.6 * float(one.arrivals[-1]) else ((-6, 8), "right", begin)
        marks.label_value(ax, at, level, f"longest gap {short_ms(end - begin)}", away, ha)
