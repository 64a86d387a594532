"""The command that writes a report on runs: ``report``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from evalkit.cli import shared_flags


def add_report(commands: Any) -> None:
    """Add ``evalkit report``."""
    parser = shared_flags.add_command(
        commands, "report", report,
        "Write a report on one or more runs to a file. HTML with charts and transcripts, or Markdown for a pull "
        "request.",
        "evalkit report runs/demo.evalkit -o report.html",
    )  # fmt: skip
    parser.add_argument("files", nargs="+", type=Path, metavar="RUN.evalkit", help="run files, shown side by side")
    shared_flags.add_out(
        parser, "OUT", "file to write: HTML, or Markdown if the name ends in .md (default: report.html)",
        default=Path("report.html"), streamed=True,
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=("html", "md"), help="HTML or Markdown (default: what the name ends in, else html)"
    )
    shared_flags.add_overwrite(parser)
    shared_flags.add_json(parser)


def report(parsed: argparse.Namespace) -> int:
    """Run ``evalkit report``."""
    from evalkit.console.terminal import print_json, print_message
    from evalkit.report.html_report import report as write

    shared_flags.refuse_two_outputs(parsed)
    size = write(parsed.files, parsed.out, overwrite=parsed.overwrite, form=parsed.format)
    if parsed.json:
        print_json({"file": str(parsed.out), "bytes": size})
        return 0
    if parsed.out == shared_flags.STANDARD_OUTPUT:
        return 0
    kind = "Markdown" if (parsed.format or parsed.out.suffix) in ("md", ".md") else "open it in any browser"
    print_message(f"{parsed.out}: {size / 1e6:.2f} MB, {kind}")
    return 0
