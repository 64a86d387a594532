"""The output of ``evalkit import``."""

from __future__ import annotations

from rich.console import Console

from evalkit.console.terminal import printable
from evalkit.importing.import_run import Imported
from evalkit.wording.numbers import counted


def show_import(console: Console, done: Imported) -> None:
    """Print what was imported, what of the file is not in the run, and where the run is."""
    failed = f", {counted(done.failed, 'failed request')}" if done.failed else ""
    by = "evalkit's own scorers" if done.scorer is None else _line(done.scorer)
    scores = f"{counted(done.scored, 'score')} by {by}" if done.scored else "no scores"
    console.print(printable(f"{counted(done.answers, 'answer')}{failed}; {scores}; no times"), soft_wrap=True)
    if done.other_scorers:
        console.print(
            printable(f"other scores, to take with --score: {', '.join(map(_line, done.other_scorers))}"),
            soft_wrap=True,
        )
    for note, count in done.notes.items():
        console.print(printable(f"{_line(note)}: {count:,}"), style="yellow", soft_wrap=True)
    console.print(printable(f"run file: {done.run}"), soft_wrap=True)


def _line(name: str) -> str:
    """A name from the file on one line, so that no part of it looks like a line of evalkit."""
    return " ".join(name.split())
