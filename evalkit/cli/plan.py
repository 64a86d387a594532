"""The command ``plan``: how many conversations and repeats are needed, from a pilot run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from evalkit.cli import shared_flags
from evalkit.errors import SettingsError


def add_plan(commands: Any) -> None:
    """``evalkit plan``."""
    parser = shared_flags.command(
        commands, "plan", plan,
        "Say how many conversations a wanted precision takes, or finding a difference, from a pilot run.",
        "evalkit plan runs/pilot.evalkit --precision 0.03 --difference 0.05",
    )  # fmt: skip
    parser.add_argument("pilot", type=Path, metavar="PILOT.evalkit", help="run file of the pilot")
    parser.add_argument(
        "other", type=Path, nargs="?", metavar="OTHER.evalkit",
        help="a second pilot of the same conversations: their difference is planned, as it varies between the two",
    )  # fmt: skip
    parser.add_argument("--precision", type=float, metavar="X", help="half-width of the 95 %% interval: 0.03")
    parser.add_argument(
        "--difference", type=float, metavar="X", help="difference of two runs that is to be found: 0.05"
    )
    parser.add_argument("--power", type=float, metavar="P", help="probability to find it (default: 0.8)")
    parser.add_argument(
        "--repeats",
        type=int,
        metavar="R",
        help="each conversation asked R times (default: 1, 2 and 5 beside each other)",
    )
    shared_flags.add_json(parser)


def plan(parsed: argparse.Namespace) -> int:
    """``evalkit plan``."""
    from evalkit.analysis import sample_size
    from evalkit.console.plan import show_plan
    from evalkit.console.terminal import output, tell

    if parsed.power is not None and parsed.precision is not None and parsed.difference is None:
        raise SettingsError("--power is the probability to find a difference: add --difference, or leave it out")
    made = sample_size.plan(
        parsed.pilot,
        parsed.other,
        precision=parsed.precision,
        difference=parsed.difference,
        power=0.8 if parsed.power is None else parsed.power,
        repeats=parsed.repeats,
    )
    if parsed.json:
        tell(made.to_json())
    else:
        show_plan(output(), made)
    return 0
