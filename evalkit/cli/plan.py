"""The command that estimates the needed size of a run from a pilot: ``plan``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from evalkit.cli import shared_flags
from evalkit.errors import SettingsError


def add_plan(commands: Any) -> None:
    """Add ``evalkit plan``."""
    parser = shared_flags.add_command(
        commands, "plan", plan,
        "Estimate from a pilot run how many conversations are needed. The goal is an interval of a given width "
        "(--precision) or the detection of a given difference (--difference).",
        "evalkit plan runs/pilot.evalkit --precision 0.03 --difference 0.05",
    )  # fmt: skip
    parser.add_argument("pilot", type=Path, metavar="PILOT.evalkit", help="run file of the pilot")
    parser.add_argument(
        "other", type=Path, nargs="?", metavar="OTHER.evalkit",
        help="a second pilot with the same conversations: plan for the difference between the two",
    )  # fmt: skip
    parser.add_argument("--precision", type=float, metavar="X", help="half-width of the 95 %% interval, such as 0.03")
    parser.add_argument(
        "--difference", type=float, metavar="X", help="difference between two runs to detect, such as 0.05"
    )
    parser.add_argument(
        "--power", type=float, metavar="P", help="with --difference: probability to detect it (default: 0.8)"
    )
    parser.add_argument(
        "--repeats",
        type=int,
        metavar="R",
        help="repeats of each conversation (default: show 1, 2 and 5)",
    )
    shared_flags.add_json(parser)


def plan(parsed: argparse.Namespace) -> int:
    """Run ``evalkit plan``."""
    from evalkit.analysis import sample_size
    from evalkit.console.plan import show_plan
    from evalkit.console.terminal import print_result

    if parsed.power is not None and parsed.precision is not None and parsed.difference is None:
        raise SettingsError("--power is the probability to detect a difference: add --difference, or omit --power")
    result = sample_size.plan(
        parsed.pilot,
        parsed.other,
        precision=parsed.precision,
        difference=parsed.difference,
        power=0.8 if parsed.power is None else parsed.power,
        repeats=parsed.repeats,
    )
    print_result(result, show_plan, as_json=parsed.json)
    return 0
