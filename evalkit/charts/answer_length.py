"""The chart of latency against answer length: right, wrong and cut-off answers apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalkit.analysis.client_trust import Trust
from evalkit.analysis.measures import RunMeasures
from evalkit.analysis.times.by_answer_length import KINDS, TimesByAnswerLength
from evalkit.charts import axes, style
from evalkit.charts.chart import Chart
from evalkit.charts.style import BLUE, FAINT, ORANGE, VERMILION
from evalkit.wording import trends
from evalkit.wording.numbers import short_ms, short_number, signed, with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOOKS: dict[str, dict[str, Any]] = {
    "right": {"color": BLUE, "marker": "o", "s": 30},
    "wrong": {"color": VERMILION, "marker": "x", "s": 26, "linewidths": 1.2},
    "cut off": {"facecolors": "none", "edgecolors": ORANGE, "marker": "s", "s": 30, "linewidths": 1.2},
    "unscored": {"color": FAINT, "marker": ".", "s": 30},
}


@dataclass(frozen=True)
class LatencyAgainstAnswerLength(Chart):
    """Latency against the output tokens of each turn."""

    lengths: TimesByAnswerLength
    run: RunMeasures
    _grid_axis = "both"

    @property
    def _missing(self) -> str | None:
        if self.lengths.n:
            return None
        if (reason := trends.no_answer(self.run)) is not None:
            return reason
        return "No answer length is known: the endpoint reported no output tokens (usage)"

    @property
    def _trust(self) -> Trust:
        return self.run.trust

    @property
    def _timed_metrics(self) -> tuple[str, ...]:
        return ("latency",)

    @property
    def _change(self) -> str | None:
        """``less`` or ``more`` latency for a longer answer; None: neither is shown."""
        return trends.direction(self.lengths.growth, "less", "more")

    @property
    def _finding(self) -> str:
        growth = self.lengths.growth.value
        if growth is None or self._change is None:
            return "No clear change of latency with answer length"
        return f"Latency: {short_ms(abs(growth))} {self._change} per output token"

    @property
    def _numbers(self) -> str:
        return f"Per output token, within conversations: {with_interval(self.lengths.growth, signed)} ms; {self._kinds}"

    @property
    def _kinds(self) -> str:
        parts = [
            f"{name} {short_number(median)} (n = {count:,})"
            for name, median, count in zip(KINDS, self.lengths.median_tokens, self.lengths.counts, strict=True)
            if count
        ]
        return f"median output tokens: {', '.join(parts)}"

    @property
    def _notes(self) -> list[str]:
        lengths, growth = self.lengths, self.lengths.growth
        notes = [self._kinds]
        if self._change is not None:  # with few conversations the limits may be thousands of ms
            limits = f"{signed(growth.low or 0)} to {signed(growth.high or 0)} ms"
            notes.insert(0, f"change per output token, within conversations: 95 % interval {limits}")
        if len(lengths.times) < lengths.n:
            notes.append(f"a random sample (seeded) of {len(lengths.times):,} of {lengths.n:,} turns")
        if lengths.untold:
            notes.append(f"answered turns without output tokens: {lengths.untold:,}")
        return notes

    def _draw(self, ax: Axes) -> None:
        lengths = self.lengths
        for index, name in enumerate(KINDS):
            own = lengths.kind == index
            if own.any():
                many = len(lengths.times) > style.MANY_POINTS
                ax.scatter(
                    lengths.tokens[own], lengths.times[own], alpha=0.75, label=name, zorder=2, rasterized=many,
                    **_LOOKS[name],
                )  # fmt: skip
        positive = lengths.times[lengths.times > 0]
        low = float(positive.min()) if len(positive) else 1.0
        axes.time_scale(ax, low, float(lengths.times.max()), room=3.0 if self._client_bound else 1.8)
        ax.margins(x=0.05)
        ax.set_ylabel("latency (ms)")
        ax.set_xlabel("output tokens of the answer")
