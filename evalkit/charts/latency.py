"""Charts of times: by turn index, and the distributions of latency, time to first token and gaps between reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.analysis import client_trust
from evalkit.analysis.client_trust import Trust
from evalkit.analysis.measures import RunMeasures
from evalkit.analysis.times.quantiles import Distribution, Sample
from evalkit.analysis.times.token_gaps import Gaps
from evalkit.charts import axes, marks, style
from evalkit.charts.chart import Chart
from evalkit.charts.style import BLUE, FAINT, INK, ORANGE, PAPER
from evalkit.stats import estimate
from evalkit.stats.estimate import Estimate
from evalkit.wording import run_results, trends
from evalkit.wording.numbers import counted, short_ms, short_number, whole_percent, with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VALUES_WRITTEN = 8
_METRICS = (
    ("ttft", "time to first token (TTFT)", BLUE, "o", -0.18),
    ("latency", "latency (whole answer)", ORANGE, "s", 0.18),
)
_TITLES = {"ttft": "time to first token", "latency": "latency"}
_PARTS = {"first": "turn 1, cold", "later": "turns from 2 on"}


@dataclass(frozen=True)
class LatencyByTurn(Chart):
    """TTFT and latency by turn index."""

    run: RunMeasures

    @property
    def _missing(self) -> str | None:
        return None if self.run.by_turn else trends.NO_TURN

    @property
    def _trust(self) -> Trust:
        return self.run.trust

    @property
    def _timed_metrics(self) -> tuple[str, ...]:
        return ("ttft", "latency")

    @property
    def _finding(self) -> str:
        if not self.run.all.answered:
            return trends.all_failed(self.run)
        lines = [
            trends.change(
                f"Median {name}",
                [(row.turn, getattr(row, f"{metric}_ms")["p50"]) for row in self.run.by_turn],
                short_ms,
                among=len(_TITLES),
            )
            for metric, name in _TITLES.items()
        ]
        return "\n".join(filter(None, lines)) or "No median is known"

    @property
    def _numbers(self) -> str:
        rows = [
            f"turn {row.turn} "
            + " and ".join(
                f"{name} {with_interval(getattr(row, f'{metric}_ms')['p50'], short_ms)}"
                for metric, name in _TITLES.items()
            )
            for row in self.run.by_turn
        ]
        return f"Medians: {trends.first_rows(rows)}"

    @property
    def _notes(self) -> list[str]:
        run = self.run
        notes = ["marker: median with 95 % interval; n: timed turns"]
        if not run.all.ttft_ms["p50"].n:
            notes.append("TTFT is missing: no answer was streamed")
        for metric, name in _TITLES.items():
            medians = [(row.turn, getattr(row, f"{metric}_ms")["p50"]) for row in run.by_turn]
            unknown = [(turn, median) for turn, median in medians if median.value is None and median.n]
            notes += [f"turn {turn}, {name} in ms: {median.reason}" for turn, median in unknown[:2]]
            if len(unknown) > 2:
                notes.append(f"{name}: no median in {counted(len(unknown) - 2, 'more turn')}")
        p95s = {row.turn: [row.ttft_ms["p95"], row.latency_ms["p95"]] for row in run.by_turn}
        few = [str(turn) for turn, pair in p95s.items() if pair[1].n < 20]
        late = [str(turn) for turn, pair in p95s.items() if any(p95.value is None and p95.n >= 20 for p95 in pair)]
        if few:
            notes.append(f"no p95 below 20 turns: turn {', '.join(few)}")
        if late:
            notes.append(f"p95 unknown because of time-outs: turn {', '.join(late)}")
        return notes + trends.first_token_warnings(run)

    def _draw(self, ax: Axes) -> None:
        rows = self.run.by_turn
        for metric, label, colour, marker, shift in _METRICS:
            if not getattr(self.run.all, f"{metric}_ms")["p50"].n:
                continue
            ax.plot([], [], marker=marker, color=colour, linestyle="none", label=label)
            for place, row in enumerate(rows):
                _points(ax, place + shift, row.samples[metric], colour, marker)
                written = len(rows) <= VALUES_WRITTEN
                _median(ax, place + shift, getattr(row, f"{metric}_ms"), written=written, color=colour, marker=marker)
        samples = self.run.all.samples.values()
        low, high = min(sample.low for sample in samples), max(sample.high for sample in samples)
        axes.time_scale(ax, low, high, room=3.0 if self._client_bound else 1.8)
        if any(row.latency_ms["p95"].value is not None or row.ttft_ms["p95"].value is not None for row in rows):
            ax.plot([], [], color=INK, linewidth=2, label="p95")
        if self.run.all.samples["latency"].timed_out:
            look: dict[str, Any] = {"marker": "^", "color": "none", "markeredgecolor": INK, "linestyle": "none"}
            bounded = "timed out or cancelled" if self.run.all.interrupted else "timed out"
            ax.plot([], [], label=f"{bounded}: at least this", **look)
        axes.turn_axis(ax, rows, [row.latency_ms["p50"].n for row in rows])
        if len(rows) > 1 and rows[0].turn == 1:
            ax.axvspan(-0.5, 0.5, color=INK, alpha=0.05, linewidth=0, zorder=0)
            above: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "top"}
            ax.text(0, 1, "cold", color=FAINT, fontsize="small", **above)
        ax.set_ylabel("time (ms)")


@dataclass(frozen=True)
class TimeDistribution(Chart):
    """The distribution of one metric, turn 1 shown separately; time-outs are lower bounds."""

    metric: str
    parts: Mapping[str, Distribution]
    run: RunMeasures

    @property
    def _missing(self) -> str | None:
        if not self.run.by_turn:
            return trends.NO_TURN
        if any(len(part.curve.at) for part in self.parts.values()):
            return None
        if (reason := trends.no_answer(self.run)) is not None:
            return reason
        return "TTFT is missing: no answer was streamed" if self.metric == "ttft" else "No answer has a latency"

    @property
    def _trust(self) -> Trust:
        return self.run.trust

    @property
    def _timed_metrics(self) -> tuple[str, ...]:
        return (self.metric,)

    @property
    def _median(self) -> str:
        return f"median {_TITLES[self.metric]}"

    @property
    def _finding(self) -> str:
        medians = {name: part.quantiles["p50"] for name, part in self.parts.items()}
        known = {name: median.value for name, median in medians.items() if median.value is not None}
        if not known:
            return f"No {self._median} is known"
        if len(known) < 2:
            name, value = next(iter(known.items()))
            turns = _PARTS[name].removesuffix(", cold")
            return f"{self._median.capitalize()} in {turns}: {short_ms(value)}{self._p95(name)}"
        comparative = trends.direction(
            estimate.independent_difference(medians["later"], medians["first"]), "faster", "slower"
        )
        first, later = short_ms(known["first"]), short_ms(known["later"])
        if comparative is None:
            return f"{self._median.capitalize()}: {first} in turn 1, {later} in later turns, no clear difference"
        return f"Turn 1 is {comparative}: {self._median} {first}, {later} in later turns"

    def _p95(self, name: str) -> str:
        p95 = self.parts[name].quantiles["p95"].value
        return "" if p95 is None else f", 95 % within {short_ms(p95)}"

    @property
    def _numbers(self) -> str:
        rows = [
            f"{_PARTS[name]}: " + ", ".join(f"{q} {with_interval(part.quantiles[q], short_ms)}" for q in ("p50", "p95"))
            for name, part in self.parts.items()
        ]
        return "; ".join(rows + self._lower_bounds())

    def _lower_bounds(self) -> list[str]:
        lost = sum(part.curve.censored for part in self.parts.values())
        turns = counted(lost, "time-out")
        if self.run.all.interrupted:
            turns = counted(lost, "timed-out or cancelled turn")
        bounds = "a lower bound" if lost == 1 else "lower bounds"
        return [f"{turns} counted as {bounds} (Kaplan–Meier)"] if lost else []

    @property
    def _notes(self) -> list[str]:
        return [
            "bands: 95 % interval of the share at each time; markers: median and p95",
            *self._lower_bounds(),
            *(trends.first_token_warnings(self.run) if self.metric == "ttft" else ()),
        ]

    def _draw(self, ax: Axes) -> None:
        times: list[float] = []
        own, own_marker = next(look[2:4] for look in _METRICS if look[0] == self.metric)
        for name, part in self.parts.items():
            curve = part.curve
            if not len(curve.at):
                continue
            colour, marker, line = (FAINT, "o", (0, (5, 1.5))) if name == "first" else (own, own_marker, "-")
            end = max(curve.last, float(curve.at[-1]))
            at, share = np.append(curve.at, end), np.append(curve.share, curve.share[-1])
            bounded = ~np.isnan(curve.low)
            ax.step(
                at, share, where="post", color=colour, linestyle=line, linewidth=1.8, zorder=3,
                label=f"{_PARTS[name]} (n = {curve.n:,})",
            )  # fmt: skip
            if bounded.any():
                ax.fill_between(
                    curve.at[bounded],
                    curve.low[bounded],
                    curve.high[bounded],
                    step="post",
                    color=colour,
                    alpha=0.16,
                    linewidth=0,
                )
            marked = [part.quantiles["p50"], part.quantiles["p95"]]
            ax.plot(
                marks.values(marked), [0.5, 0.95], color=colour, marker=marker, markeredgecolor=INK, linestyle="none",
                zorder=4,
            )  # fmt: skip
            if curve.censored:
                ax.plot([end], [share[-1]], marker="^", color=PAPER, markeredgecolor=INK, zorder=4)
            times += [float(curve.at[0]), end]
        positive = [value for value in times if value > 0]
        axes.time_scale(ax, min(positive, default=1.0), max(times, default=0.0), axis="x", room=1.3)
        ax.set_ylim(0, 1.16 if self._client_bound else 1.03)
        axes.percent_axis(ax.yaxis)
        ax.set_ylabel(
            "share of turns that are done" if self.metric == "latency" else "share of turns with a first token"
        )
        ax.set_xlabel("latency (ms)" if self.metric == "latency" else "time to first token (ms)")


@dataclass(frozen=True)
class GapsBetweenReads(Chart):
    """The distribution of inter-chunk gaps."""

    gaps: Gaps
    run: RunMeasures

    @property
    def _missing(self) -> str | None:
        if self.gaps.gaps:
            return None
        if (reason := trends.no_answer(self.run)) is not None:
            return reason
        return "There is no gap between reads: no answer arrived in two or more reads"

    @property
    def _trust(self) -> Trust:
        return self.run.trust

    @property
    def _client_bound(self) -> str | None:
        lag, median = self.run.trust.loop_lag_p99_ms, self.gaps.quantiles.get("p50")
        if not client_trust.client_bound(lag, median):
            return None
        return f"client-bound: {run_results.delay_added_by_client(lag, {'icl': median}, ['icl'])}"

    @property
    def _finding(self) -> str:
        quantiles = self.gaps.quantiles
        if "p50" not in quantiles:
            return "Only one or two gaps between reads"
        highest = next((f", {name} {short_ms(quantiles[name])}" for name in ("p99", "p95") if name in quantiles), "")
        return f"Median gap between reads of a stream: {short_ms(quantiles['p50'])}{highest}"

    @property
    def _numbers(self) -> str:
        rows = [f"{name} {short_ms(value)}" for name, value in self.gaps.quantiles.items()]
        return f"{counted(self.gaps.gaps, 'gap')} in {counted(self.gaps.answers, 'answer')}: {', '.join(rows)}"

    @property
    def _notes(self) -> list[str]:
        gaps = self.gaps
        notes = [
            f"{counted(gaps.gaps, 'inter-chunk gap')} in {counted(gaps.answers, 'streamed answer')}",
            "band: 95 % interval, the gaps of one answer as one cluster",
        ]
        if gaps.answers < gaps.answers_in_all:
            notes.append(f"a random sample (seeded) of {gaps.answers:,} of {gaps.answers_in_all:,} answers")
        reads, several = self.run.trust.reads, self.run.trust.reads_with_several_events
        if reads and several:
            notes.append(
                f"{whole_percent(several / reads)} of reads held several events: gaps are coarser than they were sent"
            )
        return notes

    def _draw(self, ax: Axes) -> None:
        gaps = self.gaps
        share = marks.values(gaps.share)
        low, high = (np.array([getattr(one, side) for one in gaps.share], dtype=float) for side in ("low", "high"))
        ax.plot(gaps.at, share, color=BLUE, linewidth=1.8, label="gaps between reads", zorder=3)
        if not np.isnan(low).all():
            ax.fill_between(gaps.at, low, high, color=BLUE, alpha=0.16, linewidth=0)
        for (name, value), marker in zip(gaps.quantiles.items(), ("o", "s", "D"), strict=False):
            q = float(name[1:]) / 100
            ax.plot([value], [q], marker=marker, color=BLUE, markeredgecolor=INK, linestyle="none", zorder=4)
            marks.label_value(ax, value, q, f"{name} {short_ms(value)}", (8, -9), "left")
        positive = gaps.at[gaps.at > 0]
        axes.time_scale(ax, float(min(positive, default=1.0)), float(gaps.at[-1]), axis="x", room=1.6)
        ax.set_ylim(0, 1.16 if self._client_bound else 1.03)
        axes.percent_axis(ax.yaxis)
        ax.set_ylabel("share of gaps")
        ax.set_xlabel("gap between reads that brought tokens (ms)")


def _points(ax: Axes, centre: float, sample: Sample, colour: str, marker: str) -> None:
    values, at_least = sample.values, sample.at_least
    rng = np.random.default_rng(0)
    across = centre + rng.uniform(-0.1, 0.1, len(values)) * (len(values) > 1)
    look: dict[str, Any] = {"s": 11, "alpha": 0.28, "linewidths": 0, "zorder": 1}
    look["rasterized"] = len(values) > style.MANY_POINTS
    ax.scatter(across[~at_least], values[~at_least], color=colour, marker=marker, **look)
    ax.scatter(across[at_least], values[at_least], facecolors="none", edgecolors=colour, marker="^", s=26, zorder=2)


def _median(ax: Axes, at: float, quantiles: Mapping[str, Estimate], *, written: bool, **look: Any) -> None:
    median, p95 = quantiles["p50"], quantiles["p95"]
    if median.value is not None:
        marks.error_bars(ax, np.array([at]), [median], **look)
        if written:
            marks.label_value(ax, at + 0.1, median.value, short_number(median.value), (3, 0), "left")
    if p95.value is not None:
        ax.plot([at - 0.11, at + 0.11], [p95.value] * 2, color=INK, linewidth=2, solid_capstyle="butt", zorder=3)
