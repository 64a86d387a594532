"""Charts of accuracy: by turn index, by tag, and against latency over several runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.analysis.accuracy.by_tag import TagAccuracy
from evalkit.analysis.client_trust import Trust
from evalkit.analysis.measures import RunMeasures
from evalkit.charts import safe_text, style
from evalkit.charts.style import BLUE, FAINT, INK, PAPER, SERIES, Chart, percent
from evalkit.stats.estimate import Estimate
from evalkit.wording import trends
from evalkit.wording.comparison import LEVEL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from evalkit.comparing.comparison import Comparison
    from evalkit.comparing.effects import Effect

VALUES_WRITTEN = 8
MOST_TAGS = 20


@dataclass(frozen=True)
class AccuracyByTurn(Chart):
    """Accuracy by turn index."""

    run: RunMeasures

    @property
    def _missing(self) -> str | None:
        return None if self.run.by_turn else trends.NO_TURN

    @property
    def _finding(self) -> str:
        if not self.run.all.answered:
            return trends.all_failed(self.run)
        told = [(row.turn, row.accuracy.mean) for row in self.run.by_turn]
        return trends.change("Accuracy", told, percent) or "No answer has a score"

    @property
    def _numbers(self) -> str:
        rows = [f"turn {row.turn} {style.within(row.accuracy.mean)}" for row in self.run.by_turn]
        return f"Accuracy over answered and scored turns: {trends.some(rows)}"

    @property
    def _notes(self) -> list[str]:
        unscored = self.run.all.accuracy.unscored
        return ["n: answered and scored turns"] + (
            [f"answered turns without a score: {unscored:,}"] if unscored else []
        )

    def _draw(self, ax: Axes) -> None:
        rows = self.run.by_turn
        means = [row.accuracy.mean for row in rows]
        places = np.arange(len(means), dtype=float)
        ax.plot(places, style.values(means), color=FAINT, linewidth=1, zorder=1)
        style.errorbars(ax, places, means, color=BLUE, marker="o", label="answered turns (95 % interval)")
        if any(row.accuracy_all.mean.n > row.accuracy.mean.n for row in rows):
            look: dict[str, Any] = {"color": INK, "marker": "D", "markerfacecolor": PAPER, "alpha": 0.75}
            every = [row.accuracy_all.mean for row in rows]
            style.errorbars(ax, places + 0.14, every, label="all turns (failed ones not right)", **look)
        for place, mean in zip(places, means, strict=True):
            if mean.value is None:
                ax.text(place, 0.5, "no scored\nanswer", ha="center", va="center", color=FAINT, fontsize="small")
            elif len(means) <= VALUES_WRITTEN:
                style.write(ax, place, mean.value, percent(mean.value), (-9, 0), "right")
        overall = self.run.all.accuracy.mean.value
        if overall is not None:
            ax.axhline(
                overall, color=FAINT, linestyle=(0, (4, 3)), linewidth=1, zorder=1, label=f"overall {percent(overall)}"
            )
        style.turn_axis(ax, rows, [mean.n for mean in means])
        ax.set_ylim(-0.02, 1.04)
        style.percent_axis(ax.yaxis)
        ax.set_ylabel("accuracy (mean score)")


@dataclass(frozen=True)
class AccuracyByTag(Chart):
    """Accuracy by tag, the most frequent tag on top."""

    run: RunMeasures
    _bar_axis = "x"

    @property
    def _missing(self) -> str | None:
        if self.run.by_tag:
            return None
        return "No conversation of this run has a tag" if self.run.by_turn else trends.NO_TURN

    @property
    def _shown(self) -> Sequence[TagAccuracy]:
        return self.run.by_tag[:MOST_TAGS]

    @property
    def _more(self) -> int:
        return len(self.run.by_tag) - len(self._shown) + self.run.tags_left_out

    @property
    def _overall(self) -> float | None:
        return self.run.all.accuracy.mean.value

    @property
    def _height(self) -> float:
        return style.height(len(self._shown))

    @property
    def _finding(self) -> str:
        told = [tag for tag in self._shown if tag.mean.value is not None]
        if not told:
            return "No answer with a tag has a score"
        apart = [tag for tag in told if self._side(tag.among_all)]
        if self._overall is None or len(told) == 1 or not apart:
            return f"{style.counted(len(told), 'tag')}: no clear difference from the overall accuracy"
        below = [tag.tag for tag in apart if self._side(tag.among_all) < 0]
        above = [tag.tag for tag in apart if self._side(tag.among_all) > 0]
        parts = [
            f"{trends.listed([safe_text.name(tag, 24) for tag in names[:3]], len(names) - 3)} {side} it"
            for names, side in ((below, "below"), (above, "above"))
            if names
        ]
        return f"Against the overall {percent(self._overall)}: {', '.join(parts)}"

    def _side(self, accuracy: Estimate) -> int:
        """-1: its interval lies below the overall accuracy; 1: above; 0: neither. Many tags are compared at once."""
        overall = self._overall
        if overall is None or accuracy.low is None or accuracy.high is None:
            return 0
        return int(accuracy.low > overall) - int(accuracy.high < overall)

    @property
    def _numbers(self) -> str:
        rows = [f"{safe_text.name(tag.tag)} {style.within(tag.mean)}" for tag in self._shown]
        return f"Accuracy by tag: {trends.some(rows)}{self._left_out()}"

    def _left_out(self) -> str:
        return f"; {self._more:,} less frequent tags are left out" if self._more else ""

    @property
    def _notes(self) -> list[str]:
        notes = ["bars: 95 % interval, each by itself; n: answered and scored turns; a turn counts in each of its tags"]
        if self._more:
            count = len(self._shown)
            notes.append(f"the {count} most frequent of {count + self._more:,} tags{self._left_out()}")
        if any(tag.mean.value is not None and tag.mean.low is None for tag in self._shown):
            notes.append(
                "hollow: all scored turns of the tag are of one conversation, or group, which tells no interval"
            )
        return notes

    def _draw(self, ax: Axes) -> None:
        shown = self._shown
        places = -np.arange(len(shown), dtype=float)
        estimates = [tag.mean for tag in shown]
        bounded = [estimate.low is not None for estimate in estimates]
        label = "answered turns (95 % interval)"
        for told, face in ((True, BLUE), (False, PAPER)):
            own = [place for place, is_bounded in enumerate(bounded) if is_bounded is told]
            if own:
                look: dict[str, Any] = {
                    "marker": "o",
                    "markerfacecolor": face,
                    "label": label if told else "no interval",
                }
                style.errorbars(ax, places[own], [estimates[place] for place in own], across=True, color=BLUE, **look)
        for place, tag in zip(places, shown, strict=True):
            if tag.mean.value is None:
                ax.text(0.5, place, "no scored answer", ha="center", va="center", color=FAINT, fontsize="small")
        if self._overall is not None:
            name = f"overall {percent(self._overall)}"
            ax.axvline(self._overall, color=FAINT, linestyle=(0, (4, 3)), linewidth=1, zorder=1, label=name)
        labels = [
            f"{safe_text.name(tag.tag, 28)}  n = {tag.mean.n:,}"
            + (f", {tag.turns - tag.answered:,} failed" if tag.answered < tag.turns else "")
            for tag in shown
        ]
        ax.set_yticks(places, labels, fontsize="small" if len(shown) > 10 else "medium")
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(places[-1] - 0.6, 0.6)
        ax.set_xlim(-0.02, 1.04)
        style.percent_axis(ax.xaxis)
        ax.set_xlabel("accuracy (mean score)")


@dataclass(frozen=True)
class AccuracyAgainstLatency(Chart):
    """One point a run: its accuracy over its median latency, both with their intervals."""

    runs: Sequence[RunMeasures]
    names: Sequence[str]
    comparison: Comparison | None = None  # of the same runs; without one, no difference is claimed
    _bar_axis = "both"

    @property
    def _told(self) -> list[tuple[str, Estimate, Estimate]]:
        return [
            (name, run.all.latency_ms["p50"], run.all.accuracy.mean)
            for name, run in zip(self.names, self.runs, strict=True)
            if run.all.latency_ms["p50"].value is not None and run.all.accuracy.mean.value is not None
        ]

    @property
    def _missing(self) -> str | None:
        if self._told:
            return None
        return "No run has both a scored answer and a median latency" if self.runs else "No run was given"

    @property
    def _trust(self) -> Trust | None:
        return next((run.trust for run in self.runs if "latency" in (run.trust.client_bound_metrics or ())), None)

    @property
    def _timed(self) -> tuple[str, ...]:
        return ("latency",)

    @property
    def _finding(self) -> str:
        told = self._told
        if len(told) == 1:
            name, latency, accuracy = told[0]
            return f"{name}: {percent(accuracy.value or 0)} right at a median latency of {style.ms(latency.value or 0)}"
        accuracies = [accuracy.value or 0 for _, _, accuracy in told]
        medians = [latency.value or 0 for _, latency, _ in told]
        lead = self._compared() or f"Accuracy {percent(min(accuracies))} to {percent(max(accuracies))}"
        return f"{lead}; median latency {style.ms(min(medians))} to {style.ms(max(medians))}"

    def _compared(self) -> str | None:
        """What the comparison of the runs shows; None: they are not compared."""
        if self.comparison is None:
            return None
        first, *others = self.names
        sides = [self._side(contrast.all) for contrast in self.comparison.contrasts]
        better = [name for name, side in zip(others, sides, strict=True) if side > 0]
        worse = [name for name, side in zip(others, sides, strict=True) if side < 0]
        if len(others) == 1:
            pair = (others[0], first) if better else (first, others[0])
            return " is more accurate than ".join(pair) if better or worse else "No difference in accuracy shown"
        parts = [
            f"{trends.listed(names[:3], len(names) - 3)} {'is' if len(names) == 1 else 'are'} {how} accurate"
            for names, how in ((better, "more"), (worse, "less"))
            if names
        ]
        return f"Compared with {first}, {', '.join(parts) or 'no difference in accuracy is shown'}"

    def _side(self, effect: Effect) -> int:
        """Whether a comparison shows the later run to be better, 1, or worse, -1, among all that are compared."""
        assert self.comparison is not None
        alone = len(self.comparison.contrasts) == 1
        if not alone and (effect.corrected_p is None or effect.corrected_p >= LEVEL):
            return 0
        return {"better": 1, "worse": -1, None: 0}[trends.direction(effect.difference, "worse", "better")]

    @property
    def _numbers(self) -> str:
        rows = [
            f"{name}: accuracy {style.within(accuracy)}, median latency {style.within(latency, style.ms)}"
            for name, latency, accuracy in self._told
        ]
        return trends.some([*rows, *self._gone()])

    def _gone(self) -> list[str]:
        shown = {name for name, _, _ in self._told}
        gone = [name for name in self.names if name not in shown]
        return [f"not drawn, no scored answer or no median latency: {trends.listed(gone)}"] if gone else []

    @property
    def _notes(self) -> list[str]:
        tested = [] if self.comparison or len(self._told) < 2 else ["differences are not tested: see evalkit compare"]
        return ["bars: 95 % intervals, each by itself; n: scored answers", *tested, *self._gone()]

    def _draw(self, ax: Axes) -> None:
        reach = []
        for place, (name, latency, accuracy) in enumerate(self._told):
            colour, marker, _ = SERIES[place % len(SERIES)]
            x, y = latency.value or 0.0, accuracy.value or 0.0
            look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 7.5}
            style.errorbars(ax, np.array([x]), [accuracy], label=f"{name} (n = {accuracy.n:,})", **look)
            style.errorbars(ax, np.array([y]), [latency], across=True, **look)
            reach += [limit for limit in (latency.low, x, latency.high) if limit]
        style.time_scale(ax, min(reach, default=1.0), max(reach, default=0.0), axis="x", room=1.3)
        ax.set_ylim(-0.02, 1.16 if self._client_bound else 1.04)
        style.percent_axis(ax.yaxis)
        ax.set_ylabel("accuracy (mean score)")
        ax.set_xlabel("median latency of a whole answer (ms)")
