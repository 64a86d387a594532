"""The output of ``evalkit score``: the scorings of a run, and two of them side by side."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalkit.analysis.accuracy.by_scoring import Rescored, ScoreChanges, Scoring
from evalkit.console.terminal import plain_table, printable
from evalkit.wording.numbers import MISSING
from evalkit.wording.run_results import accuracy_with_interval


def show_scorings(console: Console, scorings: Iterable[Scoring], path: Path) -> None:
    """Print all scorings of a run, and which one counts."""
    rows = [("counts" if scoring.counts else "", scoring) for scoring in scorings]
    console.print(_table(rows))
    console.print(printable(f"to let another one count: evalkit score {path} --use N"), soft_wrap=True)


def show_rescored(console: Console, rescored: Rescored, path: Path) -> None:
    """Print the old and the new accuracy of a run, and the number of changed verdicts."""
    old, new = rescored.old, rescored.new
    console.print(_table([("old", old), ("new", new)]))
    console.print(_changes(rescored.changed))
    if new.targets is not None:
        with_others = f"{new.corrected} of the run's conversations have other targets or scorers there"
        console.print(printable(f"targets: {new.targets}; {with_others}"), soft_wrap=True)
    if new.missing:
        console.print(
            f"{new.missing} answered turns were added after scoring {new.number} and have no score in it",
            style="yellow",
        )
    undo = f"; to return to the old one: evalkit score {path} --use {old.number}" if new.number != old.number else ""
    console.print(printable(f"scoring {new.number} counts now{undo}"), soft_wrap=True)


def _table(rows: Iterable[tuple[str, Scoring]]) -> Table:
    table = plain_table("", right=("scoring", "accuracy (95 % interval)", "unscored"))
    for heading in ("scorer", "started", "versions"):
        table.add_column(heading)
    for label, scoring in rows:
        accuracy = scoring.accuracy
        table.add_row(
            label,
            str(scoring.number),
            accuracy_with_interval(accuracy.to_json()),
            str(accuracy.unscored),
            _scorer(scoring),
            _local_time(scoring.begun_ns),
            printable(", ".join(f"{name} {version}" for name, version in scoring.versions.items()) or MISSING),
        )
    return table


def _scorer(scoring: Scoring) -> Text:
    if scoring.scorer is None:
        named = "named by each turn"
    else:
        named = scoring.scorer if isinstance(scoring.scorer, str) else json.dumps(scoring.scorer)
    return printable(named if scoring.targets is None else f"{named}, targets of {Path(scoring.targets).name}")


def _local_time(wall_ns: int | None) -> str:
    return MISSING if wall_ns is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(wall_ns / 1e9))


def _changes(changed: ScoreChanges) -> str:
    kinds = {
        "right to wrong": changed.right_to_wrong,
        "wrong to right": changed.wrong_to_right,
        "to unscored": changed.to_unscored,
        "from unscored": changed.from_unscored,
        "below 1 in both, with another value": changed.within_wrong,
    }
    details = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    return f"verdicts that changed: {sum(kinds.values())}" + (f" ({details})" if details else "")
