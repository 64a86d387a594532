"""The command that shows what a dataset would ask: ``data``."""

from __future__ import annotations

import argparse
from typing import Any

from evalkit.cli import shared_flags
from evalkit.cli.show import print_exported
from evalkit.errors import SettingsError


def add_data(commands: Any) -> None:
    """Add ``evalkit data``."""
    parser = shared_flags.add_command(
        commands, "data", data,
        "Show what a dataset would ask: row format, turns, scorers, what is not sent, duplicates, first conversation. "
        "Sends no request. With --batch, write the requests as an input file of the OpenAI batch API.",
        "evalkit data data/primary_math.jsonl",
    )  # fmt: skip
    shared_flags.add_dataset(parser)
    group = parser.add_argument_group("as in 'evalkit run'")
    shared_flags.add_questions(group)
    shared_flags.add_scorer(group, "scorer of turns that name none (default: by the type of the target)")
    _add_batch(parser.add_argument_group("requests of a batch"))
    shared_flags.add_json(parser)


def _add_batch(group: Any) -> None:
    group.add_argument(
        "--batch", type=shared_flags.output_path, metavar="OUT.jsonl",
        help="write the requests for the OpenAI batch API; - is standard output. 'evalkit import OUTPUT.jsonl --data "
        "DATA' reads the answers",
    )  # fmt: skip
    group.add_argument("--model", metavar="M", help="model that the batch asks")
    group.add_argument("--repeats", type=int, metavar="R", help="ask each conversation R times (default: 1)")
    shared_flags.add_request_parameters(group)


def data(parsed: argparse.Namespace) -> int:
    """Run ``evalkit data``."""
    if parsed.batch is not None:
        return _write_batch(parsed)
    given = {"--model": parsed.model, "--repeats": parsed.repeats}
    given |= {"--temperature, --max-tokens and --param": shared_flags.params(parsed) or None}
    if (flag := next((flag for flag, value in given.items() if value is not None), None)) is not None:
        raise SettingsError(f"{flag}: only for the requests of a batch; add --batch OUT.jsonl")
    from evalkit.console.dataset import show_contents
    from evalkit.console.terminal import print_result
    from evalkit.datasets.contents import contents
    from evalkit.settings import Settings

    asked = shared_flags.questions(parsed)
    scorer = Settings(**asked, scorer=shared_flags.scorer(parsed.scorer)).default_scorer
    print_result(contents(parsed.data, **asked, scorer=scorer), show_contents, as_json=parsed.json)
    return 0


def _write_batch(parsed: argparse.Namespace) -> int:
    from evalkit.exporting import openai_batch

    if not parsed.model:
        raise SettingsError("--batch needs --model M: each request of a batch names its model")
    if parsed.scorer:
        raise SettingsError(
            "--scorer: the requests of a batch are not scored. Import the answers, "
            "then 'evalkit score RUN --scorer NAME'"
        )
    if parsed.json and parsed.batch == shared_flags.STANDARD_OUTPUT:
        raise SettingsError("--json and --batch - both write to standard output: omit one")
    done = openai_batch.write_requests(
        parsed.data, parsed.batch, model=parsed.model, params=shared_flags.params(parsed),
        repeats=1 if parsed.repeats is None else parsed.repeats, **shared_flags.questions(parsed),
    )  # fmt: skip
    print_exported(parsed, parsed.batch, "openai-batch", done)
    return 0
