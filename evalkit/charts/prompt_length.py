"""Charts of times against prompt length: over all turns, and within conversations as their context grows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.analysis.client_trust import Trust
from evalkit.analysis.measures import RunMeasures
from evalkit.analysis.times.by_prompt_length import PromptBin, TimesByPromptLength
from evalkit.charts import axes, marks, style
from evalkit.charts.chart import Chart
from evalkit.charts.style import BLUE, INK, ORANGE
from evalkit.stats import estimate
from evalkit.wording import run_results, trends
from evalkit.wording.numbers import counted, short_ms, signed, with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOOKS = {
    "ttft": ("time to first token (TTFT)", "time to first token", BLUE, "o", "-"),
    "latency": ("latency (whole answer)", "latency", ORANGE, "s", (0, (5, 1.5))),
}


@dataclass(frozen=True)
class _PromptLengthChart(Chart):
    lengths: Mapping[str, TimesByPromptLength]
    run: RunMeasures
    _grid_axis = "both"

    @property
    def _trust(self) -> Trust:
        return self.run.trust

    @property
    def _timed_metrics(self) -> tuple[str, ...]:
        return tuple(self._measured)

    @property
    def _measured(self) -> dict[str, TimesByPromptLength]:
        return {name: lengths for name, lengths in self.lengths.items() if lengths.n}

    @property
    def _missing(self) -> str | None:
        if self._measured:
            return None
        if (reason := trends.no_answer(self.run)) is not None:
            return reason
        if self.run.imported is not None:
            return "No answer has a time: the run was imported"
        return "No prompt length is known: the endpoint reported no prompt tokens (usage)"

    def _missing_notes(self) -> list[str]:
        if "ttft" not in self._measured:
            return ["TTFT is missing: no answer was streamed"]
        unknown = self.lengths["latency"].untold
        notes = [f"answered turns without prompt tokens: {unknown:,}"] if unknown else []
        return notes + trends.first_token_warnings(self.run)

    def _scale(self, ax: Axes, low: float, high: float, *, room: float) -> None:
        axes.time_scale(ax, low, high, room=room if not self._client_bound else 3.0)
        ax.set_ylabel("time (ms)")
        ax.set_xlabel("prompt tokens of the turn")


@dataclass(frozen=True)
class TimesAgainstPromptLength(_PromptLengthChart):
    """TTFT and latency against the prompt tokens of each turn."""

    @property
    def _finding(self) -> str:
        lines = []
        for name, lengths in self._measured.items():
            median = f"Median {_LOOKS[name][1]}"
            if len(lengths.bins) < 2:
                continue
            first, last = lengths.bins[0], lengths.bins[-1]
            verb = trends.direction(
                estimate.independent_difference(first.median, last.median), "falls", "rises", among=len(self._measured)
            )
            values = [short_ms(part.median.value or 0) for part in (first, last)]
            at = [f"{part.tokens:,.0f}" for part in (first, last)]
            if verb is None:
                lines.append(
                    f"{median}: {values[0]} at {at[0]}, {values[1]} at {at[1]} prompt tokens, no clear difference"
                )
            else:
                lines.append(f"{median} {verb} from {values[0]} at {at[0]} to {values[1]} at {at[1]} prompt tokens")
        return "\n".join(lines) or "Too few turns to show how times change with prompt length"

    @property
    def _numbers(self) -> str:
        rows = []
        for name, lengths in self._measured.items():
            parts = [f"{part.tokens:,.0f} tokens {with_interval(part.median, short_ms)}" for part in lengths.bins]
            rows.append(f"{_LOOKS[name][1]}, {lengths.n:,} turns: {'; '.join(parts) if parts else 'no medians'}")
        return "Medians by prompt length: " + ". ".join(rows)

    @property
    def _notes(self) -> list[str]:
        first = next(iter(self._measured.values()))
        notes = ["markers with bars: medians of turns from 2 on with prompts of similar length, 95 % interval"]
        if not first.bins:
            notes = ["no medians: they need 40 turns from turn 2 on"]
        if len(first.times) < first.n:
            sample = f"a random sample (seeded) of {len(first.times):,} of {first.n:,} turns"
            notes.append(f"points: {sample}; hollow: turn 1, cold")
        else:
            notes.append(f"points: n = {first.n:,} turns; hollow: turn 1, cold")
        return notes + self._missing_notes()

    def _draw(self, ax: Axes) -> None:
        for name, lengths in self._measured.items():
            label, _, colour, marker, line = _LOOKS[name]
            cold = lengths.turn == 1
            look: dict[str, Any] = {"s": 13, "marker": marker, "zorder": 1}
            ax.scatter(
                lengths.tokens[~cold],
                lengths.times[~cold],
                color=colour,
                alpha=0.3,
                linewidths=0,
                rasterized=len(lengths.times) > style.MANY_POINTS,
                **look,
            )
            ax.scatter(
                lengths.tokens[cold], lengths.times[cold], facecolors="none", edgecolors=colour, alpha=0.5,
                linewidths=0.7, **look,
            )  # fmt: skip
            _medians(ax, lengths.bins, colour, marker, line, label)
        every = [lengths.times for lengths in self._measured.values()]
        times = np.concatenate(every)
        self._scale(ax, float(times[times > 0].min(initial=np.inf)), float(times.max()), room=1.8)


@dataclass(frozen=True)
class ContextGrowth(_PromptLengthChart):
    """How times change inside conversations as their prompts grow."""

    @property
    def _missing(self) -> str | None:
        if (why := super()._missing) is not None:
            return why
        if any(lengths.growth.value is not None for lengths in self._measured.values()):
            return None
        return "No conversation has two answered turns after turn 1 whose prompt grew"

    @property
    def _finding(self) -> str:
        lines = []
        for name, lengths in self._measured.items():
            growth, title = lengths.growth, _LOOKS[name][1].capitalize()
            if growth.value is None:
                continue
            comparative = trends.direction(growth, "less", "more", among=len(self._measured))
            if comparative is None:
                lines.append(f"{title}: no clear change as the context of a conversation grows")
            else:
                lines.append(f"{title}: {short_ms(abs(growth.value))} {comparative} per 100 prompt tokens")
        return "\n".join(lines)

    @property
    def _numbers(self) -> str:
        rows = [
            f"{_LOOKS[name][1]} {with_interval(lengths.growth, signed)}" for name, lengths in self._measured.items()
        ]
        return f"Change in ms per 100 prompt tokens, within conversations from turn 2 on: {'; '.join(rows)}"

    @property
    def _notes(self) -> list[str]:
        first = next(iter(self._measured.values()))
        slopes = [
            f"{run_results.NAMES[name]} {signed(lengths.growth.value)} ms per 100 tokens"
            + (
                ""
                if lengths.growth.low is None or lengths.growth.high is None
                else f" (95 % {signed(lengths.growth.low)} to {signed(lengths.growth.high)})"
            )
            for name, lengths in self._measured.items()
            if lengths.growth.value is not None
        ]
        return [
            f"within conversations, from turn 2 on: {'; '.join(slopes)}; n = {first.growth.n:,} turns",
            f"faint lines: {counted(len(first.lines), 'conversation')}; markers: medians by turn index, 95 % interval",
            *self._missing_notes(),
        ]

    def _draw(self, ax: Axes) -> None:
        shown: list[float] = []
        for name, lengths in self._measured.items():
            label, _, colour, marker, line = _LOOKS[name]
            for tokens, times in lengths.lines:
                ax.plot(tokens, times, color=colour, linewidth=0.7, alpha=0.3, zorder=1)
                shown += times.tolist()
            known = {turn: part for turn, part in lengths.by_turn.items() if part.median.value is not None}
            if 1 in known:
                self._draw_cold_turn(ax, known.pop(1), colour, marker)
            _medians(ax, tuple(known.values()), colour, marker, line, label)
            shown += [limit for part in lengths.by_turn.values() for limit in _limits(part)]
        positive = [value for value in shown if value > 0]
        self._scale(ax, min(positive, default=1.0), max(shown, default=0.0), room=1.8)
        ax.margins(x=0.08)
        self._label_turns(ax)

    def _draw_cold_turn(self, ax: Axes, first: PromptBin, colour: str, marker: str) -> None:
        look: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "markerfacecolor": style.PAPER,
            "markeredgecolor": colour,
        }
        marks.error_bars(ax, np.array([first.tokens]), [first.median], **look)

    def _label_turns(self, ax: Axes) -> None:
        """Write turn indices above the medians of the upper series, if they are far enough apart."""
        last = list(self._measured.values())[-1]
        known = [(turn, part) for turn, part in last.by_turn.items() if part.median.value is not None]
        if not known or len(known) > 8:
            return
        width = max(part.tokens for _, part in known) - min(part.tokens for _, part in known)
        if any(abs(b.tokens - a.tokens) < 0.06 * width for (_, a), (_, b) in pairwise(known)):
            return
        for turn, part in known:
            top = part.median.high or part.median.value or 0.0
            name = f"turn {turn}" + (", cold" if turn == 1 else "")
            marks.label_value(ax, part.tokens, top, name, (0, 9), "center")


def _medians(ax: Axes, parts: tuple[PromptBin, ...], colour: str, marker: str, line: Any, label: str) -> None:
    at = np.array([part.tokens for part in parts])
    medians = [part.median for part in parts]
    ax.plot(at, marks.values(medians), color=colour, linestyle=line, linewidth=1.3, zorder=3)
    marks.error_bars(ax, at, medians, color=colour, marker=marker, label=label, markeredgecolor=INK)


def _limits(part: PromptBin) -> list[float]:
    return [limit for limit in (part.median.low, part.median.value, part.median.high) if limit is not None]
