"""The list of all charts: of a run, of runs compared, of a load test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.analysis.measures import RunMeasures, Source, measure, opened
from evalkit.analysis.times import along_run, by_answer_length, by_prompt_length, one_answer, quantiles, token_gaps
from evalkit.charts import safe_text
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

    from evalkit.comparing.comparison import Contrast
    from evalkit.loadtest.sweep import Sweep

NOT_IN_REPORT = frozenset({"answer-length"})


def charts(
    run: Source, measured: RunMeasures | None = None, *, without: frozenset[str] = frozenset()
) -> dict[str, Chart]:
    """Return the charts of a run by their names; ``missing`` of a chart says why it cannot be drawn.

    Parameters
    ----------
    run : path-like or sqlite3.Connection
    measured : RunMeasures, optional
        None: the run is measured.
    without : frozenset of str
        Charts that are not made.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    """
    with opened(run) as connection:
        makers = _chart_makers(connection, measured or measure(connection))
        return {name: make() for name, make in makers.items() if name not in without}


def chart(run: Source, name: str) -> Chart:
    """Return one of ``charts``; the others are not made. Raises as that does."""
    with opened(run) as connection:
        return _chart_makers(connection, measure(connection))[name]()


def answer_chart(run: Source, conversation: str, turn: int = 1, repeat: int = 1) -> Chart:
    """Return the chart of one streamed answer: every read that brought tokens, from the request to the end.

    Parameters
    ----------
    run : path-like or sqlite3.Connection
    conversation : str
        Its id.
    turn, repeat : int
        Both count from 1.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file, or has no such turn.
    """
    with opened(run) as connection:
        return OneAnswer(one_answer.answer_timing(connection, conversation, turn, repeat), measure(connection))


def models_chart(runs: Sequence[Path | str]) -> Chart:
    """Return accuracy against median latency, one point per run, with both 95 % intervals.

    For runs of one dataset, each compared with the first, the title says which run is more accurate if
    ``evalkit.compare`` shows it; for others it only describes. Points are named by model, or by model and run if
    several runs have one model. A run that lacks accuracy or latency is named, not drawn.
    """
    measured = [measure(run) for run in runs]
    return AccuracyAgainstLatency(measured, _names(runs, measured), _comparison(runs))


def contrast_charts(contrast: Contrast) -> dict[str, Chart]:
    """Return the charts of two runs compared, by their names."""
    return {"differences": Differences(contrast), "flips": FlippedTurns(contrast)}


def sweep_charts(sweep: Sweep) -> dict[str, Chart]:
    """Return the charts of a load test, by their names."""
    return {
        "load-throughput": LoadThroughput(sweep),
        "load-first-token": LoadFirstToken(sweep),
        "load-goodput": LoadGoodput(sweep),
        "load-accuracy": LoadAccuracy(sweep),
    }


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
        "answer-length": lambda: LatencyAgainstAnswerLength(by_answer_length.times_by_answer_length(connection), run),
    }


def _comparison(runs: Sequence[Path | str]) -> Comparison | None:
    """Compare the runs with the first; None if they cannot be compared."""
    try:
        return compare(*runs) if len(runs) > 1 else None
    except EvalkitError:
        return None


def _names(runs: Sequence[Path | str], measured: Sequence[RunMeasures]) -> list[str]:
    """Return a different name for each run."""
    models = [_model(run) for run in runs]
    uses = Counter(models)
    names = [
        measures.name if model is None else model if uses[model] == 1 else f"{model}, {measures.name}"
        for model, measures in zip(models, measured, strict=True)
    ]
    uses_of_name = Counter(names)
    numbered = [name if uses_of_name[name] == 1 else f"{name} ({place})" for place, name in enumerate(names, start=1)]
    return [safe_text.name(name) for name in numbered]


def _model(run: Path | str) -> str | None:
    with opened(run) as connection:
        model: str | None = store.run_info(connection)["endpoint"].get("model")
        return model
