"""What the command line shows: progress while a run goes, and the tables after it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Table
from rich.text import Text

from evalkit import words
from evalkit.run import Run, Watcher
from evalkit.transcripts import plain
from evalkit.words import number
from evalkit.writer import Progress as Counts

PIPE_WIDTH = 120


def printable(text: str) -> Text:
    """Text from a stranger: no markup, and no control characters that could drive the terminal."""
    return Text(plain(text))


def say(text: str) -> None:
    """A line on standard error."""
    print(printable(text), file=sys.stderr)


def output() -> Console:
    """Standard output; plain and of a fixed width in a pipe."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False, markup=False)


@contextmanager
def watching() -> Iterator[Watcher | None]:
    """A progress line on standard error in a terminal; nothing in a pipe."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=12), _Counts(), console=console, transient=True
    ) as display:
        task = display.add_task("asking", total=None)

        def watch(counts: Counts) -> None:
            display.update(task, total=counts.total, completed=counts.kept + counts.done, counts=counts)

        yield watch


class _Counts(ProgressColumn):
    """Done, errors, rate, accuracy so far and time left."""

    def render(self, task: Task) -> Text:
        counts: Counts | None = task.fields.get("counts")
        if counts is None:
            return Text("")
        parts = [
            f"{counts.kept + counts.done}/{counts.total or '?'} turns",
            f"{counts.errors} errors",
            f"{counts.turns_per_s:.1f}/s",
        ]
        if counts.scored:
            parts.append(f"accuracy so far {counts.right / counts.scored:.0%}")
        if counts.stopping:
            parts.append("stopping: waiting for answers in flight")
        elif counts.left_s is not None:
            parts.append(f"{words.duration(counts.left_s)} left")
        return Text(" · ".join(parts))


def summary(console: Console, run: Run, result: Mapping[str, Any]) -> None:
    """Print a run: one row a turn index and one in all, then the trust line, the failures and the run file.

    Parameters
    ----------
    result : mapping
        The object of ``--json``.
    """
    console.print(_what_was_asked(run.info), soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    rows = [*result["by_turn"], {**result, "turn": "all"}]
    open_loop = any(value is not None for row in rows for value in row["schedule_latency_ms"].values())
    table.add_column("turn")
    for heading in (
        "answered", "errors", "accuracy (95 % interval)", "TTFT p50", "p95", "TPOT p50", "latency p50", "p95",
        *(("from schedule p50", "p95") if open_loop else ()),
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*_cells(row, open_loop=open_loop))
    console.print(table)
    console.print("times in ms; – means missing: too little data, or nothing to measure", style="dim")
    console.print(words.accuracy_all(result))
    if result["doubt"] is not None:
        console.print(Text(f"doubtful interval: {result['doubt']}", style="yellow"), soft_wrap=True)
    conversations = result["conversations"]
    if len(result["by_turn"]) > 1 and conversations["n"] + conversations["incomplete"]:
        console.print(words.conversations(conversations))
    if result["repeats"] is not None:
        console.print(words.repeats(result["repeats"]))
    if result["scoring"]:
        scores = f"these are the scores of scoring {result['scoring']}: see 'evalkit score {run.path} --list'"
        console.print(Text(scores), soft_wrap=True)
    if result["until"] is not None:
        text, warning = words.until(result["until"])
        console.print(Text(text, style="yellow" if warning else ""), soft_wrap=True)
    text, warning = words.trust(result["trust"], run.info["settings"]["concurrency"])
    console.print(Text(text, style="yellow" if warning else ""))
    for kind, message, count in run.failures():
        console.print(Text(f"{count} × {kind}: ", style="red") + printable(message), soft_wrap=True)
    wall, pace = words.duration(result["wall_s"]), number(result["turns_per_s"])
    console.print(f"{result['turns']} turns in {wall}: {pace} turns/s")
    if result["cost"] is not None:
        console.print(words.cost(result["cost"]))
    if cut := run.cut_off():
        console.print(f"{cut} answers were cut off at the token limit (max_tokens)", style="yellow")
    if run.planned is not None and (missing := run.planned - result["turns"]) > 0:
        if result["until"] is not None and result["until"]["reached"]:
            console.print(f"{missing} of {run.planned} turns need not be asked")
        else:
            console.print(f"{missing} of {run.planned} turns are still to be asked", style="yellow")
    console.print(Text(f"run file: {run.path}"), soft_wrap=True)
    for gate in result.get("gates", ()):
        verdict, style = ("met", "green") if gate["met"] else ("MISSED", "red")
        told = printable(f"{gate['gate']}: {gate['words']}")
        console.print(Text(f"gate {verdict}: ", style=style) + told, soft_wrap=True)


def _what_was_asked(info: Mapping[str, Any]) -> Text:
    endpoint, settings = info["endpoint"], info["settings"]
    params = "".join(f", {name} {value}" for name, value in endpoint["params"].items())
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(info["created_ns"] / 1e9))
    return printable(
        f"{Path(info['dataset']['path']).name} asked of {endpoint['model']} ({endpoint['base_url']}{params}); "
        f"{settings['history']} history, {settings['concurrency']} at once, begun {when}"
    )


def _cells(row: Mapping[str, Any], *, open_loop: bool) -> list[str]:
    ttft, tpot, latency, due = row["ttft_ms"], row["tpot_ms"], row["latency_ms"], row["schedule_latency_ms"]
    times = [ttft["p50"], ttft["p95"], tpot["p50"], latency["p50"], latency["p95"]]
    return [
        str(row["turn"]),
        f"{row['answered']}/{row['turns']}",
        str(sum(row["errors"].values())),
        words.rate(row["accuracy"]),
        *(number(value) for value in (*times, *((due["p50"], due["p95"]) if open_loop else ()))),
    ]
