"""The command that scores a run again: ``score``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from evalkit.cli import shared_flags
from evalkit.errors import RunFileError, SettingsError


def add_score(commands: Any) -> None:
    """Add ``evalkit score``."""
    parser = shared_flags.add_command(
        commands, "score", score,
        "Score the stored answers of a run again. Sends no request; earlier scores are kept, with the versions of "
        "their scorers.",
        "evalkit score runs/demo.evalkit --scorer includes",
    )  # fmt: skip
    shared_flags.add_run_file(parser)
    what = parser.add_mutually_exclusive_group()
    shared_flags.add_scorer(
        what,
        "scorer of every turn that has a target, even if the turn names another (default: the scorer that the turn "
        "names, else that of the run, else by the type of the target); repeat the flag to combine several into one "
        "score",
    )
    parser.add_argument(
        "--targets", type=Path, metavar="DATA",
        help="corrected dataset with the same questions: use its targets and scorers (default: the run's dataset)",
    )  # fmt: skip
    what.add_argument("--list", action="store_true", help="list all scorings of the run; score nothing")
    what.add_argument(
        "--use", type=int, metavar="N", help="let an earlier scoring count again; 0: the scores made during the run"
    )
    shared_flags.add_json(parser)


def score(parsed: argparse.Namespace) -> int:
    """Run ``evalkit score``."""
    from evalkit.analysis.accuracy.by_scoring import scorings
    from evalkit.analysis.measures import opened
    from evalkit.console.score import show_rescored, show_scorings
    from evalkit.console.terminal import print_json, stdout_console
    from evalkit.run import Run

    if parsed.targets is not None and (parsed.list or parsed.use is not None):
        raise SettingsError("--targets scores again, and --list and --use do not: give only one of them")
    run = Run(parsed.file)
    if parsed.list:
        with opened(run.path) as connection:
            found = scorings(connection)
        if parsed.json:
            print_json({"run": run.info["name"], "scorings": [scoring.to_json() for scoring in found]})
        else:
            show_scorings(stdout_console(), found, run.path)
        return 0
    if parsed.use is None:
        scorer = shared_flags.scorer(parsed.scorer)
        try:
            rescored = run.score(scorer, targets=parsed.targets)
        except KeyboardInterrupt as stop:
            stop.add_note("stopped. A scoring that is not complete does not count: the scores from before still do")
            raise
    else:
        rescored = run.use_scoring(parsed.use)
    if parsed.json:
        print_json({"run": run.info["name"], **rescored.to_json()})
    else:
        show_rescored(stdout_console(), rescored, run.path)
    return 0


@contextmanager
def warn_if_scoring_is_incomplete(path: Path) -> Iterator[None]:
    """Print a message when a resumed run gains turns that the scoring which counted so far does not cover."""
    from evalkit.console.terminal import print_message

    before, command = _counting(path)
    try:
        yield
    finally:
        with suppress(RunFileError):
            if before and _counting(path)[0] == 0:
                print_message(
                    f"scoring {before} does not cover the turns that were added to {path}, so the run's own scores "
                    f"count again. To score them all: {command}"
                )


def _counting(path: Path) -> tuple[int, str]:
    """The scoring that counts, and the command that makes one like it; 0 and "" when it is the run's own."""
    from evalkit.analysis.accuracy import by_scoring
    from evalkit.analysis.measures import opened
    from evalkit.judging import rescore_command

    with opened(path) as connection:
        number = by_scoring.active_scoring(connection)
        return number, rescore_command.command_of(connection, number, path) if number else ""
