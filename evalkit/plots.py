"""Charts of a run, each on one matplotlib Axes; every number in them comes from ``measures``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evalkit import stats
from evalkit.clusters import Floats
from evalkit.errors import MissingExtra
from evalkit.measures import Measures, RunMeasures, Source, measure
from evalkit.stats import Estimate
from evalkit.times import Sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# M. Okabe, K. Ito: colours that stay apart for every kind of colour vision; these also differ in grey
BLUE, ORANGE, VERMILION = "#0072B2", "#E69F00", "#D55E00"
INK, FAINT = "#222222", "#6E6E6E"
TURNS_LABELLED, VALUES_WRITTEN = 12, 8
_METRICS = (
    ("ttft", "first token (TTFT)", BLUE, "o", -0.18),
    ("latency", "whole answer (end to end)", ORANGE, "s", 0.18),
)


def plot_latency(data: Source | RunMeasures, ax: Axes | None = None) -> Axes:
    """Draw TTFT and end-to-end latency by turn index, in ms.

    For each turn index: the median with its 95 % interval, a bar at p95, the single turns behind (at most 400 of
    them, a seeded choice). Time-outs are triangles at their lower bound. Turn 1 stands apart, since it is cold. The
    scale is logarithmic when the times span more than a factor of 20. What is missing is named, not drawn.

    Parameters
    ----------
    data : path-like, sqlite3.Connection or RunMeasures
    ax : Axes, optional
        None: a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    MissingExtra
        matplotlib is not installed.
    """
    run = data if isinstance(data, RunMeasures) else measure(data)
    ax = _axes(ax)
    if not run.by_turn:
        return _nothing(ax, "No finished turn in this run yet")
    for metric, label, colour, marker, shift in _METRICS:
        if not getattr(run.all, f"{metric}_ms")["p50"].n:
            continue
        ax.plot([], [], marker=marker, color=colour, linestyle="none", label=label)
        for place, row in enumerate(run.by_turn):
            _points(ax, place + shift, row.samples[metric], colour, marker)
            written = len(run.by_turn) <= VALUES_WRITTEN
            _median(ax, place + shift, getattr(row, f"{metric}_ms"), written=written, color=colour, marker=marker)
    _latency_scale(ax, run)
    _latency_legend(ax, run)
    _turn_axis(ax, run.by_turn, [row.latency_ms["p50"].n for row in run.by_turn], _latency_notes(run))
    if len(run.by_turn) > 1 and run.by_turn[0].turn == 1:
        ax.axvspan(-0.5, 0.5, color=INK, alpha=0.05, linewidth=0, zorder=0)
        ax.text(0, 1, "cold", transform=ax.get_xaxis_transform(), color=FAINT, fontsize="small", ha="center", va="top")
    ax.set_ylabel("time (ms)")
    return _finish(ax, run, _latency_title(run))


def plot_accuracy(data: Source | RunMeasures, ax: Axes | None = None) -> Axes:
    """Draw accuracy by turn index with 95 % intervals.

    Dots are over answered and scored turns. Where turns failed, diamonds show accuracy over all turns, a failed one
    counting as not right. A turn index without a scored answer is named, not drawn as 0.

    Parameters
    ----------
    data : path-like, sqlite3.Connection or RunMeasures
    ax : Axes, optional
        None: a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    MissingExtra
        matplotlib is not installed.
    """
    run = data if isinstance(data, RunMeasures) else measure(data)
    ax = _axes(ax)
    if not run.by_turn:
        return _nothing(ax, "No finished turn in this run yet")
    means = [row.accuracy.mean for row in run.by_turn]
    places = np.arange(len(means), dtype=float)
    ax.plot(places, _values(means), color=FAINT, linewidth=1, zorder=1)
    _errorbars(ax, places, means, color=BLUE, marker="o", label="answered turns (95 % interval)")
    if any(row.accuracy_all.mean.n > row.accuracy.mean.n for row in run.by_turn):
        style = {"color": INK, "marker": "D", "markerfacecolor": "white", "alpha": 0.75}
        every = [row.accuracy_all.mean for row in run.by_turn]
        _errorbars(ax, places + 0.14, every, label="all turns (failed ones not right)", **style)
    for place, mean in zip(places, means, strict=True):
        if mean.value is None:
            ax.text(place, 0.5, "no scored\nanswer", ha="center", va="center", color=FAINT, fontsize="small")
        elif len(means) <= VALUES_WRITTEN:
            _write(ax, place, mean.value, _percent(mean.value), (-9, 0), "right")
    overall = run.all.accuracy
    if overall.mean.value is not None:
        name = f"overall {_percent(overall.mean.value)}"
        ax.axhline(overall.mean.value, color=FAINT, linestyle=(0, (4, 3)), linewidth=1, zorder=1, label=name)
    ax.legend(**_LEGEND)
    notes = ["n: answered and scored turns"]
    if overall.unscored:
        notes.append(f"answered turns without a score: {overall.unscored:,}")
    _turn_axis(ax, run.by_turn, [mean.n for mean in means], notes)
    ax.set_ylim(-0.02, 1.16 if run.trust.client_bound else 1.04)
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.yaxis.set_major_formatter(lambda value, _: _percent(value))
    ax.set_ylabel("accuracy (mean score)")
    return _finish(ax, run, _accuracy_title(run))


_LEGEND: dict[str, Any] = {
    "loc": "lower left", "bbox_to_anchor": (-0.01, 1.0), "ncols": 4, "frameon": False, "fontsize": "small",
    "handletextpad": 0.4, "columnspacing": 1.4, "borderaxespad": 0.2,
}  # fmt: skip


def _axes(ax: Axes | None) -> Axes:
    try:
        from matplotlib import pyplot
    except ImportError:
        raise MissingExtra("drawing a chart", "notebooks") from None
    if ax is None:
        ax = pyplot.subplots(figsize=(7.5, 4.4), layout="constrained")[1]
    return ax


def _nothing(ax: Axes, sentence: str) -> Axes:
    ax.set_axis_off()
    ax.text(0.5, 0.5, sentence, transform=ax.transAxes, ha="center", va="center", color=FAINT)
    return ax


def _points(ax: Axes, centre: float, sample: Sample, colour: str, marker: str) -> None:
    values, at_least = sample.values, sample.at_least
    rng = np.random.default_rng(0)
    across = centre + rng.uniform(-0.1, 0.1, len(values)) * (len(values) > 1)
    look: dict[str, Any] = {"s": 11, "alpha": 0.28, "linewidths": 0, "zorder": 1}
    ax.scatter(across[~at_least], values[~at_least], color=colour, marker=marker, **look)
    ax.scatter(across[at_least], values[at_least], facecolors="none", edgecolors=colour, marker="^", s=26, zorder=2)


def _median(ax: Axes, at: float, quantiles: dict[str, Estimate], *, written: bool, **look: Any) -> None:
    median, p95 = quantiles["p50"], quantiles["p95"]
    if median.value is not None:
        _errorbars(ax, np.array([at]), [median], **look)
        if written:
            _write(ax, at + 0.1, median.value, _ms(median.value), (3, 0), "left")
    if p95.value is not None:
        ax.plot([at - 0.11, at + 0.11], [p95.value] * 2, color=INK, linewidth=2, solid_capstyle="butt", zorder=3)


def _write(ax: Axes, x: float, y: float, text: str, away: tuple[float, float], ha: str) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
    look: dict[str, Any] = {"va": "center", "fontsize": "small", "color": INK, "bbox": box, "zorder": 3}
    ax.annotate(text, (x, y), away, textcoords="offset points", ha=ha, **look)


def _errorbars(ax: Axes, at: Floats, estimates: Sequence[Estimate], **look: Any) -> None:
    """Markers at the values, bars to the limits; a missing limit leaves that half of the bar out."""
    value = _values(estimates)
    low = np.array([estimate.low for estimate in estimates], dtype=float)
    high = np.array([estimate.high for estimate in estimates], dtype=float)
    reach = np.maximum(np.nan_to_num(np.array([value - low, high - value])), 0)
    style = {"markeredgecolor": INK, "markeredgewidth": 0.8, "markersize": 6, "zorder": 4, "capsize": 3, **look}
    colour = style.pop("color")
    ax.errorbar(at, value, yerr=reach, linestyle="none", color=colour, ecolor=INK, elinewidth=1.3, **style)


def _latency_scale(ax: Axes, run: RunMeasures) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    low = min(sample.low for sample in run.all.samples.values())
    high = max(sample.high for sample in run.all.samples.values())
    if high > 20 * low:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set_ylim(low / 1.6, high * (3.0 if run.trust.client_bound else 1.8))
    elif high > 0:
        ax.set_ylim(0, high * (1.25 if run.trust.client_bound else 1.12))
    else:
        ax.set_yticks([])
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")


def _latency_legend(ax: Axes, run: RunMeasures) -> None:
    if any(row.latency_ms["p95"].value is not None or row.ttft_ms["p95"].value is not None for row in run.by_turn):
        ax.plot([], [], color=INK, linewidth=2, label="p95")
    if run.all.samples["latency"].timed_out:
        ax.plot(
            [], [], marker="^", color="none", markeredgecolor=INK, linestyle="none", label="time-out: at least this"
        )
    if ax.get_legend_handles_labels()[0]:
        ax.legend(**_LEGEND)


def _latency_notes(run: RunMeasures) -> list[str]:
    notes = ["marker: median with 95 % interval; n: turns timed"]
    if not run.all.ttft_ms["p50"].n:
        notes.append("TTFT is missing: no answer was streamed")
    for metric, name in (("ttft_ms", "first token"), ("latency_ms", "whole answer")):
        medians = [(row.turn, getattr(row, metric)["p50"]) for row in run.by_turn]
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
    return notes


def _turn_axis(ax: Axes, rows: Sequence[Measures], counts: Sequence[int], notes: list[str]) -> None:
    every = math.ceil(len(rows) / TURNS_LABELLED)
    labels = []
    for row, n in zip(rows[::every], counts[::every], strict=True):
        errors = row.turns - row.answered
        labels.append(f"turn {row.turn}\nn = {n:,}" + (f"\n{errors:,} failed" if errors else ""))
    ax.set_xticks(range(0, len(rows), every), labels)
    edge = 0.5 if len(rows) > 1 else 1.0
    ax.set_xlim(-edge, len(rows) - 1 + edge)
    ax.set_xlabel("\n".join(notes), fontsize="small", color=FAINT)


def _finish(ax: Axes, run: RunMeasures, title: str) -> Axes:
    ax.set_title(title, loc="left", fontsize="medium", fontweight="bold", color=INK, pad=26)
    ax.grid(axis="y", color="#DDDDDD", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(axis="x", length=0)
    if run.trust.client_bound:
        ax.text(
            0.99, 0.975, f"client-bound run: event-loop lag p99 {_ms(run.trust.loop_lag_p99_ms or 0)} ms",
            transform=ax.transAxes, ha="right", va="top", fontsize="small", color=VERMILION, fontweight="bold",
            bbox={"facecolor": "white", "edgecolor": VERMILION, "boxstyle": "round"}, zorder=6,
        )  # fmt: skip
    return ax


def _accuracy_title(run: RunMeasures) -> str:
    if not run.all.answered:
        return _errors_title(run)
    told = [(row.turn, row.accuracy.mean) for row in run.by_turn]
    return _sentence("Accuracy", told, _percent) or "No answer has a score"


def _latency_title(run: RunMeasures) -> str:
    if not run.all.answered:
        return _errors_title(run)
    lines = [
        _sentence(f"Median {name}", [(row.turn, getattr(row, metric)["p50"]) for row in run.by_turn], _with_ms)
        for metric, name in (("ttft_ms", "first token"), ("latency_ms", "whole answer"))
    ]
    return "\n".join(filter(None, lines)) or "No median can be told"


def _errors_title(run: RunMeasures) -> str:
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in run.all.errors.items())
    return f"No turn was answered: {run.all.turns:,} failed ({kinds})"


def _sentence(what: str, estimates: Sequence[tuple[int | None, Estimate]], form: Callable[[float], str]) -> str:
    """How the first turn index compares with the last that has a quarter of its samples; empty: nothing to tell."""
    told = [(turn, estimate, form(estimate.value)) for turn, estimate in estimates if estimate.value is not None]
    if not told:
        return ""
    (first, start, at_first), (last, end, at_last) = told[0], [row for row in told if 4 * row[1].n >= told[0][1].n][-1]
    if first == last:
        return f"{what}: {at_first} in turn {first}"
    change = stats.difference(start, end)
    if change.low is None or change.high is None or change.low <= 0 <= change.high:
        return f"{what}: {at_first} in turn {first}, {at_last} in turn {last}, no clear difference"
    verb = "falls" if change.high < 0 else "rises"
    return f"{what} {verb} from {at_first} in turn {first} to {at_last} in turn {last}"


def _values(estimates: Sequence[Estimate]) -> Floats:
    return np.array([estimate.value for estimate in estimates], dtype=float)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _with_ms(value: float) -> str:
    return f"{_ms(value)} ms"
