"""``evalkit import``: a run file of answers that another tool has collected."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from evalkit.cli import shared_flags

_FORMS = ("answers", "inspect", "lm-eval", "openai-batch")


def add_import(commands: Any) -> None:
    """Add ``evalkit import``."""
    parser = shared_flags.add_command(
        commands, "import", import_answers,
        "Make a run file of answers that another tool has collected: a log of inspect, samples of the "
        "lm-evaluation-harness, an output file of the OpenAI batch API, or plain answers. The run has no times.",
        "evalkit import logs/2026-05-01_math.eval --out runs/math.evalkit",
    )  # fmt: skip
    parser.add_argument("answers", type=Path, metavar="FILE", help="the log, samples, output file or answers")
    parser.add_argument(
        "--form", choices=_FORMS, metavar="FORM",
        help=f"form of the file: {', '.join(_FORMS[:-1])} or {_FORMS[-1]} (default: what it looks like)",
    )  # fmt: skip
    parser.add_argument(
        "--data", type=Path, metavar="DATA",
        help="a dataset with the conversations of the answers, found by their id; the input file of a batch is one",
    )  # fmt: skip
    parser.add_argument(
        "--score", metavar="NAME", help="which of the other tool's scores to take, as it calls it (default: the first)"
    )
    parser.add_argument("--model", metavar="M", help="name of the model (default: what the file says)")
    parser.add_argument("--name", metavar="NAME", help="name of the run: runs/NAME.evalkit")
    shared_flags.add_out(parser, "FILE.evalkit", "run file to write")
    shared_flags.add_json(parser)


def import_answers(parsed: argparse.Namespace) -> int:
    """Run ``evalkit import``."""
    from evalkit.console.import_answers import show_import
    from evalkit.console.terminal import print_result
    from evalkit.importing import import_run

    try:
        imported = import_run.import_answers(
            parsed.answers, form=parsed.form, data=parsed.data, score=parsed.score, model=parsed.model,
            name=parsed.name, out=parsed.out,
        )  # fmt: skip
    except KeyboardInterrupt as stop:
        stop.add_note("stopped. No run file was written")
        raise
    print_result(imported, show_import, as_json=parsed.json)
    return 0
