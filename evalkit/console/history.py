"""The output of ``evalkit history``: a row for each run of a dataset, with the step from the run before it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from evalkit.analysis.run_list import ListedRun
from evalkit.comparing.history import History, Step
from evalkit.console.run_list import shown_accuracy, started
from evalkit.console.terminal import LONGEST, one_line, plain_table
from evalkit.wording import comparison
from evalkit.wording.numbers import MISSING, counted, number, p_value, points, signed

_LONGEST_NAME = 40  # cells
_Row = tuple[Text, str, str, str, str, str, str, str, str]


def show_history(console: Console, history: History) -> None:
    """Print the runs and their steps; then, of each real step, what differs, and why others were not tested."""
    title = f"{history.dataset or '(no name)'}: {counted(len(history.runs), 'run')} in {history.folder}"
    console.print(one_line(title, LONGEST), soft_wrap=True)
    rows = [_cells(run, step) for run, step in zip(history.runs, [None, *history.steps], strict=True)]
    _show_table(console, rows)
    note = f"* real: p below {comparison.LEVEL:g} after Holm's correction for {_tested(history.steps)}"
    if history.steps:
        console.print(f"steps: from the run before, in points and ms, over the turns of both; {note}", style="dim")
    for step in history.steps:
        _show_step(console, step)
    for file in history.unreadable:
        console.print(Text("cannot be read: ", style="yellow") + one_line(file.error, LONGEST), soft_wrap=True)


def _tested(steps: Sequence[Step]) -> str:
    """How many steps were tested: those of accuracy and those of latency are two families."""
    accuracy = sum(step.accuracy is not None and step.accuracy.p is not None for step in steps)
    latency = sum(step.latency_p is not None for step in steps)
    if accuracy == latency:
        return counted(accuracy, "step")
    return f"{counted(accuracy, 'step')} in accuracy and {latency:,} in latency"


def _show_table(console: Console, rows: Iterable[_Row]) -> None:
    table = plain_table()
    table.add_column("run", overflow="fold")
    for heading in ("started", "n", "accuracy (95 %)", "step", "p", "latency p50", "step", "p"):
        table.add_column(heading, justify="left" if heading == "started" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _cells(run: ListedRun, step: Step | None) -> _Row:
    accuracy = latency = accuracy_p = latency_p = ""
    if step is not None:
        accuracy = latency = accuracy_p = latency_p = MISSING
        if step.accuracy is not None and (value := step.accuracy.difference.value) is not None:
            accuracy, accuracy_p = points(value) + "*" * step.accuracy_is_real, p_value(step.accuracy.corrected_p)
        if step.latency is not None and (value := step.latency.difference.value) is not None:
            latency, latency_p = signed(value, number) + "*" * step.latency_is_real, p_value(step.corrected_latency_p)
    return (
        one_line(run.path.stem, _LONGEST_NAME),
        started(run),
        f"{run.accuracy.mean.n:,}",
        shown_accuracy(run.accuracy.mean),
        accuracy,
        accuracy_p,
        number(run.latency_ms),
        latency,
        latency_p,
    )


def _show_step(console: Console, step: Step) -> None:
    if step.reason is not None:
        names = one_line(f"no step from {step.first.stem} to {step.second.stem}:", LONGEST)
        names.stylize("yellow")
        console.print(names + " " + one_line(step.reason, LONGEST), soft_wrap=True)
        return
    if step.accuracy_is_real and step.accuracy is not None:
        console.print(one_line(step.accuracy.words, LONGEST), soft_wrap=True)
    if step.accuracy_is_real or step.latency_is_real:
        differs = "; ".join(f"{each.what}: {' and '.join(comparison.condition_values(each))}" for each in step.differs)
        line = f"{step.first.stem} and {step.second.stem} differ in {differs or 'nothing that is stored'}"
        console.print(one_line(line, LONGEST), soft_wrap=True)
