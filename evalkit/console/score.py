"""What ``evalkit score`` shows: the scorings of a run, and two of them side by side."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalkit.analysis.accuracy.by_scoring import Rescored, ScoreChanges, Scoring
from evalkit.console.terminal import printable
from evalkit.wording.numbers import MISSING
from evalkit.wording.run_results import rate


def show_scorings(console: Console, scorings: Iterable[Scoring], path: Path) -> None:
    """Print all scorings of a run, and which of them counts."""
    rows = [("counts" if scoring.counts else "", scoring) for scoring in scorings]
    console.print(_table(rows))
    console.print(printable(f"another one counts by: evalkit score {path} --use N"), soft_wrap=True)


def show_rescored(console: Console, rescored: Rescored, path: Path) -> None:
    """Print the old and the new accuracy of a run, and how many verdicts changed."""
    old, new = rescored.old, rescored.new
    console.print(_table([("old", old), ("new", new)]))
    console.print(_changes(rescored.changed))
    if new.missing:
        console.print(
            f"{new.missing} answered turns were added after scoring {new.number}, and have no score in it",
            style="yellow",
        )
    back = f"; the old one counts again by: evalkit score {path} --use {old.number}" if new.number != old.number else ""
    console.print(printable(f"scoring {new.number} counts now{back}"), soft_wrap=True)


def _table(rows: Iterable[tuple[str, Scoring]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for heading in ("scoring", "accuracy (95 % interval)", "unscored"):
        table.add_column(heading, justify="right")
    for heading in ("scorer", "begun", "versions"):
        table.add_column(heading)
    for word, scoring in rows:
        accuracy = scoring.accuracy
        table.add_row(
            word,
            str(scoring.number),
            rate(accuracy.to_json()),
            str(accuracy.unscored),
            _scorer(scoring),
            _begun(scoring.begun_ns),
            printable(", ".join(f"{name} {version}" for name, version in scoring.versions.items()) or MISSING),
        )
    return table


def _scorer(scoring: Scoring) -> Text:
    if scoring.scorer is None:
        return Text("each turn's own")
    return printable(scoring.scorer if isinstance(scoring.scorer, str) else json.dumps(scoring.scorer))


def _begun(wall_ns: int | None) -> str:
    return MISSING if wall_ns is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(wall_ns / 1e9))


def _changes(changed: ScoreChanges) -> str:
    kinds = {
        "right to wrong": changed.right_to_wrong,
        "wrong to right": changed.wrong_to_right,
        "to unscored": changed.to_unscored,
        "from unscored": changed.from_unscored,
        "below 1 in both, with another value": changed.within_wrong,
    }
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    return f"verdicts that changed: {sum(kinds.values())}" + (f" ({told})" if told else "")
