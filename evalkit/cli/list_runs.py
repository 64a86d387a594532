"""The command that lists the runs in a folder: ``list``."""

from __future__ import annotations

import argparse
from typing import Any

from evalkit.cli import shared_flags


def add_list(commands: Any) -> None:
    """Add ``evalkit list``."""
    parser = shared_flags.add_command(
        commands, "list", list_runs,
        "List the runs in a folder: dataset, model, accuracy, times, date and how each ended. A file that cannot be "
        "read is listed with the reason.",
        "evalkit list runs",
    )  # fmt: skip
    shared_flags.add_runs_folder(parser)
    shared_flags.add_json(parser)


def list_runs(parsed: argparse.Namespace) -> int:
    """Run ``evalkit list``."""
    from evalkit.analysis import run_list
    from evalkit.console.run_list import show_runs
    from evalkit.console.terminal import print_result

    print_result(run_list.list_runs(parsed.folder), show_runs, as_json=parsed.json)
    return 0
