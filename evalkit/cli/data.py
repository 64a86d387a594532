"""The command that shows what a dataset would ask: ``data``."""

from __future__ import annotations

import argparse
from typing import Any

from evalkit.cli import shared_flags


def add_data(commands: Any) -> None:
    """Add ``evalkit data``."""
    parser = shared_flags.add_command(
        commands, "data", data,
        "Show what a dataset would ask: row format, turns, scorers, what is not sent, duplicates, first conversation. "
        "Sends no request.",
        "evalkit data data/primary_math.jsonl",
    )  # fmt: skip
    shared_flags.add_dataset(parser)
    group = parser.add_argument_group("as in 'evalkit run'")
    shared_flags.add_questions(group)
    shared_flags.add_scorer(group, "scorer of turns that name none (default: by the type of the target)")
    shared_flags.add_json(parser)


def data(parsed: argparse.Namespace) -> int:
    """Run ``evalkit data``."""
    from evalkit.console.dataset import show_contents
    from evalkit.console.terminal import print_result
    from evalkit.datasets.contents import contents
    from evalkit.settings import Settings

    asked = shared_flags.questions(parsed)
    scorer = Settings(**asked, scorer=shared_flags.scorer(parsed.scorer)).default_scorer
    print_result(contents(parsed.data, **asked, scorer=scorer), show_contents, as_json=parsed.json)
    return 0
