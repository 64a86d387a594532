"""Charts of times: by turn index, and as the distributions of latency, first tokens and gaps between reads."""

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
from evalkit.charts import style
from evalkit.charts.style import BLUE, FAINT, INK, ORANGE, PAPER, Chart, ms
from evalkit.stats import estimate
from evalkit.stats.estimate import Estimate
from evalkit.wording import run_results, trends

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VALUES_WRITTEN = 8
_METRICS = (
    ("ttft", "first token (TTFT)", BLUE, "o", -0.18),
    ("latency", "whole answer (end to end)", ORANGE, "s", 0.18),
)
_WHAT = {"ttft": "first token", "latency": "whole answer"}
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
    def _timed(self) -> tuple[str, ...]:
        return ("ttft", "latency")

    @property
    def _finding(self) -> str:
        if not self.run.all.answered:
            return trends.all_failed(self.run)
        lines = [
            trends.change(
                f"Median {name}",
                [(row.turn, getattr(row, f"{metric}_ms")["p50"]) for row in self.run.by_turn],
                ms,
                among=len(_WHAT),
            )
            for metric, name in _WHAT.items()
        ]
        return "\n".join(filter(None, lines)) or "No median can be told"

    @property
    def _numbers(self) -> str:
        rows = [
            f"turn {row.turn} "
            + " and ".join(
                f"{name} {style.within(getattr(row, f'{metric}_ms')['p50'], ms)}" for metric, name in _WHAT.items()
            )
            for row in self.run.by_turn
        ]
        return f"Medians: {trends.some(rows)}"

    @property
    def _notes(self) -> list[str]:
        run = self.run
        notes = ["marker: median with 95 % interval; n: turns timed"]
        if not run.all.ttft_ms["p50"].n:
            notes.append("TTFT is missing: no answer was streamed")
        for metric, name in _WHAT.items():
            medians = [(row.turn, getattr(row, f"{metric}_ms")["p50"]) for row in run.by_turn]
            gone = [(turn, median) for turn, median in medians if median.value is None and median.n]
            notes += [f"turn {turn}, {name} in ms: {median.reason}" for turn, median in gone[:2]]
            if len(gone) > 2:
                notes.append(f"{name}: no median in {len(gone) - 2} more turns either")
        p95s = {row.turn: [row.ttft_ms["p95"], row.latency_ms["p95"]] for row in run.by_turn}
        few = [str(turn) for turn, pair in p95s.items() if pair[1].n < 20]
        late = [str(turn) for turn, pair in p95s.items() if any(p95.value is None and p95.n >= 20 for p95 in pair)]
        if few:
            notes.append(f"no p95 below 20 turns: turn {', '.join(few)}")
        if late:
            notes.append(f"p95 beyond the time-outs: turn {', '.join(late)}")
        return notes + trends.first_tokens(run)

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
        style.time_scale(ax, low, high, room=3.0 if self._client_bound else 1.8)
        if any(row.latency_ms["p95"].value is not None or row.ttft_ms["p95"].value is not None for row in rows):
            ax.plot([], [], color=INK, linewidth=2, label="p95")
        if self.run.all.samples["latency"].timed_out:
            look: dict[str, Any] = {"marker": "^", "color": "none", "markeredgecolor": INK, "linestyle": "none"}
            what = "time-out or cancelled" if self.run.all.interrupted else "time-out"
            ax.plot([], [], label=f"{what}: at least this", **look)
        style.turn_axis(ax, rows, [row.latency_ms["p50"].n for row in rows])
        if len(rows) > 1 and rows[0].turn == 1:
            ax.axvspan(-0.5, 0.5, color=INK, alpha=0.05, linewidth=0, zorder=0)
            above: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "top"}
            ax.text(0, 1, "cold", color=FAINT, fontsize="small", **above)
        ax.set_ylabel("time (ms)")


@dataclass(frozen=True)
class Ecdf(Chart):
    """The distribution of one kind of times, turn 1 apart; time-outs are lower bounds."""

    metric: str
    parts: Mapping[str, Distribution]
    run: RunMeasures

    @property
    def _missing(self) -> str | None:
        if not self.run.by_turn:
            return trends.NO_TURN
        if any(len(part.curve.at) for part in self.parts.values()):
            return None
        if self.metric == "ttft" and self.run.all.answered:
            return "TTFT is missing: no answer was streamed"
        return trends.all_failed(self.run)

    @property
    def _trust(self) -> Trust:
        return self.run.trust

    @property
    def _timed(self) -> tuple[str, ...]:
        return (self.metric,)

    @property
    def _what(self) -> str:
        return f"median {_WHAT[self.metric]}"

    @property
    def _finding(self) -> str:
        medians = {name: part.quantiles["p50"] for name, part in self.parts.items()}
        told = {name: median.value for name, median in medians.items() if median.value is not None}
        if not told:
            return f"No {self._what} can be told"
        if len(told) < 2:
            name, value = next(iter(told.items()))
            return f"{self._what.capitalize()} in {_PARTS[name].removesuffix(', cold')}: {ms(value)}{self._tail(name)}"
        said = trends.direction(estimate.independent_difference(medians["later"], medians["first"]), "faster", "slower")
        both = f"{ms(told['first'])} against {ms(told['later'])}"
        if said is None:
            return f"{self._what.capitalize()} of turn 1 and of later turns: {both}, no clear difference"
        return f"Turn 1 is {said} than later turns: {self._what} {both}"

    def _tail(self, name: str) -> str:
        p95 = self.parts[name].quantiles["p95"].value
        return "" if p95 is None else f", 95 % within {ms(p95)}"

    @property
    def _numbers(self) -> str:
        rows = [
            f"{_PARTS[name]}: " + ", ".join(f"{q} {style.within(part.quantiles[q], ms)}" for q in ("p50", "p95"))
            for name, part in self.parts.items()
        ]
        return "; ".join(rows + self._lost())

    def _lost(self) -> list[str]:
        lost = sum(part.curve.censored for part in self.parts.values())
        what = style.counted(lost, "time-out")
        if self.run.all.interrupted:
            what += " or cancelled" if lost == 1 else " or cancelled turns"
        return [f"{what}, known as lower bounds (Kaplan–Meier)"] if lost else []

    @property
    def _notes(self) -> list[str]:
        return [
            "bands: 95 % interval of the share at each time; markers: median and p95",
            *self._lost(),
            *(trends.first_tokens(self.run) if self.metric == "ttft" else ()),
        ]

    def _draw(self, ax: Axes) -> None:
        reach: list[float] = []
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
                style.values(marked), [0.5, 0.95], color=colour, marker=marker, markeredgecolor=INK, linestyle="none",
                zorder=4,
            )  # fmt: skip
            if curve.censored:
                ax.plot([end], [share[-1]], marker="^", color=PAPER, markeredgecolor=INK, zorder=4)
            reach += [float(curve.at[0]), end]
        positive = [value for value in reach if value > 0]
        style.time_scale(ax, min(positive, default=1.0), max(reach, default=0.0), axis="x", room=1.3)
        ax.set_ylim(0, 1.16 if self._client_bound else 1.03)
        style.percent_axis(ax.yaxis)
        ax.set_ylabel("share of turns that are done" if self.metric == "latency" else "share of turns with a token")
        ax.set_xlabel("latency of a whole answer (ms)" if self.metric == "latency" else "time to first token (ms)")


@dataclass(frozen=True)
class GapsBetweenReads(Chart):
    """The distribution of inter-chunk gaps."""

    gaps: Gaps
    run: RunMeasures

    @property
    def _missing(self) -> str | None:
        if self.gaps.gaps:
            return None
        if not self.run.by_turn:
            return trends.NO_TURN
        if not self.run.all.answered:
            return trends.all_failed(self.run)
        return "There is no gap between reads: no answer came in two or more of them"

    @property
    def _trust(self) -> Trust:
        return self.run.trust

    @property
    def _client_bound(self) -> str | None:
        lag, median = self.run.trust.loop_lag_p99_ms, self.gaps.quantiles.get("p50")
        if not client_trust.client_bound(lag, median):
            return None
        return f"client-bound: {run_results.client_added(lag, {'icl': median}, ['icl'])}"

    @property
    def _finding(self) -> str:
        told = self.gaps.quantiles
        tail = next((f", {name} {ms(told[name])}" for name in ("p99", "p95") if name in told), "")
        return (
            f"Median gap between reads of a stream: {ms(told['p50'])}{tail}"
            if "p50" in told
            else "One or two gaps only"
        )

    @property
    def _numbers(self) -> str:
        rows = [f"{name} {ms(value)}" for name, value in self.gaps.quantiles.items()]
        return (
            f"{style.counted(self.gaps.gaps, 'gap')} in {style.counted(self.gaps.answers, 'answer')}: {', '.join(rows)}"
        )

    @property
    def _notes(self) -> list[str]:
        gaps = self.gaps
        notes = [
            f"{style.counted(gaps.gaps, 'inter-chunk gap')} in {style.counted(gaps.answers, 'streamed answer')}; "
            "band: 95 % interval, gaps of one answer taken together"
        ]
        if gaps.answers < gaps.answers_in_all:
            notes.append(f"a seeded choice of {gaps.answers:,} of {gaps.answers_in_all:,} answers")
        reads, several = self.run.trust.reads, self.run.trust.reads_with_several_events
        if reads and several:
            notes.append(
                f"{style.percent(several / reads)} of reads held several events: gaps are coarser than they were sent"
            )
        return notes

    def _draw(self, ax: Axes) -> None:
        gaps = self.gaps
        share = style.values(gaps.share)
        low, high = (np.array([getattr(one, side) for one in gaps.share], dtype=float) for side in ("low", "high"))
        ax.plot(gaps.at, share, color=BLUE, linewidth=1.8, label="gaps between reads", zorder=3)
        if not np.isnan(low).all():
            ax.fill_between(gaps.at, low, high, color=BLUE, alpha=0.16, linewidth=0)
        for (name, value), marker in zip(gaps.quantiles.items(), ("o", "s", "D"), strict=False):
            q = float(name[1:]) / 100
            ax.plot([value], [q], marker=marker, color=BLUE, markeredgecolor=INK, linestyle="none", zorder=4)
            style.write(ax, value, q, f"{name} {ms(value)}", (8, -9), "left")
        positive = gaps.at[gaps.at > 0]
        style.time_scale(ax, float(min(positive, default=1.0)), float(gaps.at[-1]), axis="x", room=1.6)
        ax.set_ylim(0, 1.16 if self._client_bound else 1.03)
        style.percent_axis(ax.yaxis)
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
        style.errorbars(ax, np.array([at]), [median], **look)
        if written:
            style.write(ax, at + 0.1, median.value, style.figure(median.value), (3, 0), "left")
    if p95.value is not None:
        ax.plot([at - 0.11, at + 0.11], [p95.value] * 2, color=INK, linewidth=2, solid_capstyle="butt", zorder=3)
