"""The command that scores a run anew: ``score``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from evalkit.cli import shared_flags
from evalkit.errors import RunFileError
from evalkit.judging import scoring_command


def add_score(commands: Any) -> None:
    """``evalkit score``."""
    parser = shared_flags.command(
        commands, "score", score,
        "Score the stored answers of a run anew, with no call; the old scores stay, with their scorers' versions.",
        "evalkit score runs/demo.evalkit --scorer includes",
    )  # fmt: skip
    shared_flags.add_run_file(parser)
    what = parser.add_mutually_exclusive_group()
    shared_flags.add_scorer(
        what,
        "scores every turn that has a target, also those that name another (default: the scorer each turn names, or "
        "else that of the run, or of the target's type); again for several, which make one score",
    )
    what.add_argument("--list", action="store_true", help="show all scorings of the run, and score nothing")
    what.add_argument(
        "--use", type=int, metavar="N", help="let an older scoring count again; 0: the run's own, made as it was asked"
    )
    shared_flags.add_json(parser)


def score(parsed: argparse.Namespace) -> int:
    """``evalkit score``."""
    from evalkit.analysis.accuracy.by_scoring import scorings
    from evalkit.analysis.measures import opened
    from evalkit.console.score import show_rescored, show_scorings
    from evalkit.console.terminal import output, tell
    from evalkit.run import Run

    run = Run(parsed.file)
    if parsed.list:
        with opened(run.path) as connection:
            known = scorings(connection)
        if parsed.json:
            tell({"run": run.info["name"], "scorings": [one.to_json() for one in known]})
        else:
            show_scorings(output(), known, run.path)
        return 0
    done = run.score(shared_flags.scorer(parsed.scorer)) if parsed.use is None else run.use_scoring(parsed.use)
    if parsed.json:
        tell({"run": run.info["name"], **done.to_json()})
    else:
        show_rescored(output(), done, run.path)
    return 0


@contextmanager
def telling_of_scores(path: Path) -> Iterator[None]:
    """Say it when a run that was gone on with has turns that the scoring which counted has not seen."""
    from evalkit.console.terminal import say

    before, command = _counting(path)
    try:
        yield
    finally:
        with suppress(RunFileError):
            if before and _counting(path)[0] == 0:
                say(
                    f"scoring {before} has not seen the turns that were added to {path}, so the run's own scores count "
                    f"again. Make it anew by: {command}"
                )


def _counting(path: Path) -> tuple[int, str]:
    """The scoring that counts, and the command that makes such a one; "": it is the run's own."""
    from evalkit.analysis.accuracy import by_scoring
    from evalkit.analysis.measures import opened

    with opened(path) as connection:
        number = by_scoring.active_scoring(connection)
        return number, scoring_command.command_of(connection, number, path) if number else ""
