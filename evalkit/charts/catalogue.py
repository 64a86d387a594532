"""The list of all charts: of a run, of two runs compared, of a load test. Each is drawn on one matplotlib Axes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from evalkit.analysis.measures import RunMeasures, Source, measure, opened
from evalkit.analysis.times import along_run, by_answer_length, by_prompt_length, one_answer, quantiles, token_gaps
from evalkit.charts import load, safe_text
from evalkit.charts.accuracy import AccuracyAgainstLatency, AccuracyByTag, AccuracyByTurn
from evalkit.charts.answer_length import LatencyAgainstAnswerLength
from evalkit.charts.chart import Chart
from evalkit.charts.comparison import Differences, FlippedTurns
from evalkit.charts.latency import GapsBetweenReads, LatencyByTurn, TimeDistribution
from evalkit.charts.load import LoadAccuracy, LoadFirstToken, LoadGoodput, LoadThroughput
from evalkit.charts.prompt_length import ContextGrowth, TimesAgainstPromptLength
from evalkit.charts.timeline import OneAnswer, TurnsOverTime
from evalkit.comparing.comparison import Comparison, compare
from evalkit.errors import EvalkitError
from evalkit.runfile import store

if TYPE_CHECKING:
    import sqlite3

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from evalkit.comparing.comparison import Contrast
    from evalkit.loadtest.sweep import Sweep

Draw = Callable[["Axes | None"], "Axes"]


class Drawing(NamedTuple):
    """A chart that can be drawn.

    Parameters
    ----------
    name : str
        Letters and ``-`` only, so that it can be a file name.
    draw : callable
        Accepts an Axes, or None for a new figure, and returns the Axes.
    alt : str
        The finding and its numbers in words, for readers who cannot see the chart. It contains names from the run.
    """

    name: str
    draw: Draw
    alt: str


def plot_accuracy(data: Source | RunMeasures, ax: Axes | None = None) -> Axes:
    """Draw accuracy by turn index with 95 % intervals.

    Dots are over answered and scored turns. If turns failed, diamonds show accuracy over all turns, where a failed one
    counts as not right. A turn index without a scored answer is labelled, not drawn as 0.

    Parameters
    ----------
    data : path-like, sqlite3.Connection or RunMeasures
    ax : Axes, optional
        None: a new figure. The same holds for every chart here.

    Returns
    -------
    Axes

    Raises
    ------
    RunFileError
        The file cannot be read as a run file. The same holds for every chart of a run.
    MissingExtra
        matplotlib is not installed. The same holds for every chart.
    """
    return AccuracyByTurn(_measured(data)).draw(ax)


def plot_tags(data: Source | RunMeasures, ax: Axes | None = None) -> Axes:
    """Draw accuracy by tag with 95 % intervals: the 20 most frequent tags, and how many are left out."""
    return AccuracyByTag(_measured(data)).draw(ax)


def plot_models(runs: Sequence[Source | RunMeasures], ax: Axes | None = None) -> Axes:
    """Draw accuracy against median latency, one point per run, with both 95 % intervals.

    For run files of one dataset, each compared with the first, the title says which run is more accurate if
    ``evalkit.compare`` shows it; for others it only describes. Points are named by model, or by run if several runs
    have one model or are given as RunMeasures. A run that lacks accuracy or latency is named, not drawn.
    """
    return models_chart(runs).draw(ax)


def plot_latency(data: Source | RunMeasures, ax: Axes | None = None) -> Axes:
    """Draw TTFT and end-to-end latency by turn index, in ms.

    For each turn index: the median with its 95 % interval, a bar at p95, and behind them single turns (at most 400, a
    seeded random sample). Time-outs are triangles at their lower bound. Turn 1 is shaded, since it is cold. The scale
    is logarithmic if the times span more than a factor of 20. What is missing is named, not drawn.

    Parameters
    ----------
    data : path-like, sqlite3.Connection or RunMeasures
    ax : Axes, optional
    """
    return LatencyByTurn(_measured(data)).draw(ax)


def plot_ecdf(run: Source, ax: Axes | None = None) -> Axes:
    """Draw the distribution of latency in ms, turn 1 separately, with pointwise 95 % intervals.

    A time-out is a lower bound: the curve is the Kaplan–Meier estimate, and it ends where no more is known.
    """
    return _chart(run, "latency-distribution").draw(ax)


def plot_ttft(run: Source, ax: Axes | None = None) -> Axes:
    """Draw the distribution of TTFT, as ``plot_ecdf`` does for latency."""
    return _chart(run, "first-token-distribution").draw(ax)


def plot_gaps(run: Source, ax: Axes | None = None) -> Axes:
    """Draw the distribution of inter-chunk gaps in ms, of at most 2,000 answers, a seeded random sample.

    The band is a pointwise 95 % interval, with the gaps of one answer as one cluster.
    """
    return _chart(run, "gaps").draw(ax)


def plot_prompts(run: Source, ax: Axes | None = None) -> Axes:
    """Draw TTFT and latency against prompt tokens: at most 400 turns, and medians of bins with equal counts."""
    return _chart(run, "prompt-length").draw(ax)


def plot_context(run: Source, ax: Axes | None = None) -> Axes:
    """Draw how times grow within conversations: at most 40 of them as lines, medians by turn index, the slope in words.

    The slope is over turns from 2 on, within conversations, with a 95 % interval: see
    ``by_prompt_length.slope_within``.
    """
    return _chart(run, "context-growth").draw(ax)


def plot_answer_length(run: Source, ax: Axes | None = None) -> Axes:
    """Draw latency against output tokens, with right, wrong and cut-off answers apart: at most 400 turns."""
    return answer_length_chart(run).draw(ax)


def plot_timeline(run: Source, ax: Axes | None = None) -> Axes:
    """Draw turns ended per second over the time of the run, failed ones separately, gaps between sessions marked."""
    return _chart(run, "timeline").draw(ax)


def plot_answer(
    run: Source, conversation: str | None = None, turn: int = 1, repeat: int = 1, ax: Axes | None = None
) -> Axes:
    """Draw one streamed answer: every read that brought tokens, from the request to the end.

    Parameters
    ----------
    run : path-like or sqlite3.Connection
    conversation : str, optional
        Its id; None: the turn of the run whose TTFT and latency are closest to the medians.
    turn, repeat : int
        Both count from 1.
    ax : Axes, optional

    Raises
    ------
    RunFileError
        The file cannot be read as a run file, or has no such turn.
    """
    with opened(run) as connection:
        measures = measure(connection)
        if conversation is None:
            chart: Chart = _chart_makers(connection, measures)["answer"]()
        else:
            chart = OneAnswer(one_answer.answer_timing(connection, conversation, turn, repeat), measures)
    return chart.draw(ax)


def plot_load_throughput(sweep: Sweep, ax: Axes | None = None) -> Axes:
    """Draw the throughput of a load test against load, with its knee. ``sweep`` is the result of ``evalkit.load``."""
    return LoadThroughput(sweep).draw(ax)


def plot_load_ttft(sweep: Sweep, ax: Axes | None = None) -> Axes:
    """Draw TTFT p50, p95 and p99 of a load test against load, with 95 % intervals and the knee."""
    return LoadFirstToken(sweep).draw(ax)


def plot_load_goodput(sweep: Sweep, ax: Axes | None = None) -> Axes:
    """Draw the goodput and the throughput of a load test against load, with the knee."""
    return LoadGoodput(sweep).draw(ax)


def plot_load_accuracy(sweep: Sweep, ax: Axes | None = None) -> Axes:
    """Draw the accuracy of a load test against load, with 95 % intervals and the knee."""
    return LoadAccuracy(sweep).draw(ax)


def plot_load(sweep: Sweep) -> Figure:
    """Draw the four charts of a load test on one figure."""
    return load.figure(sweep)


def plot_differences(contrast: Contrast, ax: Axes | None = None) -> Axes:
    """Draw the difference of two runs with 95 % intervals: over all turns, by turn index, by tag (16 with most pairs).

    Parameters
    ----------
    contrast : Contrast
        One of ``Comparison.contrasts``.
    ax : Axes, optional
    """
    return Differences(contrast).draw(ax)


def plot_flips(contrast: Contrast, ax: Axes | None = None) -> Axes:
    """Draw how many turns only one of two runs has right: over all turns, by turn index and by tag."""
    return FlippedTurns(contrast).draw(ax)


def all_charts(run: Source) -> list[Drawing]:
    """Return every chart of a run that can be drawn, in the order of a report: (name, function, alt text)."""
    return _drawings(charts(run))


def comparison_charts(contrast: Contrast) -> list[Drawing]:
    """Return the charts of two runs compared, in the form of ``all_charts``."""
    return _drawings(contrast_charts(contrast))


def load_charts(sweep: Sweep) -> list[Drawing]:
    """Return the charts of a load test, in the form of ``all_charts``."""
    names = ("load-throughput", "load-first-token", "load-goodput", "load-accuracy")
    return _drawings({name: panel(sweep) for name, panel in zip(names, load.PANELS, strict=True)})


def charts(run: Source, measured: RunMeasures | None = None) -> dict[str, Chart]:
    """Return every chart of a run by its name; ``missing`` of a chart says why it cannot be drawn.

    The run is measured unless ``measured`` is given.
    """
    with opened(run) as connection:
        makers = _chart_makers(connection, measured or measure(connection))
        return {name: make() for name, make in makers.items()}


def answer_length_chart(run: Source) -> Chart:
    """Return the chart that ``plot_answer_length`` draws; it is not among those of a report."""
    with opened(run) as connection:
        return LatencyAgainstAnswerLength(by_answer_length.times_by_answer_length(connection), measure(connection))


def models_chart(runs: Sequence[Source | RunMeasures]) -> Chart:
    """Return the chart that ``plot_models`` draws."""
    measured = [_measured(run) for run in runs]
    return AccuracyAgainstLatency(measured, _names(runs, measured), _comparison(runs))


def _comparison(runs: Sequence[Source | RunMeasures]) -> Comparison | None:
    """Compare the runs with the first; None if they cannot be compared."""
    files = [run for run in runs if isinstance(run, Path | str)]
    if len(files) < max(len(runs), 2):
        return None
    try:
        return compare(*files)
    except EvalkitError:
        return None


def contrast_charts(contrast: Contrast) -> dict[str, Chart]:
    """Return the charts of two runs compared, by their names."""
    return {"differences": Differences(contrast), "flips": FlippedTurns(contrast)}


def _drawings(named: Mapping[str, Chart]) -> list[Drawing]:
    return [Drawing(name, chart.draw, chart.alt) for name, chart in named.items() if chart.missing is None]


def _measured(data: Source | RunMeasures) -> RunMeasures:
    return data if isinstance(data, RunMeasures) else measure(data)


def _chart_makers(connection: sqlite3.Connection, run: RunMeasures) -> dict[str, Callable[[], Chart]]:
    """Return functions that measure and make each chart of an open run file, in the order of a report."""
    streamed = bool(store.run_info(connection)["settings"].get("stream", True))

    def distribution(metric: str) -> Chart:
        return TimeDistribution(metric, quantiles.distributions(connection, metric, streamed=streamed), run)

    prompts = cache(lambda: by_prompt_length.times_by_prompt_length(connection))  # shared by two charts

    def answer() -> Chart:
        found = one_answer.typical_turn(connection, run.all.latency_ms["p50"].value, run.all.ttft_ms["p50"].value)
        if found is None:
            return OneAnswer(None, run)
        conversation, repeat, turn = found
        return OneAnswer(one_answer.answer_timing(connection, conversation, turn, repeat), run)

    return {
        "accuracy": lambda: AccuracyByTurn(run),
        "tags": lambda: AccuracyByTag(run),
        "latency": lambda: LatencyByTurn(run),
        "latency-distribution": lambda: distribution("latency"),
        "first-token-distribution": lambda: distribution("ttft"),
        "gaps": lambda: GapsBetweenReads(token_gaps.gaps(connection), run),
        "prompt-length": lambda: TimesAgainstPromptLength(prompts(), run),
        "context-growth": lambda: ContextGrowth(prompts(), run),
        "timeline": lambda: TurnsOverTime(along_run.timeline(connection), run),
        "answer": answer,
    }


def _chart(run: Source, name: str) -> Chart:
    with opened(run) as connection:
        return _chart_makers(connection, measure(connection))[name]()


def _names(runs: Sequence[Source | RunMeasures], measured: Sequence[RunMeasures]) -> list[str]:
    """Return a different name for each run."""
    models = [None if isinstance(run, RunMeasures) else _model(run) for run in runs]
    uses = Counter(models)
    names = [
        measures.name if model is None else model if uses[model] == 1 else f"{model}, {measures.name}"
        for model, measures in zip(models, measured, strict=True)
    ]
    uses_of_name = Counter(names)
    numbered = [name if uses_of_name[name] == 1 else f"{name} ({place})" for place, name in enumerate(names, start=1)]
    return [safe_text.name(name) for name in numbered]


def _model(run: Source) -> str | None:
    with opened(run) as connection:
        model: str | None = store.run_info(connection)["endpoint"].get("model")
        return model
