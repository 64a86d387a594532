"""The commands in which a model judges answers: ``judge`` and ``judge-check``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli import shared_flags
from evalkit.errors import EndpointError, SettingsError

if TYPE_CHECKING:
    from evalkit.endpoint import Endpoint
    from evalkit.judging.rubric import Rubric

_SMALL_JUDGE = "this model is very small for a judge: check with 'evalkit judge-check' how often it agrees with people"


def add_judge(commands: Any) -> None:
    """Add ``evalkit judge``."""
    parser = shared_flags.add_command(
        commands, "judge", judge,
        "Score the answers of a run with a model as judge, or find which of two runs answers better. The requests to "
        "the judge are stored as a run of their own.",
        "evalkit judge runs/demo.evalkit --rubric correct --base-url https://api.example.com --model big",
    )  # fmt: skip
    shared_flags.add_run_file(parser)
    _add_rubric(parser, "correct; with --against: better")
    parser.add_argument(
        "--against",
        type=Path,
        action="append",
        default=[],
        metavar="OTHER.evalkit",
        help="another run of the same dataset: judge which of the two answers better; given several times, every two "
        "of these runs are judged, and all are ranked",
    )
    parser.add_argument(
        "--labels", type=Path, metavar="LABELS.jsonl",
        help="answers labelled by people, as for judge-check: judge them too, and correct the mean score by them",
    )  # fmt: skip
    parser.add_argument(
        "--limit", type=int, metavar="N", help="judge only the first N turns, as a trial whose scores do not count"
    )
    _add_asking(parser)


def add_judge_check(commands: Any) -> None:
    """Add ``evalkit judge-check``."""
    parser = shared_flags.add_command(
        commands, "judge-check", judge_check,
        "Check a judge against answers labelled by people. Reports agreement, kappa, alpha, true positive and true "
        "negative rate, each with an interval.",
        "evalkit judge-check data/judged_answers.jsonl",
    )  # fmt: skip
    parser.add_argument(
        "labels", type=Path, metavar="LABELS.jsonl", help="rows with question, answer, target and label"
    )
    _add_rubric(parser, "correct")
    parser.add_argument(
        "--repeats", type=int, default=1, metavar="R",
        help="judge every answer R times: how often the judge agrees with itself (default: 1)",
    )  # fmt: skip
    _add_asking(parser)


def _add_rubric(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--rubric", metavar="NAME|FILE.toml",
        help=f"correct, helpful, better (of two), or a file with name, text and [choices] (default: {default})",
    )  # fmt: skip


def _add_asking(parser: argparse.ArgumentParser) -> None:
    shared_flags.add_endpoint(parser)
    shared_flags.add_sampling(parser)
    parser.add_argument("--concurrency", type=int, default=4, metavar="N", help="requests in parallel (default: 4)")
    shared_flags.add_json(parser)


def judge(parsed: argparse.Namespace) -> int:
    """Run ``evalkit judge``."""
    from evalkit.console.judge import show_judging, show_pairing, show_ranked_pairs
    from evalkit.console.progress_line import progress_line
    from evalkit.console.terminal import print_result
    from evalkit.judging import judged_ranks, judging, pairwise

    runs = [parsed.file, *parsed.against]
    pairs = len(runs) > 1
    # errors that can be found now are reported before a model is started
    rubric = judging.rubric_for(parsed.rubric or ("better" if pairs else "correct"), pairwise=pairs)
    judging.check_limit(parsed.limit)
    if parsed.labels is not None:
        if pairs:
            raise SettingsError("--labels are of single answers: they cannot correct a comparison with --against")
        _check_labels(parsed.labels, rubric)
    for run in runs:
        judging.path_of(run)
    if len(runs) > 2:
        judged_ranks.check_ranking(runs)
    settings: dict[str, Any] = {
        "limit": parsed.limit,
        "concurrency": parsed.concurrency,
        "stream": not parsed.no_stream,
    }
    with _judge_endpoint(parsed) as endpoint, progress_line("replies") as watch:
        if len(runs) > 2:
            ranked = judged_ranks.rank_runs(runs, endpoint, rubric, watch=watch, **settings)
        elif pairs:
            pairing = pairwise.judge_pairs(parsed.file, runs[1], endpoint, rubric, watch=watch, **settings)
        else:
            judged = judging.judge(parsed.file, endpoint, rubric, labels=parsed.labels, watch=watch, **settings)
    if len(runs) > 2:
        print_result(ranked, show_ranked_pairs, as_json=parsed.json)
        return 1 if any(each.outcomes["failed"] for each in ranked.judgings) else 0
    if pairs:
        print_result(pairing, show_pairing, as_json=parsed.json)
        return 1 if pairing.outcomes["failed"] else 0
    print_result(judged, show_judging, as_json=parsed.json)
    return 1 if judged.failed or (judged.corrected is not None and judged.corrected.failed) else 0


def judge_check(parsed: argparse.Namespace) -> int:
    """Run ``evalkit judge-check``."""
    from evalkit.console.judge import show_check
    from evalkit.console.progress_line import progress_line
    from evalkit.console.terminal import print_result
    from evalkit.judging import against_people, judging

    rubric = judging.rubric_for(parsed.rubric or "correct", pairwise=False)
    against_people.check_repeats(parsed.repeats)
    _check_labels(parsed.labels, rubric)
    with _judge_endpoint(parsed) as endpoint, progress_line("replies") as watch:
        result = against_people.check_judge(
            parsed.labels, endpoint, rubric, repeats=parsed.repeats,
            concurrency=parsed.concurrency, stream=not parsed.no_stream, watch=watch,
        )  # fmt: skip
    print_result(result, show_check, as_json=parsed.json)
    itself = result.self_agreement
    return 1 if result.count(against_people.FAILED) or (itself is not None and itself.left_out) else 0


def _check_labels(path: Path, rubric: Rubric) -> None:
    """Report a wrong row before a model is started."""
    from evalkit.judging import labels

    for _ in labels.read_labels(path, rubric):
        pass


@contextmanager
def _judge_endpoint(parsed: argparse.Namespace) -> Iterator[Endpoint]:
    """The judge's endpoint; when judging ends early, a message says how to continue."""
    from evalkit.console.terminal import print_message
    from evalkit.engine.asking import readiness
    from evalkit.settings import Settings

    Settings(concurrency=parsed.concurrency)  # a wrong value is reported before a model is started
    try:
        with shared_flags.endpoint(parsed) as endpoint:
            if endpoint.source == "embedded":
                print_message(_SMALL_JUDGE)
            readiness.wait_until_ready(endpoint, parsed.wait_ready)
            yield endpoint
    except KeyboardInterrupt as stop:
        stop.add_note("stopped. The judge's answers so far are kept; run the same command again to continue")
        raise
    except EndpointError as error:
        raise EndpointError(f"{error}\nWhen that is fixed, run the same command again to continue.") from None
