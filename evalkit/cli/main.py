"""The command line: every command is one small function from parsed arguments to an exit code."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from evalkit import __version__
from evalkit.cli import ask, compare, gate_flags, judge, load, plan, plot, report, resume_errors, score, shared_flags
from evalkit.cli.parser import Parser
from evalkit.engine.stopping.outcome import Outcome
from evalkit.errors import EndpointError, EvalkitError, InputError, LocalError, WrongPlatform, check_platform
from evalkit.process.standard_streams import enduring

if TYPE_CHECKING:
    from types import FrameType

    from evalkit.endpoint import Endpoint
    from evalkit.local.server import LocalServer
    from evalkit.run import Run

DEMO_ROWS = 24
DEMO_MAX_TOKENS = 64


class Terminated(KeyboardInterrupt):
    """SIGTERM: like Ctrl-C, with an exit code of its own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    try:
        check_platform()
    except WrongPlatform as error:
        print(f"error: {error}", file=sys.stderr)  # the console is not there either
        return error.exit_code
    with enduring():
        return _main(arguments)


def _main(arguments: Sequence[str] | None) -> int:
    parsed = command_parser().understand(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGTERM, _terminate)
    # a shell starts background jobs with SIGINT ignored; one that is sent all the same is meant
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code: int = parsed.command(parsed)
        return code
    except EvalkitError as error:
        _say(f"error: {error}")
        return error.exit_code
    except Terminated:
        return 143
    except KeyboardInterrupt:
        return 130
    except Exception:
        if (unreadable := _unreadable(parsed)) is not None:
            _say(f"error: {unreadable}")
            return unreadable.exit_code
        _say(traceback.format_exc().rstrip())  # what it says may be a stranger's text
        _say("this is a fault in evalkit")
        return 70


def _unreadable(parsed: argparse.Namespace) -> EvalkitError | None:
    """What is wrong with a run file of the command, when a value of it could not be used far from where it was read."""
    from evalkit.runfile.reader import why_unreadable

    given = [value for named in vars(parsed).values() for value in (named if isinstance(named, list) else [named])]
    files = [path for path in given if isinstance(path, Path) and path.is_file()]
    return next((wrong for path in files if (wrong := why_unreadable(path)) is not None), None)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def _say(text: str) -> None:
    from evalkit.console.terminal import say

    say(text)


def command_parser() -> Parser:
    """The parser of all commands."""
    parser = Parser(
        prog="evalkit",
        description="Ask conversations of an OpenAI-compatible chat endpoint; score and time every answer.",
        epilog=shared_flags.EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"evalkit {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    parser.commands = commands.choices
    for add in (_add_demo, _add_serve, ask.add_ask, _add_run, _add_resume, _add_show, _add_export):
        add(commands)
    for add in (
        report.add_report,
        compare.add_compare,
        score.add_score,
        judge.add_judge,
        judge.add_judge_check,
        plan.add_plan,
        load.add_load,
        load.add_calibrate,
        plot.add_plot,
    ):
        add(commands)
    return parser


def _add_demo(commands: Any) -> None:
    parser = shared_flags.command(
        commands, "demo", demo, "Ask a small dataset of the embedded model and show the result.", "evalkit demo"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="run file (default: runs/demo-TIME.evalkit)")
    shared_flags.add_json(parser)


def _add_serve(commands: Any) -> None:
    parser = shared_flags.command(
        commands,
        "serve",
        serve,
        "Serve the embedded model on this machine until interrupted.",
        "evalkit serve --port 8080",
    )
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port on 127.0.0.1 (default: a free one)")
    parser.add_argument(
        "--key", metavar="KEY_VARIABLE", help="variable that holds the API key to ask for (default: a new random key)"
    )
    shared_flags.add_json(parser)


def _add_run(commands: Any) -> None:
    parser = shared_flags.command(
        commands, "run", run, "Ask a dataset of an endpoint, score and time every turn, keep all in a run file.",
        "evalkit run data/primary_math.jsonl --limit 10 --max-tokens 64",
    )  # fmt: skip
    parser.add_argument("data", type=Path, metavar="DATA", help="dataset: .jsonl, .json or .csv")
    shared_flags.add_endpoint(parser)
    shared_flags.add_sampling(parser)
    how = parser.add_argument_group("how it is asked")
    how.add_argument("--out", type=Path, metavar="FILE", help="run file (default: runs/DATA-MODEL-TIME.evalkit)")
    how.add_argument("--limit", type=int, metavar="N", help="only the first N conversations")
    how.add_argument("--repeats", type=int, default=1, metavar="R", help="ask each conversation R times (default: 1)")
    how.add_argument(
        "--history", choices=("own", "golden"), default="own",
        help="what later turns see: the model's own answers or the dataset's (default: own)",
    )  # fmt: skip
    how.add_argument(
        "--concurrency", type=_slots, metavar="N|auto",
        help="conversations at once, or 'auto': as many as the endpoint answers without slowing down (default: 4)",
    )  # fmt: skip
    how.add_argument("--rate", type=float, metavar="R", help="begin R conversations a second, whatever has ended")
    how.add_argument(
        "--arrivals", choices=("constant", "poisson"),
        help="with --rate: the gaps between them (default: constant)",
    )  # fmt: skip
    shared_flags.add_seed(how)
    shared_flags.add_scorer(
        how, "for turns that name none (default: by the type of the target); module:function for one of your own; "
        "several, each with its weight, make one score",
    )  # fmt: skip
    how.add_argument("--rpm", type=float, metavar="N", help="requests a minute, at most")
    how.add_argument("--tpm", type=float, metavar="N", help="tokens a minute, at most")
    how.add_argument("--retries", type=int, default=2, metavar="N", help="tries after the first (default: 2)")
    how.add_argument(
        "--column", action="append", default=[], metavar="FIELD=HEADING",
        help="for .csv: the column a field stands in: --column user=Question --column target=Answer",
    )  # fmt: skip
    how.add_argument("--no-check", action="store_true", help="begin before the whole dataset has been read")
    budget = parser.add_argument_group("when to stop asking ('evalkit resume' goes on)")
    budget.add_argument(
        "--until", type=_half_width, metavar="ci=X",
        help="once the accuracy is known to within X either way: ci=0.03 (95 %%, true whenever it is looked at, "
        "for conversations in random order)",
    )  # fmt: skip
    budget.add_argument("--max-time", type=float, metavar="S", help="after S seconds")
    budget.add_argument(
        "--max-tokens-total", type=int, metavar="N", help="once N tokens, prompts and answers, are used"
    )
    budget.add_argument("--max-cost", type=float, metavar="C", help="once the model's prices make it C")
    budget.add_argument(
        "--prices", type=Path, metavar="FILE",
        help="price file (default: $EVALKIT_PRICES or ~/.config/evalkit/prices.toml, where it is there)",
    )  # fmt: skip
    shared_flags.add_gates(parser)
    shared_flags.add_json(parser)


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
    raise argparse.ArgumentTypeError(f"{text!r}: write it as ci=X, such as ci=0.03 for 3 points to either side")


def _add_resume(commands: Any) -> None:
    parser = shared_flags.command(
        commands, "resume", resume, "Go on with a run: ask what is missing, failed or may be half, and nothing else.",
        "evalkit resume runs/demo.evalkit",
    )  # fmt: skip
    shared_flags.add_run_file(parser)
    shared_flags.add_address(
        parser, "endpoint: that of the run, named again unless the environment names it or it is on this machine, "
        "without a key",
    )  # fmt: skip
    shared_flags.add_scorer(parser, "again, if the run was begun with a function of your own")
    shared_flags.add_gates(parser)
    shared_flags.add_json(parser)


def _add_show(commands: Any) -> None:
    parser = shared_flags.command(
        commands, "show", show, "Show a run, finished or under way; hold it against gates.",
        "evalkit show runs/demo.evalkit --fail-under 'accuracy>=0.8' 'errors<=1%'",
    )  # fmt: skip
    shared_flags.add_run_file(parser)
    shared_flags.add_gates(parser)
    compare.add_conversation(parser)
    parser.add_argument(
        "--over-repeats", type=int, metavar="K",
        help="how often turns are right over K repeats, of those that the run has (default: all)",
    )  # fmt: skip
    shared_flags.add_json(parser)


def _add_export(commands: Any) -> None:
    parser = shared_flags.command(
        commands, "export", export, "Write a run's turns to a file, one row a turn.",
        "evalkit export runs/demo.evalkit --format csv -o demo.csv",
    )  # fmt: skip
    shared_flags.add_run_file(parser)
    parser.add_argument("--format", choices=("jsonl", "csv", "parquet"), required=True)
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", required=True, help="file to write")
    shared_flags.add_overwrite(parser)
    parser.add_argument(
        "--excel", action="store_true", help="CSV for a spreadsheet: text that begins a formula stays text"
    )
    shared_flags.add_json(parser)


def demo(parsed: argparse.Namespace) -> int:
    """``evalkit demo``."""
    from evalkit.endpoint import local_endpoint
    from evalkit.runfile import file_names

    _say("the embedded model answers: SmolLM2-135M-Instruct, on this machine, no key, no network")
    params = {"temperature": 0, "max_tokens": DEMO_MAX_TOKENS}
    with local_endpoint(params=params) as endpoint:
        path = nullcontext(parsed.out) if parsed.out else file_names.free("demo")
        return _evaluate(parsed, _demo_data(), endpoint, path, limit=DEMO_ROWS, concurrency=4)


def serve(parsed: argparse.Namespace) -> int:
    """``evalkit serve``."""
    from evalkit.local import server as local_server

    with local_server.serve(port=parsed.port, key_env=parsed.key) as server:
        if parsed.json:
            from evalkit.console.terminal import tell

            # whoever names a variable has the key; one that was made for this server alone is told
            key = None if parsed.key else os.environ[server.key_env]
            tell({"base_url": server.base_url, "model": server.model, "key_env": parsed.key, "api_key": key})
        else:
            _print_exports(server, f'"${parsed.key}"' if parsed.key else os.environ[server.key_env])
        code = server.wait()
    raise LocalError(f"the embedded endpoint has ended by itself, with exit code {code}")


def _print_exports(server: LocalServer, key: str) -> None:
    host = server.base_url.removesuffix("/v1")
    print(f"# {server.model} at {server.base_url}, until interrupted (Ctrl-C)")
    print(f"export SERVICE_HOST={host} TASKINGAI_API_KEY={key} ASSISTANT_ID={server.model}")
    print(f"export OPENAI_BASE_URL={server.base_url} OPENAI_API_KEY={key} OPENAI_MODEL={server.model}", flush=True)


def run(parsed: argparse.Namespace) -> int:
    """``evalkit run``."""
    from evalkit.datasets import reader
    from evalkit.runfile import file_names
    from evalkit.settings import Settings

    names = ("limit", "repeats", "history", "concurrency", "rate", "arrivals", "arrivals_seed", "rpm", "tpm", "retries")
    settings = {name: getattr(parsed, name) for name in names} | {"arrivals": shared_flags.arrivals(parsed)}
    settings |= {"max_time_s": parsed.max_time, "max_tokens_total": parsed.max_tokens_total, "until_ci": parsed.until}
    settings |= {"stream": not parsed.no_stream, "columns": shared_flags.columns(parsed.column)}
    settings["scorer"] = shared_flags.scorer(parsed.scorer)
    # what is wrong here is said before a model is started for it
    Settings(**settings)
    gate_flags.check(parsed, parsed.data, parsed.out)
    next(iter(reader.read(parsed.data, limit=1, columns=settings["columns"])), None)
    with shared_flags.endpoint(parsed) as endpoint:
        if parsed.max_cost is not None or parsed.prices is not None:
            from evalkit.analysis.price_file import price_of

            settings |= {"max_cost": parsed.max_cost, "price": price_of(endpoint.model, parsed.prices)}
        path = file_names.run_file(parsed.data, endpoint.model, out=parsed.out)
        return _evaluate(parsed, parsed.data, endpoint, path, check=not parsed.no_check, **settings)


def resume(parsed: argparse.Namespace) -> int:
    """``evalkit resume``."""
    from evalkit.console.terminal import watching
    from evalkit.evaluation import resume as resume_run
    from evalkit.evaluation import stored_endpoint

    scorer = shared_flags.scorer(parsed.scorer)
    gate_flags.check(parsed, parsed.file)
    with (
        stored_endpoint(parsed.file, base_url=parsed.base_url, key_env=parsed.api_key_env) as endpoint,
        score.telling_of_scores(parsed.file),
        _telling_how_to_resume(parsed.file, parsed),
        watching() as watch,
    ):
        finished = resume_run(parsed.file, endpoint=endpoint, scorer=scorer, watch=watch)
    return _result(finished, parsed)


def show(parsed: argparse.Namespace) -> int:
    """``evalkit show``."""
    if parsed.conversation is not None or parsed.repeat is not None:
        gate_flags.refuse_with_conversation(parsed)
        return compare.show_conversation(parsed)
    from evalkit.run import Run

    gate_flags.check(parsed, parsed.file)
    result = _print_result(Run(parsed.file), parsed)
    return gate_flags.exit_code(parsed, {**result, "errors": {}})


def export(parsed: argparse.Namespace) -> int:
    """``evalkit export``."""
    from evalkit.analysis import tables

    rows, formulas = tables.write_export(
        parsed.file, parsed.format, parsed.output, overwrite=parsed.overwrite, excel=parsed.excel
    )
    if parsed.json:
        from evalkit.console.terminal import tell

        tell({"file": str(parsed.output), "format": parsed.format, "rows": rows})
    else:
        _say(f"{rows} turns written to {parsed.output}")
    if formulas and not parsed.excel:
        cells = f"{formulas} cell{' begins' if formulas == 1 else 's begin'}"
        _say(f"{cells} like a formula, which a spreadsheet would compute: for a spreadsheet write it with --excel")
    return 0


def _evaluate(
    parsed: argparse.Namespace, data: Path, endpoint: Endpoint, named: AbstractContextManager[Path], **settings: Any
) -> int:
    from evalkit.console.terminal import watching
    from evalkit.evaluation import evaluate

    # of a file that is there already, the run that was meant to be made says what is wrong
    with named as path, _telling_how_to_resume(path, parsed, ours=not os.path.lexists(path)), watching() as watch:
        finished = evaluate(data, endpoint, out=path, watch=watch, **settings)
    return _result(finished, parsed)


@contextmanager
def _telling_how_to_resume(path: Path, parsed: argparse.Namespace, *, ours: bool = True) -> Iterator[None]:
    from evalkit.run import Run

    try:
        yield
    except KeyboardInterrupt:
        if ours and path.exists():
            _say(resume_errors.after_stop(path))
        raise
    except EndpointError as error:
        if parsed.json:
            _print_result(Run(path), parsed)
        else:
            gate_flags.write_junit(parsed, Run(path))
        raise EndpointError(f"{error}{resume_errors.after_endpoint_error(path)}") from None
    except (EvalkitError, BrokenPipeError):
        raise
    except Exception:  # a fault in evalkit, which is shown at the end
        if ours and resume_errors.can_resume(path):
            _say(f"What was answered is in {path}; go on with: {resume_errors.command(path)}")
        raise


def _result(finished: Run, parsed: argparse.Namespace) -> int:
    result = _print_result(finished, parsed)
    outcome = None if finished.outcome is None else Outcome(finished.outcome)
    if outcome is not None and outcome.flag is not None:
        _say(f"{outcome.flag} is used up.{resume_errors.after_budget(finished)}")
    if outcome is Outcome.UNTIL:
        _say("--until is reached: nothing more is asked")
    return gate_flags.exit_code(parsed, result)


def _print_result(finished: Run, parsed: argparse.Namespace) -> dict[str, Any]:
    from evalkit.analysis.measures import snapshot
    from evalkit.analysis.summary_json import summary_json
    from evalkit.console.summary import summary
    from evalkit.console.terminal import output, tell

    with snapshot(finished.path):  # it may be growing, and all that is shown of it is of one state
        measures = finished.measures(getattr(parsed, "over_repeats", None))
        gates = [gate.to_json() for gate in gate_flags.results(parsed, measures)]
        result = {**summary_json(measures), "gates": gates}
        if parsed.json:
            tell(result)
        else:
            summary(output(), finished, result)
        gate_flags.write_junit(parsed, finished, measures)
    gate_flags.warn(parsed, measures)
    return result


def _demo_data() -> Path:
    """The demo's dataset: inside the installed package, or in the working copy."""
    package = Path(__file__).parents[1]
    for path in (package / "primary_math.jsonl", package.parent / "data" / "primary_math.jsonl"):
        if path.exists():
            return path
    raise InputError("the demo's dataset is missing from this installation: install chat-evalkit again")
