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

from evalkit.run import Run, Watcher
from evalkit.writer import Progress as Counts

PIPE_WIDTH = 120
MISSING = "–"
STANDS_OUT = 0.05  # a share of reads or requests beyond which it is told


def printable(text: str) -> Text:
    """Text from a stranger: no markup, and no control characters that could drive the terminal."""
    return Text(
        "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in text)
    )


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
            parts.append(f"{_duration(counts.left_s)} left")
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
    console.print(_accuracy_all(result))
    conversations = result["conversations"]
    if len(result["by_turn"]) > 1 and conversations["n"] + conversations["incomplete"]:
        console.print(_conversations(conversations))
    if result["scoring"]:
        console.print(
            Text(f"these are the scores of scoring {result['scoring']}: see 'evalkit score {run.path} --list'"),
            soft_wrap=True,
        )
    console.print(_trust(result["trust"], run.info["settings"]["concurrency"]))
    for kind, message, count in run.failures():
        console.print(Text(f"{count} × {kind}: ", style="red") + printable(message), soft_wrap=True)
    console.print(f"{result['turns']} turns in {_duration(result['wall_s'])}: {number(result['turns_per_s'])} turns/s")
    if cut := run.cut_off():
        console.print(f"{cut} answers were cut off at the token limit (max_tokens)", style="yellow")
    if run.planned is not None and result["turns"] < run.planned:
        console.print(f"{run.planned - result['turns']} of {run.planned} turns are still to be asked", style="yellow")
    console.print(Text(f"run file: {run.path}"), soft_wrap=True)


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
        rate(row["accuracy"]),
        *(number(value) for value in (*times, *((due["p50"], due["p95"]) if open_loop else ()))),
    ]


def rate(accuracy: Mapping[str, Any]) -> str:
    """A share with its denominator and its interval; a dash when it is missing."""
    return MISSING if accuracy["value"] is None else _share(accuracy, f" of {accuracy['n']}")


def _share(share: Mapping[str, Any], more: str = "") -> str:
    shown = f"{share['value']:.1%}{more}"
    return shown if share["low"] is None else f"{shown} ({share['low']:.1%} to {share['high']:.1%})"


def _conversations(scores: Mapping[str, Any]) -> str:
    left_out = f"; {scores['incomplete']} are incomplete" if scores["incomplete"] else ""
    if not scores["n"]:
        return f"conversations: none is complete{left_out}"
    rights = f"all turns right {_share(scores['all_right'])}, last turn right {_share(scores['last_right'])}"
    return f"conversations: {rights}, of {scores['n']}{left_out}"


def _accuracy_all(result: Mapping[str, Any]) -> str:
    answered, every = result["accuracy"], result["accuracy_all"]
    note = f", {answered['unscored']} answered turns have no score" if answered["unscored"] else ""
    return f"accuracy over answered turns {rate(answered)}; over all turns {rate(every)}{note}"


def _trust(trust: Mapping[str, Any], slots: int | str) -> Text:
    notes = "".join(f"; {note}" for note in _what_stands_out(trust, slots))
    if trust["client_bound"] is None:
        return Text(f"trust: not measured: the run is too short, or has not ended{notes}")
    lag = number(trust["loop_lag_p99_ms"], " ms")
    if trust["client_bound"]:
        return Text(
            f"trust: CLIENT-BOUND, event-loop lag p99 {lag} is much beside these times: they are partly the client's"
            f"{notes}",
            style="yellow",
        )
    return Text(f"trust: good, event-loop lag p99 {lag}{notes}")


def _what_stands_out(trust: Mapping[str, Any], slots: int | str) -> Iterator[str]:
    reads, several = trust["reads"], trust["reads_with_several_events"]
    if reads and several is not None and several > STANDS_OUT * reads:
        yield f"{several / reads:.0%} of reads held several events: gaps between tokens are coarser than they were sent"
    opened, attempts = trust["attempts_on_new_connections"], trust["attempts"]
    # every slot has to open one
    if opened > STANDS_OUT * attempts and not (isinstance(slots, int) and opened <= slots):
        yield f"{opened} of {attempts} requests needed a new connection"


def number(value: float | None, unit: str = "") -> str:
    """With as many digits as it bears; a dash when it is missing."""
    if value is None:
        return MISSING
    return f"{value:,.0f}{unit}" if value >= 100 else f"{value:.3g}{unit}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return MISSING
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{whole // 60} min {whole % 60:02} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02} min"
