"""The output of ``evalkit list``: the runs in a folder, one row each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from evalkit.analysis.run_list import ListedRun, RunList
from evalkit.console.terminal import LONGEST, middle_shortened, one_line, plain_table
from evalkit.runfile.file_names import SUFFIX
from evalkit.stats.estimate import Estimate
from evalkit.wording.numbers import MISSING, counted, number, share_with_interval
from evalkit.wording.run_outcome import run_outcome

_LONGEST_NAME = 60  # cells
_SHORTEST_NAME = 9
_NAMES = ("run", "dataset", "model")
_GAP = 2  # cells between columns


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
    for heading in _NAMES:
        table.add_column(heading, overflow="fold")
    for heading in ("n", "accuracy (95 %)", "latency p50", "TTFT p50"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("started", no_wrap=True)
    table.add_column("outcome", overflow="fold")
    rest = [_rest(run) for run in listed.runs]
    taken = sum(
        _GAP + max(cell_len(str(column.header)), *(cell_len(row[place].plain) for row in rest))
        for place, column in enumerate(table.columns[3:])
    )
    for names, others in zip(_names(listed.runs, console.width - taken - 2 * _GAP, console.width), rest, strict=True):
        table.add_row(*names, *others)
    console.print(table)


def _rest(run: ListedRun) -> list[Text]:
    """All cells of a row but the names."""
    times = (number(run.latency_ms, " ms"), number(run.ttft_ms, " ms"))
    numbers = (f"{run.accuracy.mean.n:,}", shown_accuracy(run.accuracy.mean), *times, started(run))
    return [*map(Text, numbers), _outcome(run)]


def _names(runs: Sequence[ListedRun], room: int, width: int) -> Iterator[tuple[Text, ...]]:
    """The names of run, dataset and model, shortened so that they fit into the room that other columns leave.

    Where that is too little for names, the table is printed in parts, and a name has a third of the width. Runs never
    have the same name because of it.
    """
    columns = [[name or MISSING for name in names] for names in zip(*map(_named, runs), strict=True)]
    full = [min(max(map(cell_len, [head, *names])), _LONGEST_NAME) for head, names in zip(_NAMES, columns, strict=True)]
    fits = room >= sum(min(cells, _SHORTEST_NAME) for cells in full)
    limits = _shares(full, room) if fits else [max(width // 3, _SHORTEST_NAME)] * len(full)
    different = len(set(columns[0]))
    while limits[0] < full[0] and len({middle_shortened(name, limits[0]).plain for name in columns[0]}) < different:
        limits[0] += 1
        limits[1:] = _shares(full[1:], max(room - limits[0], 2 * _SHORTEST_NAME)) if fits else limits[1:]
    shown = [[middle_shortened(name, cells) for name in names] for names, cells in zip(columns, limits, strict=True)]
    return zip(*shown, strict=True)


def _shares(needed: Sequence[int], room: int) -> list[int]:
    """Cells for each of several texts: all that it needs, or an equal share of what the shorter ones leave."""
    shares, left = [0] * len(needed), room
    by_need = sorted(range(len(needed)), key=lambda place: needed[place])
    for texts, place in zip(range(len(needed), 0, -1), by_need, strict=True):
        shares[place] = min(needed[place], left // texts)
        left -= shares[place]
    return shares


def _named(run: ListedRun) -> tuple[str, str, str]:
    name = run.path.stem if run.path.suffix == SUFFIX else run.path.name
    return name, run.dataset, run.model


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
