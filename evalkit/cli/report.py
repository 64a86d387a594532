"""``evalkit report``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from evalkit.cli import shared_flags


def add_report(commands: Any) -> None:
    """Add the command."""
    parser = shared_flags.command(
        commands, "report", report, "Write what runs found to one file: HTML with charts and transcripts, or Markdown.",
        "evalkit report runs/demo.evalkit -o report.html",
    )  # fmt: skip
    parser.add_argument("files", nargs="+", type=Path, metavar="RUN.evalkit", help="run files, shown beside each other")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="OUT", default=Path("report.html"),
        help="file to write; a name that ends in .md makes Markdown for a pull request (default: report.html)",
    )  # fmt: skip
    shared_flags.add_overwrite(parser)
    shared_flags.add_json(parser)


def report(parsed: argparse.Namespace) -> int:
    """``evalkit report``."""
    from evalkit.console.terminal import say, tell
    from evalkit.report.html_report import report as write

    size = write(parsed.files, parsed.output, overwrite=parsed.overwrite)
    if parsed.json:
        tell({"file": str(parsed.output), "bytes": size})
        return 0
    what = "Markdown" if parsed.output.suffix == ".md" else "to be opened in any browser"
    say(f"{parsed.output}: {size / 1e6:.2f} MB, {what}")
    return 0
