"""The command that compares runs: ``compare``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from evalkit.cli import shared_flags


def add_compare(commands: Any) -> None:
    """Add ``evalkit compare``."""
    parser = shared_flags.add_command(
        commands, "compare", compare,
        "Compare runs of one dataset turn by turn. Reports which run is better, by how much, and how sure that is.",
        "evalkit compare runs/own.evalkit runs/golden.evalkit",
    )  # fmt: skip
    parser.add_argument("first", type=Path, metavar="A.evalkit", help="run file that the others are compared with")
    parser.add_argument("others", type=Path, nargs="+", metavar="B.evalkit", help="run files to compare with A")
    parser.add_argument(
        "--common", action="store_true",
        help="when the datasets differ, compare only the conversations with the same id and content",
    )  # fmt: skip
    shared_flags.add_json(parser)


def compare(parsed: argparse.Namespace) -> int:
    """Run ``evalkit compare``."""
    from evalkit.analysis.measures import snapshot
    from evalkit.comparing import comparison
    from evalkit.console.compare import show_comparison
    from evalkit.console.terminal import print_result

    with snapshot(parsed.first, *parsed.others):
        result = comparison.compare(parsed.first, *parsed.others, common=parsed.common)
        print_result(result, show_comparison, as_json=parsed.json)
    return 0
