"""The command that scores a run anew: ``score``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from evalkit import flags
from evalkit.errors import RunFileError


def add_score(commands: Any) -> None:
    """``evalkit score``."""
    parser = flags.command(
        commands, "score", score,
        "Score the stored answers of a run anew, with no call; the old scores stay, with their scorers' versions.",
        "evalkit score runs/demo.evalkit --scorer includes",
    )  # fmt: skip
    flags.add_run_file(parser)
    what = parser.add_mutually_exclusive_group()
    flags.add_scorer(
        what,
        "scores every turn that has a target, also those that name another (default: the scorer each turn names, or "
        "else that of the run, or of the target's type); again for several, which make one score",
    )
    what.add_argument("--list", action="store_true", help="show all scorings of the run, and score nothing")
    what.add_argument(
        "--use", type=int, metavar="N", help="let an older scoring count again; 0: the run's own, made as it was asked"
    )
    flags.add_json(parser)


def score(parsed: argparse.Namespace) -> int:
    """``evalkit score``."""
    from evalkit.console import output, tell
    from evalkit.console_score import show_rescored, show_scorings
    from evalkit.measures import opened
    from evalkit.run import Run
    from evalkit.standings import scorings

    run = Run(parsed.file)
    if parsed.list:
        with opened(run.path) as connection:
            known = scorings(connection)
        if parsed.json:
            tell({"run": run.info["name"], "scorings": [one.to_json() for one in known]})
        else:
            show_scorings(output(), known, run.path)
        return 0
    done = run.score(flags.scorer(parsed.scorer)) if parsed.use is None else run.use_scoring(parsed.use)
    if parsed.json:
        tell({"run": run.info["name"], **done.to_json()})
    else:
        show_rescored(output(), done, run.path)
    return 0


@contextmanager
def telling_of_scores(path: Path) -> Iterator[None]:
    """Say it when a run that was gone on with has turns that the scoring which counted has not seen."""
    from evalkit.console import say

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
    from evalkit import standings
    from evalkit.measures import opened

    with opened(path) as connection:
        number = standings.counting(connection)
        return number, standings.command_of(connection, number, path) if number else ""
