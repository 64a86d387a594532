"""The commands that run a dataset against an endpoint: ``run``, ``resume`` and ``demo``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli import gate_flags, resume_hints, several_runs, shared_flags
from evalkit.cli.score import warn_if_scoring_is_incomplete
from evalkit.cli.show import print_run
from evalkit.engine.stopping.session_outcome import SessionOutcome
from evalkit.errors import EndpointError, EvalkitError, InputError, SettingsError

if TYPE_CHECKING:
    from evalkit.datasets.dry_run import DryRun
    from evalkit.endpoint import Endpoint
    from evalkit.run import Run

DEMO_ROWS = 24
DEMO_MAX_TOKENS = 64


def add_demo(commands: Any) -> None:
    """Add ``evalkit demo``."""
    parser = shared_flags.add_command(
        commands, "demo", demo,
        "Run a small dataset against the embedded model and show the results. Needs no API key and no network.",
        "evalkit demo",
    )  # fmt: skip
    shared_flags.add_out(parser, "FILE", "run file (default: runs/demo-TIME.evalkit)")
    shared_flags.add_json(parser)


def add_run(commands: Any) -> None:
    """Add ``evalkit run``."""
    parser = shared_flags.add_command(
        commands, "run", run,
        "Run a dataset against an endpoint. Every turn is timed, scored and stored in a run file. Several datasets "
        "make a run each.",
        "evalkit run data/primary_math.jsonl --limit 10 --max-tokens 64",
    )  # fmt: skip
    parser.add_argument("data", nargs="+", type=Path, metavar="DATA", help="dataset: .jsonl, .json or .csv")
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be sent, with tokens and cost estimated; send nothing"
    )
    shared_flags.add_endpoint(parser, several_runs.Each)
    shared_flags.add_sampling(parser)
    _add_run_settings(parser.add_argument_group("run"))
    _add_budgets(parser.add_argument_group("when to stop early ('evalkit resume' continues)"))
    shared_flags.add_gates(parser)
    shared_flags.add_json(parser)


def _add_run_settings(group: Any) -> None:
    shared_flags.add_out(
        group, "FILE", "run file (default: runs/DATA-MODEL-TIME.evalkit); of several runs a folder, or FILE-MODEL for "
        "each, FILE-DATA or FILE-DATA-MODEL",
    )  # fmt: skip
    shared_flags.add_questions(group)
    group.add_argument("--repeats", type=int, default=1, metavar="R", help="run each conversation R times (default: 1)")
    group.add_argument(
        "--concurrency", type=_slots, metavar="N|auto",
        help="conversations in parallel, or 'auto': as many as the endpoint answers without slowing down (default: 4)",
    )  # fmt: skip
    group.add_argument(
        "--rate", type=float, metavar="R", help="start R conversations per second, whether or not earlier ones ended"
    )
    shared_flags.add_arrivals(group, "seed of the model's sampling: repeat R sends N + R - 1; ")
    shared_flags.add_scorer(
        group, "scorer of turns that name none (default: by the type of the target); module:function for one of your "
        "own; repeat the flag to combine several into one score, with weights",
    )  # fmt: skip
    group.add_argument("--rpm", type=float, metavar="N", help="at most N requests per minute")
    group.add_argument("--tpm", type=float, metavar="N", help="at most N tokens per minute")
    group.add_argument(
        "--retries", type=int, default=2, metavar="N", help="attempts of a turn after the first (default: 2)"
    )
    _add_cluster(group)
    group.add_argument(
        "--checkup", type=Path, metavar="FILE",
        help="what 'evalkit check -o FILE.json' found about this endpoint and model: kept in the run file, with a "
        "warning for each request of the run that it found refused or ignored",
    )  # fmt: skip
    group.add_argument(
        "--no-check", action="store_true", help="send requests before the whole dataset has been read and checked"
    )


def _add_cluster(group: Any) -> None:
    group.add_argument(
        "--dask", metavar="CLUSTER",
        help="send the requests from the workers of a Dask cluster: the address of its scheduler, such as "
        "tcp://10.0.0.1:8786, or local:4 for four workers on this machine",
    )  # fmt: skip


def _check_cluster(parsed: argparse.Namespace) -> None:
    if parsed.dask is not None:
        from evalkit.cluster import dask_client

        dask_client.check(parsed.dask)


def _add_budgets(group: Any) -> None:
    group.add_argument(
        "--until", type=_half_width, metavar="ci=X",
        help="once the accuracy is known to ± X: ci=0.03 (95 %%, valid at every look, for conversations in random "
        "order)",
    )  # fmt: skip
    group.add_argument("--max-time", type=float, metavar="S", help="after S seconds")
    group.add_argument("--max-tokens-total", type=int, metavar="N", help="once N tokens, prompts and answers, are used")
    group.add_argument("--max-cost", type=float, metavar="C", help="once the cost, by the model's prices, reaches C")
    group.add_argument(
        "--prices", type=Path, metavar="FILE",
        help="price file (default: $EVALKIT_PRICES, or ~/.config/evalkit/prices.toml if it exists)",
    )  # fmt: skip


def _slots(text: str) -> int | str:
    try:
        return text if text == "auto" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor 'auto'") from None


def _half_width(text: str) -> float:
    name, _, value = text.partition("=")
    try:
        if name == "ci":
            return float(value)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r}: write it as ci=X, such as ci=0.03 for ± 3 points")


def add_resume(commands: Any) -> None:
    """Add ``evalkit resume``."""
    parser = shared_flags.add_command(
        commands, "resume", resume,
        "Continue a run. Sends the turns that are missing, failed or may be incomplete, and no others.",
        "evalkit resume runs/demo.evalkit",
    )  # fmt: skip
    shared_flags.add_run_file(parser)
    shared_flags.add_address(
        parser, "endpoint: that of the run; name it again, unless the environment does or it is on this machine and "
        "needs no key",
    )  # fmt: skip
    shared_flags.add_scorer(parser, "name it again if the run was started with a function of your own")
    _add_cluster(parser)
    again = parser.add_argument_group("answers that were cut off")
    again.add_argument(
        "--cut-off", action="store_true",
        help="send answers that were cut off at a token limit again, and later ones that saw them; needs --max-tokens. "
        "The old answers stay in the file as attempts, the new ones count",
    )  # fmt: skip
    again.add_argument(
        "--max-tokens", type=int, metavar="N",
        help="with --cut-off: at most N tokens per answer from now on",
    )  # fmt: skip
    shared_flags.add_gates(parser)
    shared_flags.add_json(parser)


def demo(parsed: argparse.Namespace) -> int:
    """Run ``evalkit demo``."""
    from evalkit.console.terminal import print_message
    from evalkit.endpoint import local_endpoint
    from evalkit.runfile import file_names

    print_message("using the embedded model SmolLM2-135M-Instruct, on this machine: no key, no network")
    params = {"temperature": 0, "max_tokens": DEMO_MAX_TOKENS}
    with local_endpoint(params=params) as endpoint:
        path = nullcontext(parsed.out) if parsed.out else file_names.unused_run_file("demo")
        return _evaluate(parsed, _demo_data(), endpoint, path, limit=DEMO_ROWS, concurrency=4)


def run(parsed: argparse.Namespace) -> int:
    """Run ``evalkit run``."""
    from evalkit.datasets import reader
    from evalkit.runfile import kept_checkup
    from evalkit.settings import Settings

    names = ("repeats", "concurrency", "rate", "arrivals", "rpm", "tpm", "retries")
    settings = {name: getattr(parsed, name) for name in names} | {"arrivals": shared_flags.arrivals(parsed)}
    settings["arrivals_seed" if parsed.arrivals == "poisson" else "seed"] = parsed.arrivals_seed
    settings |= {"max_time_s": parsed.max_time, "max_tokens_total": parsed.max_tokens_total, "until_ci": parsed.until}
    settings |= {"stream": not parsed.no_stream, "scorer": shared_flags.scorer(parsed.scorer)}
    settings |= shared_flags.questions(parsed)
    # errors that can be found now are reported before a model is started
    Settings(**settings)
    _check_cluster(parsed)
    for data in parsed.data:
        next(iter(reader.read(data, limit=1, columns=settings["columns"])), None)
    gate_flags.check(parsed, *parsed.data, parsed.out)
    lines = several_runs.command_lines(parsed)
    if parsed.checkup is not None:
        for line in lines:
            kept_checkup.take(parsed.checkup, shared_flags.named_endpoint(line))
    if parsed.dry_run:
        return several_runs.dry_run_each(lines, lambda line: _dry_run(line, settings), as_json=parsed.json)
    if len(lines) == 1:
        with shared_flags.endpoint(lines[0]) as endpoint:
            return _run(lines[0], endpoint, settings)
    return several_runs.run_each(parsed, lines, lambda line, endpoint: _run(line, endpoint, settings))


def _run(parsed: argparse.Namespace, endpoint: Endpoint, settings: dict[str, Any]) -> int:
    """Run one dataset against one endpoint."""
    from evalkit.runfile import file_names

    if parsed.max_cost is not None or parsed.prices is not None:
        settings = settings | _priced(parsed, endpoint.model)
    path = file_names.new_run_file(parsed.data, endpoint.model, out=parsed.out)
    return _evaluate(
        parsed, parsed.data, endpoint, path, check=not parsed.no_check, wait_ready=parsed.wait_ready,
        cluster=parsed.dask, checkup=parsed.checkup, **settings,
    )  # fmt: skip


def _priced(parsed: argparse.Namespace, model: str) -> dict[str, Any]:
    from evalkit.analysis.price_file import price_of

    return {"max_cost": parsed.max_cost, "price": price_of(model, parsed.prices)}


def _dry_run(parsed: argparse.Namespace, settings: dict[str, Any]) -> DryRun:
    """What one dataset would send to one endpoint; the embedded model is not started for it."""
    from evalkit.analysis import price_file
    from evalkit.datasets import dry_run
    from evalkit.settings import Settings

    asked = shared_flags.questions(parsed)
    asked |= {"scorer": Settings(**settings).default_scorer, "repeats": parsed.repeats}
    endpoint = shared_flags.named_endpoint(parsed)
    if endpoint is None:
        return dry_run.dry_run(parsed.data, params=shared_flags.params(parsed), **asked)
    if parsed.max_cost is not None or parsed.prices is not None:
        price = _priced(parsed, endpoint.model)["price"]
    else:
        price = price_file.price_if_known(endpoint.model)
    return dry_run.dry_run(
        parsed.data, model=endpoint.model, base_url=endpoint.base_url, params=endpoint.params, price=price, **asked
    )


def resume(parsed: argparse.Namespace) -> int:
    """Run ``evalkit resume``."""
    from evalkit.analysis.measures import snapshot
    from evalkit.console.progress_line import progress_line
    from evalkit.console.terminal import print_message
    from evalkit.evaluation import resume as resume_run
    from evalkit.runfile import trusted_endpoint

    _check_cluster(parsed)
    scorer, token_limit = shared_flags.scorer(parsed.scorer), _limit_for_cut_off(parsed)
    with snapshot(parsed.file):
        gate_flags.check(parsed, parsed.file)
    with (
        trusted_endpoint.opened(
            parsed.file,
            base_url=parsed.base_url,
            key_env=parsed.api_key_env,
            reached_by=shared_flags.reached_by(parsed),
        ) as endpoint,
        warn_if_scoring_is_incomplete(parsed.file),
        _resume_hint(parsed.file, parsed),
        progress_line() as watch,
    ):
        before = resume_hints.attempts(parsed.file)
        finished = resume_run(
            parsed.file, endpoint=endpoint, scorer=scorer, watch=watch, wait_ready=parsed.wait_ready,
            cut_off_max_tokens=token_limit, cluster=parsed.dask,
        )  # fmt: skip
    if resume_hints.attempts(finished.path) == before:
        print_message("nothing was missing or failed: no turn was sent again")
    return _print_finished(finished, parsed)


def _limit_for_cut_off(parsed: argparse.Namespace) -> int | None:
    from evalkit.console.terminal import print_message
    from evalkit.inputs.bounds import check_whole
    from evalkit.run import Run

    if not parsed.cut_off:
        if parsed.max_tokens is not None:
            raise SettingsError("--max-tokens needs --cut-off: a resumed run keeps its token limit for other answers")
        return None
    if parsed.max_tokens is None:
        raise SettingsError("--cut-off needs --max-tokens N: with the old limit, the answers would be cut off again")
    check_whole("--max-tokens", parsed.max_tokens, 1)
    if not Run(parsed.file).cut_off():
        print_message("no answer was cut off at a token limit: none is sent again for that")
    return int(parsed.max_tokens)


def _evaluate(
    parsed: argparse.Namespace, data: Path, endpoint: Endpoint, named: AbstractContextManager[Path], **settings: Any
) -> int:
    from evalkit.console.progress_line import progress_line
    from evalkit.evaluation import evaluate

    # when the file exists already, evaluate refuses it, and there is nothing of this run to resume
    with named as path, _resume_hint(path, parsed, is_new=not os.path.lexists(path)), progress_line() as watch:
        finished = evaluate(data, endpoint, out=path, watch=watch, **settings)
    return _print_finished(finished, parsed)


@contextmanager
def _resume_hint(path: Path, parsed: argparse.Namespace, *, is_new: bool = True) -> Iterator[None]:
    """Print the command that continues the run when it ends early."""
    from evalkit.console.terminal import print_message
    from evalkit.run import Run

    try:
        yield
    except KeyboardInterrupt as stop:
        if is_new and path.exists():
            stop.add_note(resume_hints.after_stop(path))
        raise
    except EndpointError as error:
        told = EndpointError(f"{error}{resume_hints.after_endpoint_error(path)}")
        if parsed.json:
            print_run(Run(path), parsed, {"error": str(told), "exit": told.exit_code})
        else:
            gate_flags.write_junit(parsed, Run(path))
        raise told from None
    except (EvalkitError, BrokenPipeError):
        raise
    except Exception:  # a bug in evalkit: main prints it
        if is_new and resume_hints.can_resume(path):
            print_message(f"The answers so far are in {path}; continue with: {resume_hints.command(path)}")
        raise


def _print_finished(finished: Run, parsed: argparse.Namespace) -> int:
    """Print a run that has just ended, and why it ended early if it did; return the exit code."""
    from evalkit.console.terminal import print_message

    result = print_run(finished, parsed)
    outcome = None if finished.outcome is None else SessionOutcome(finished.outcome)
    if outcome is not None and outcome.flag is not None:
        print_message(f"{outcome.flag} is used up.{resume_hints.after_budget(finished)}")
    if outcome is SessionOutcome.UNTIL_CI:
        print_message("--until is reached: nothing more is sent")
    return gate_flags.exit_code(parsed, result)


def _demo_data() -> Path:
    """The demo's dataset: inside the installed package, or in the working copy."""
    package = Path(__file__).parents[1]
    for path in (package / "primary_math.jsonl", package.parent / "data" / "primary_math.jsonl"):
        if path.exists():
            return path
    raise InputError("the demo's dataset is missing from this installation: reinstall chat-evalkit")
