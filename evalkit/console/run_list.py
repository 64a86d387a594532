"""The output of ``evalkit list``: the runs in a folder, one row each."""

from __future__ import annotations

import time

from rich.console import Console
from rich.text import Text

from evalkit.analysis.run_list import ListedRun, RunList
from evalkit.console.terminal import LONGEST, one_line, plain_table
from evalkit.stats.estimate import Estimate
from evalkit.wording.numbers import MISSING, counted, number, share_with_interval
from evalkit.wording.run_outcome import run_outcome

_LONGEST_NAME = 60  # cells


def show_runs(console: Console, listed: RunList) -> None:
    """Print the runs, then the files that cannot be read."""
    if listed.runs:
        _show_table(console, listed)
    for file in listed.unreadable:
        line = Text("cannot be read: ", style="yellow") + one_line(file.error, LONGEST)
        console.print(line, soft_wrap=True)
    console.print(one_line(_count(listed), LONGEST), soft_wrap=True, style="dim")


def _show_table(console: Console, listed: RunList) -> None:
    table = plain_table()
    for heading in ("run", "dataset", "model"):
        table.add_column(heading, overflow="fold")
    for heading in ("n", "accuracy (95 %)", "latency p50", "TTFT p50"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("started", no_wrap=True)
    table.add_column("outcome", overflow="fold")
    for run in listed.runs:
        times = (number(run.latency_ms, " ms"), number(run.ttft_ms, " ms"))
        numbers = (f"{run.accuracy.mean.n:,}", shown_accuracy(run.accuracy.mean), *times, started(run))
        table.add_row(*_names(run), *numbers, _outcome(run))
    console.print(table)


def _names(run: ListedRun) -> list[Text]:
    return [one_line(name or MISSING, _LONGEST_NAME) for name in (run.path.stem, run.dataset, run.model)]


def _outcome(run: ListedRun) -> Text:
    outcome = run_outcome(run.outcome, turns=run.turns, answered=run.answered, planned=run.planned)
    return one_line(outcome, _LONGEST_NAME)


def shown_accuracy(mean: Estimate) -> str:
    """An accuracy with its interval, without its n."""
    return share_with_interval(mean.value, mean.low, mean.high)


def started(run: ListedRun) -> str:
    """When a run started, in local time."""
    return time.strftime("%Y-%m-%d %H:%M", run.started.astimezone().timetuple())


def _count(listed: RunList) -> str:
    if not listed.runs and not listed.unreadable:
        return f"no run file (.evalkit) in {listed.folder}: 'evalkit run DATA' creates one"
    return f"{counted(len(listed.runs), 'run')} in {listed.folder}; 'evalkit show FILE' shows one"
