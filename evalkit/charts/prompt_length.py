"""Charts of times against the length of prompts: over all turns, and within conversations as their context grows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit.analysis.client_trust import Trust
from evalkit.analysis.measures import RunMeasures
from evalkit.analysis.times.by_prompt_length import PromptBin, TimesByPromptLength
from evalkit.charts import style
from evalkit.charts.style import BLUE, INK, ORANGE, Chart, ms
from evalkit.stats import estimate
from evalkit.wording import trends

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOOKS = {
    "ttft": ("first token (TTFT)", "first token", BLUE, "o", "-"),
    "latency": ("whole answer (end to end)", "whole answer", ORANGE, "s", (0, (5, 1.5))),
}


@dataclass(frozen=True)
class _AgainstPrompt(Chart):
    lengths: Mapping[str, TimesByPromptLength]
    run: RunMeasures
    _bar_axis = "both"

    @property
    def _trust(self) -> Trust:
        return self.run.trust

    @property
    def _timed(self) -> tuple[str, ...]:
        return tuple(self._told)

    @property
    def _told(self) -> dict[str, TimesByPromptLength]:
        return {name: lengths for name, lengths in self.lengths.items() if lengths.n}

    @property
    def _missing(self) -> str | None:
        if self._told:
            return None
        if not self.run.by_turn:
            return trends.NO_TURN
        if not self.run.all.answered:
            return trends.all_failed(self.run)
        return "The endpoint told no prompt tokens (usage), so that no prompt has a known length"

    def _lacking(self) -> list[str]:
        if "ttft" not in self._told:
            return ["TTFT is missing: no answer was streamed"]
        untold = self.lengths["latency"].untold
        lacking = [f"answered turns without prompt tokens: {untold:,}"] if untold else []
        return lacking + trends.first_tokens(self.run)

    def _scale(self, ax: Axes, low: float, high: float, *, room: float) -> None:
        style.time_scale(ax, low, high, room=room if not self._client_bound else 3.0)
        ax.set_ylabel("time (ms)")
        ax.set_xlabel("prompt tokens of the turn")


@dataclass(frozen=True)
class AgainstPrompt(_AgainstPrompt):
    """TTFT and latency against the prompt tokens of each turn."""

    @property
    def _finding(self) -> str:
        lines = []
        for name, lengths in self._told.items():
            what = f"Median {_LOOKS[name][1]}"
            if len(lengths.bins) < 2:
                continue
            first, last = lengths.bins[0], lengths.bins[-1]
            said = trends.direction(
                estimate.independent_difference(first.median, last.median), "falls", "rises", among=len(self._told)
            )
            values = [ms(part.median.value or 0) for part in (first, last)]
            at = [f"{part.tokens:,.0f}" for part in (first, last)]
            if said is None:
                lines.append(
                    f"{what}: {values[0]} at {at[0]}, {values[1]} at {at[1]} prompt tokens, no clear difference"
                )
            else:
                lines.append(f"{what} {said} from {values[0]} at {at[0]} to {values[1]} at {at[1]} prompt tokens")
        return "\n".join(lines) or "Too few turns to tell how times change with the prompt"

    @property
    def _numbers(self) -> str:
        rows = []
        for name, lengths in self._told.items():
            parts = [f"{part.tokens:,.0f} tokens {style.within(part.median, ms)}" for part in lengths.bins]
            rows.append(f"{_LOOKS[name][1]}, {lengths.n:,} turns: {'; '.join(parts) if parts else 'no medians'}")
        return "Medians by prompt length: " + ". ".join(rows)

    @property
    def _notes(self) -> list[str]:
        told = next(iter(self._told.values()))
        notes = ["markers with bars: medians of turns from 2 on with prompts of about one length, 95 % interval"]
        if not told.bins:
            notes = ["no medians: they need 40 turns from turn 2 on"]
        if len(told.times) < told.n:
            notes.append(f"points: a seeded choice of {len(told.times):,} of {told.n:,} turns; hollow: turn 1, cold")
        else:
            notes.append(f"points: n = {told.n:,} turns; hollow: turn 1, cold")
        return notes + self._lacking()

    def _draw(self, ax: Axes) -> None:
        for name, lengths in self._told.items():
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
        every = [lengths.times for lengths in self._told.values()]
        times = np.concatenate(every)
        self._scale(ax, float(times[times > 0].min(initial=np.inf)), float(times.max()), room=1.8)


@dataclass(frozen=True)
class ContextGrowth(_AgainstPrompt):
    """How times change inside conversations as their prompts grow."""

    @property
    def _missing(self) -> str | None:
        if (why := super()._missing) is not None:
            return why
        if any(lengths.growth.value is not None for lengths in self._told.values()):
            return None
        return "No conversation has two answered turns after turn 1 whose prompt grew"

    @property
    def _finding(self) -> str:
        lines = []
        for name, lengths in self._told.items():
            growth, what = lengths.growth, _LOOKS[name][1]
            if growth.value is None:
                continue
            said = trends.direction(growth, "less", "more", among=len(self._told))
            if said is None:
                lines.append(f"{what.capitalize()}: no clear change as the context of a conversation grows")
            else:
                lines.append(f"{what.capitalize()}: {ms(abs(growth.value))} {said} for 100 prompt tokens more")
        return "\n".join(lines)

    @property
    def _numbers(self) -> str:
        rows = [
            f"{_LOOKS[name][1]} {style.within(lengths.growth, style.signed)}" for name, lengths in self._told.items()
        ]
        return f"Change in ms for 100 prompt tokens more, within conversations from turn 2 on: {'; '.join(rows)}"

    @property
    def _notes(self) -> list[str]:
        told = next(iter(self._told.values()))
        slopes = [
            f"{_LOOKS[name][1]} {style.signed(lengths.growth.value)} ms for 100 tokens"
            + (
                ""
                if lengths.growth.low is None or lengths.growth.high is None
                else f" (95 % {style.signed(lengths.growth.low)} to {style.signed(lengths.growth.high)})"
            )
            for name, lengths in self._told.items()
            if lengths.growth.value is not None
        ]
        return [
            f"within conversations, from turn 2 on: {'; '.join(slopes)}; n = {told.growth.n:,} turns",
            f"faint lines: {style.counted(len(told.lines), 'conversation')}; "
            "markers: medians by turn index, 95 % interval",
            *self._lacking(),
        ]

    def _draw(self, ax: Axes) -> None:
        reach: list[float] = []
        for name, lengths in self._told.items():
            label, _, colour, marker, line = _LOOKS[name]
            for tokens, times in lengths.lines:
                ax.plot(tokens, times, color=colour, linewidth=0.7, alpha=0.3, zorder=1)
                reach += times.tolist()
            told = {turn: part for turn, part in lengths.by_turn.items() if part.median.value is not None}
            if 1 in told:
                self._cold(ax, told.pop(1), colour, marker)
            _medians(ax, tuple(told.values()), colour, marker, line, label)
            reach += [limit for part in lengths.by_turn.values() for limit in _reach(part)]
        positive = [value for value in reach if value > 0]
        self._scale(ax, min(positive, default=1.0), max(reach, default=0.0), room=1.8)
        ax.margins(x=0.08)
        self._turns(ax)

    def _cold(self, ax: Axes, first: PromptBin, colour: str, marker: str) -> None:
        look: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "markerfacecolor": style.PAPER,
            "markeredgecolor": colour,
        }
        style.errorbars(ax, np.array([first.tokens]), [first.median], **look)

    def _turns(self, ax: Axes) -> None:
        """The turn indices above their medians, those of the upper series, if they stand apart."""
        last = list(self._told.values())[-1]
        told = [(turn, part) for turn, part in last.by_turn.items() if part.median.value is not None]
        if not told or len(told) > 8:
            return
        width = max(part.tokens for _, part in told) - min(part.tokens for _, part in told)
        if any(abs(b.tokens - a.tokens) < 0.06 * width for (_, a), (_, b) in pairwise(told)):
            return
        for turn, part in told:
            top = part.median.high or part.median.value or 0.0
            name = f"turn {turn}" + (", cold" if turn == 1 else "")
            style.write(ax, part.tokens, top, name, (0, 9), "center")


def _medians(ax: Axes, parts: tuple[PromptBin, ...], colour: str, marker: str, line: Any, label: str) -> None:
    at = np.array([part.tokens for part in parts])
    medians = [part.median for part in parts]
    ax.plot(at, style.values(medians), color=colour, linestyle=line, linewidth=1.3, zorder=3)
    style.errorbars(ax, at, medians, color=colour, marker=marker, label=label, markeredgecolor=INK)


def _reach(part: PromptBin) -> list[float]:
    return [limit for limit in (part.median.low, part.median.value, part.median.high) if limit is not None]
