"""Charts of runs, each on one matplotlib Axes; every number in them is measured elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from evalkit.analysis.measures import RunMeasures, Source, measure, opened
from evalkit.analysis.times import along_run, by_prompt_length, one_answer, quantiles, token_gaps
from evalkit.charts import load, safe_text, style
from evalkit.charts.accuracy import AccuracyAgainstLatency, AccuracyByTag, AccuracyByTurn
from evalkit.charts.comparison import Contrast, Differences, FlippedTurns
from evalkit.charts.latency import Ecdf, GapsBetweenReads, LatencyByTurn
from evalkit.charts.load import LoadAccuracy, LoadFirstToken, LoadGoodput, LoadThroughput, Swept
from evalkit.charts.prompt_length import AgainstPrompt, ContextGrowth
from evalkit.charts.timeline import OneAnswer, OverTime
from evalkit.comparing.comparison import Comparison, compare
from evalkit.errors import EvalkitError
from evalkit.runfile import store

if TYPE_CHECKING:
    import sqlite3

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Draw = Callable[["Axes | None"], "Axes"]


class Drawing(NamedTuple):
    """A chart that can be drawn.

    Parameters
    ----------
    name : str
        Of letters and ``-``, fit for a file name.
    draw : callable
        From an Axes, or None for a new figure, to the Axes drawn on.
    alt : str
        The finding and its numbers in words, for those who cannot see the chart. It holds names from the run.
    """

    name: str
    draw: Draw
    alt: str


def plot_accuracy(data: Source | RunMeasures, ax: Axes | None = None) -> Axes:
    """Draw accuracy by turn index with 95 % intervals.

    Dots are over answered and scored turns. Where turns failed, diamonds show accuracy over all turns, a failed one
    counting as not right. A turn index without a scored answer is named, not drawn as 0.

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
    """Draw accuracy by tag with 95 % intervals: the 20 most frequent tags; how many are left out is said."""
    return AccuracyByTag(_measured(data)).draw(ax)


def plot_models(runs: Sequence[Source | RunMeasures], ax: Axes | None = None) -> Axes:
    """Draw accuracy against the median latency, one point a run, with both 95 % intervals.

    The title says which run is more accurate where ``evalkit.compare`` shows it: of run files of one dataset, each
    compared with the first. Of others it describes. Points are named by their models; runs of one model, and
    RunMeasures, by the run. A run that lacks one of the two is named, not drawn.
    """
    return models_chart(runs).draw(ax)


def plot_latency(data: Source | RunMeasures, ax: Axes | None = None) -> Axes:
    """Draw TTFT and end-to-end latency by turn index, in ms.

    For each turn index: the median with its 95 % interval, a bar at p95, the single turns behind (at most 400 of
    them, a seeded choice). Time-outs are triangles at their lower bound. Turn 1 stands apart, since it is cold. The
    scale is logarithmic when the times span more than a factor of 20. What is missing is named, not drawn.

    Parameters
    ----------
    data : path-like, sqlite3.Connection or RunMeasures
    ax : Axes, optional
    """
    return LatencyByTurn(_measured(data)).draw(ax)


def plot_ecdf(run: Source, ax: Axes | None = None) -> Axes:
    """Draw the distribution of latency, in ms, turn 1 apart, with pointwise 95 % intervals.

    A time-out is a lower bound: the curve is that of Kaplan and Meier, and it ends where nothing more is known.
    """
    return _one(run, "latency-distribution").draw(ax)


def plot_ttft(run: Source, ax: Axes | None = None) -> Axes:
    """Draw the distribution of TTFT as ``plot_ecdf`` draws that of latency."""
    return _one(run, "first-token-distribution").draw(ax)


def plot_gaps(run: Source, ax: Axes | None = None) -> Axes:
    """Draw the distribution of inter-chunk gaps, in ms, of at most 2,000 answers, a seeded choice.

    The band is a 95 % interval at each gap, which takes the gaps of one answer as one cluster.
    """
    return _one(run, "gaps").draw(ax)


def plot_prompts(run: Source, ax: Axes | None = None) -> Axes:
    """Draw TTFT and latency against prompt tokens: at most 400 turns, and medians of equally filled bins."""
    return _one(run, "prompt-length").draw(ax)


def plot_context(run: Source, ax: Axes | None = None) -> Axes:
    """Draw how times grow inside conversations: lines of at most 40 of them, medians by turn index, the slope in words.

    The slope is told of turns from 2 on, within conversations, with a 95 % interval (``lengths.slope_within``).
    """
    return _one(run, "context-growth").draw(ax)


def plot_timeline(run: Source, ax: Axes | None = None) -> Axes:
    """Draw the turns ended a second over the time of the run, failed ones apart; gaps between sessions are marked."""
    return _one(run, "timeline").draw(ax)


def plot_answer(
    run: Source, conversation: str | None = None, turn: int = 1, repeat: int = 1, ax: Axes | None = None
) -> Axes:
    """Draw one streamed answer: every read that brought tokens, from the request to the end.

    Parameters
    ----------
    run : path-like or sqlite3.Connection
    conversation : str, optional
        Its id; None: of the whole run the turn whose TTFT and latency are nearest the medians.
    turn, repeat : int
        Counted from 1.
    ax : Axes, optional

    Raises
    ------
    RunFileError
        The file cannot be read as a run file, or holds no such turn.
    """
    with opened(run) as connection:
        measures = measure(connection)
        if conversation is None:
            chart: style.Chart = _of_connection(connection, measures)["answer"]()
        else:
            chart = OneAnswer(one_answer.answer_timing(connection, conversation, turn, repeat), measures)
    return chart.draw(ax)


def plot_load_throughput(sweep: Swept, ax: Axes | None = None) -> Axes:
    """Draw the throughput of a load test over its load, the knee marked. ``sweep`` is what ``evalkit.load`` returns."""
    return LoadThroughput(sweep).draw(ax)


def plot_load_ttft(sweep: Swept, ax: Axes | None = None) -> Axes:
    """Draw TTFT p50, p95 and p99 of a load test over its load, with 95 % intervals, the knee marked."""
    return LoadFirstToken(sweep).draw(ax)


def plot_load_goodput(sweep: Swept, ax: Axes | None = None) -> Axes:
    """Draw the goodput of a load test beside its throughput, over its load, the knee marked."""
    return LoadGoodput(sweep).draw(ax)


def plot_load_accuracy(sweep: Swept, ax: Axes | None = None) -> Axes:
    """Draw the accuracy of a load test over its load, with 95 % intervals, the knee marked."""
    return LoadAccuracy(sweep).draw(ax)


def plot_load(sweep: Swept) -> Figure:
    """Draw the four charts of a load test on one figure."""
    return load.figure(sweep)


def plot_differences(contrast: Contrast, ax: Axes | None = None) -> Axes:
    """Draw the differences of two runs with 95 % intervals: in all, by turn index and by tag (the 16 of most pairs).

    Parameters
    ----------
    contrast : Contrast
        One of ``Comparison.contrasts``.
    ax : Axes, optional
    """
    return Differences(contrast).draw(ax)


def plot_flips(contrast: Contrast, ax: Axes | None = None) -> Axes:
    """Draw how many turns only one of two runs has right: in all, by turn index and by tag."""
    return FlippedTurns(contrast).draw(ax)


def all_charts(run: Source) -> list[Drawing]:
    """Every chart that can be drawn of a run, in the order of a report: (name, function, alt text)."""
    return _drawings(charts(run))


def comparison_charts(contrast: Contrast) -> list[Drawing]:
    """The charts of two runs compared, as ``all_charts`` gives those of one."""
    return _drawings(contrast_charts(contrast))


def load_charts(sweep: Swept) -> list[Drawing]:
    """The charts of a load test, as ``all_charts`` gives those of a run."""
    names = ("load-throughput", "load-first-token", "load-goodput", "load-accuracy")
    return _drawings({name: panel(sweep) for name, panel in zip(names, load.PANELS, strict=True)})


def charts(run: Source, measured: RunMeasures | None = None) -> dict[str, style.Chart]:
    """Name to every chart of a run, measured if it is not; ``missing`` of a chart says why it cannot be drawn."""
    with opened(run) as connection:
        found = _of_connection(connection, measured or measure(connection))
        return {name: chart() for name, chart in found.items()}


def models_chart(runs: Sequence[Source | RunMeasures]) -> style.Chart:
    """What ``plot_models`` draws."""
    measured = [_measured(run) for run in runs]
    return AccuracyAgainstLatency(measured, _names(runs, measured), _comparison(runs))


def _comparison(runs: Sequence[Source | RunMeasures]) -> Comparison | None:
    """The runs compared with the first; None: they cannot be."""
    files = [run for run in runs if isinstance(run, Path | str)]
    if len(files) < max(len(runs), 2):
        return None
    try:
        return compare(*files)
    except EvalkitError:
        return None


def contrast_charts(contrast: Contrast) -> dict[str, style.Chart]:
    """Name to the charts of two runs compared."""
    return {"differences": Differences(contrast), "flips": FlippedTurns(contrast)}


def _drawings(named: Mapping[str, style.Chart]) -> list[Drawing]:
    return [Drawing(name, chart.draw, chart.alt) for name, chart in named.items() if chart.missing is None]


def _measured(data: Source | RunMeasures) -> RunMeasures:
    return data if isinstance(data, RunMeasures) else measure(data)


def _of_connection(connection: sqlite3.Connection, run: RunMeasures) -> dict[str, Callable[[], style.Chart]]:
    """Name to what measures a chart of an open run file, in the order of a report."""
    streamed = bool(store.run_info(connection)["settings"].get("stream", True))

    def ecdf(metric: str) -> style.Chart:
        return Ecdf(metric, quantiles.distributions(connection, metric, streamed=streamed), run)

    prompts = cache(lambda: by_prompt_length.times_by_prompt_length(connection))  # two charts read it

    def answer() -> style.Chart:
        found = one_answer.typical_turn(connection, run.all.latency_ms["p50"].value, run.all.ttft_ms["p50"].value)
        if found is None:
            return OneAnswer(None, run)
        conversation, repeat, turn = found
        return OneAnswer(one_answer.answer_timing(connection, conversation, turn, repeat), run)

    return {
        "accuracy": lambda: AccuracyByTurn(run),
        "tags": lambda: AccuracyByTag(run),
        "latency": lambda: LatencyByTurn(run),
        "latency-distribution": lambda: ecdf("latency"),
        "first-token-distribution": lambda: ecdf("ttft"),
        "gaps": lambda: GapsBetweenReads(token_gaps.gaps(connection), run),
        "prompt-length": lambda: AgainstPrompt(prompts(), run),
        "context-growth": lambda: ContextGrowth(prompts(), run),
        "timeline": lambda: OverTime(along_run.timeline(connection), run),
        "answer": answer,
    }


def _one(run: Source, name: str) -> style.Chart:
    with opened(run) as connection:
        return _of_connection(connection, measure(connection))[name]()


def _names(runs: Sequence[Source | RunMeasures], measured: Sequence[RunMeasures]) -> list[str]:
    """A name for each run, all different."""
    models = [None if isinstance(run, RunMeasures) else _model(run) for run in runs]
    taken = Counter(models)
    names = [
        measures.name if model is None else model if taken[model] == 1 else f"{model}, {measures.name}"
        for model, measures in zip(models, measured, strict=True)
    ]
    told = Counter(names)
    numbered = [name if told[name] == 1 else f"{name} ({place})" for place, name in enumerate(names, start=1)]
    return [safe_text.name(name) for name in numbered]


def _model(run: Source) -> str | None:
    with opened(run) as connection:
        model: str | None = store.run_info(connection)["endpoint"].get("model")
        return model
