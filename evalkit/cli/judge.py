"""The commands that let a model judge answers: ``judge`` and ``judge-check``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli import shared_flags
from evalkit.errors import EndpointError

if TYPE_CHECKING:
    from evalkit.endpoint import Endpoint

_SMALL = "it is a very small judge: 'evalkit judge-check' says how far it agrees with people"


def add_judge(commands: Any) -> None:
    """``evalkit judge``."""
    parser = shared_flags.command(
        commands, "judge", judge,
        "Let a model judge a run's answers, or say which of two runs answers better; its calls are a run of their own.",
        "evalkit judge runs/demo.evalkit --rubric correct --base-url https://api.example.com --model big",
    )  # fmt: skip
    shared_flags.add_run_file(parser)
    _add_rubric(parser, "correct; with --against: better")
    parser.add_argument(
        "--against", type=Path, metavar="OTHER.evalkit", help="a run of the same dataset: which answers better?"
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="only the first N turns: a trial, whose scores do not count"
    )
    _add_asking(parser)


def add_judge_check(commands: Any) -> None:
    """``evalkit judge-check``."""
    parser = shared_flags.command(
        commands, "judge-check", judge_check,
        "Check a judge against answers that people have labelled: agreement, kappa and alpha with intervals.",
        "evalkit judge-check data/judged_answers.jsonl",
    )  # fmt: skip
    parser.add_argument("labels", type=Path, metavar="LABELS.jsonl", help="rows of question, answer, target and label")
    _add_rubric(parser, "correct")
    _add_asking(parser)


def _add_rubric(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--rubric", metavar="NAME|FILE.toml",
        help=f"correct, helpful, better (of two), or a file of name, text and [choices] (default: {default})",
    )  # fmt: skip


def _add_asking(parser: argparse.ArgumentParser) -> None:
    shared_flags.add_endpoint(parser)
    shared_flags.add_sampling(parser)
    parser.add_argument("--concurrency", type=int, default=4, metavar="N", help="asked at once (default: 4)")
    shared_flags.add_json(parser)


def judge(parsed: argparse.Namespace) -> int:
    """``evalkit judge``."""
    from evalkit.console.judge import show_judging, show_pairing
    from evalkit.console.terminal import output, watching
    from evalkit.judging import judging, pairwise

    pairs = parsed.against is not None
    # what is wrong here is said before a model is started for it
    rubric = judging.rubric_for(parsed.rubric or ("better" if pairs else "correct"), pairwise=pairs)
    judging.check_limit(parsed.limit)
    for run in (parsed.file, parsed.against):
        if run is not None:
            judging.path_of(run)
    how: dict[str, Any] = {
        "limit": parsed.limit,
        "concurrency": parsed.concurrency,
        "stream": not parsed.no_stream,
    }
    with _judge_of(parsed) as endpoint, watching() as watch:
        if pairs:
            pairing = pairwise.judge_pairs(parsed.file, parsed.against, endpoint, rubric, watch=watch, **how)
        else:
            judged = judging.judge(parsed.file, endpoint, rubric, watch=watch, **how)
    if pairs:
        _show(parsed, pairing, lambda: show_pairing(output(), pairing))
        return 1 if pairing.outcomes["failed"] else 0
    _show(parsed, judged, lambda: show_judging(output(), judged))
    return 1 if judged.failed else 0


def judge_check(parsed: argparse.Namespace) -> int:
    """``evalkit judge-check``."""
    from evalkit.console.judge import show_check
    from evalkit.console.terminal import output, watching
    from evalkit.judging import against_people, judging, labels

    rubric = judging.rubric_for(parsed.rubric or "correct", pairwise=False)
    for _ in labels.read_labels(parsed.labels, rubric):
        pass
    with _judge_of(parsed) as endpoint, watching() as watch:
        done = against_people.check_judge(
            parsed.labels, endpoint, rubric, concurrency=parsed.concurrency, stream=not parsed.no_stream, watch=watch
        )
    _show(parsed, done, lambda: show_check(output(), done))
    return 1 if done.count(against_people.FAILED) else 0


def _show(parsed: argparse.Namespace, done: Any, tables: Any) -> None:
    from evalkit.console.terminal import tell

    if parsed.json:
        tell(done.to_json())
    else:
        tables()


@contextmanager
def _judge_of(parsed: argparse.Namespace) -> Iterator[Endpoint]:
    """The judge's endpoint; when asking breaks off, it is told how to go on."""
    from evalkit.console.terminal import say
    from evalkit.settings import Settings

    Settings(concurrency=parsed.concurrency)  # refuses one that cannot be before a model is started
    try:
        with shared_flags.endpoint(parsed) as endpoint:
            if endpoint.source == "embedded":
                say(_SMALL)
            yield endpoint
    except KeyboardInterrupt:
        say("stopped. What the judge answered is kept; the same command goes on")
        raise
    except EndpointError as error:
        raise EndpointError(f"{error}\nWhen that is mended, the same command goes on.") from None
