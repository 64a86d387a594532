"""The command ``evalkit``: the list of its commands, and the exit code of each way a command can end."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from evalkit import __version__
from evalkit.cli import (
    ask,
    check,
    compare,
    completion,
    curl,
    data,
    find,
    history,
    import_answers,
    judge,
    list_runs,
    load,
    plan,
    plot,
    report,
    run,
    score,
    serve,
    shared_flags,
    show,
    view,
)
from evalkit.cli.parser import WRONG_USAGE, HelpFormatter, Parser, WrongUsage
from evalkit.errors import CheckupWarning, EvalkitError, SettingsError, WrongPlatform, check_platform
from evalkit.process.interrupts import outside_of_extensions
from evalkit.process.standard_streams import tolerate_closed_readers

if TYPE_CHECKING:
    from types import FrameType


_BUG = "this is a bug in evalkit"


class Terminated(KeyboardInterrupt):
    """SIGTERM: like Ctrl-C, with an exit code of its own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    try:
        check_platform()
    except WrongPlatform as error:
        print(f"error: {error}", file=sys.stderr)  # the console does not import on such a platform
        return error.exit_code
    with tolerate_closed_readers():
        return _main(arguments)


def _main(arguments: Sequence[str] | None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        parsed = command_parser().parse_command_line(arguments)
    except WrongUsage as error:
        if "--json" in arguments:
            from evalkit.console.terminal import begin_json, print_json_error

            begin_json()
            print_json_error(error.message, WRONG_USAGE)
        raise
    from evalkit.console.terminal import begin_json, print_message

    signal.signal(signal.SIGTERM, outside_of_extensions(_terminate))
    # a shell starts background jobs with SIGINT ignored; one that is sent to them anyway is meant
    signal.signal(signal.SIGINT, outside_of_extensions(signal.default_int_handler))
    begin_json()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _printer_of_warnings(warnings.showwarning)
            code: int = parsed.command(parsed)
            return code
    except EvalkitError as error:
        return _failed(parsed, error)
    except KeyboardInterrupt as stop:
        words = "\n".join(getattr(stop, "__notes__", ["stopped"]))
        print_message(words)
        return _ended(parsed, words, 143 if isinstance(stop, Terminated) else 130)
    except Exception as error:
        if (unreadable := _unreadable(parsed, error)) is not None:
            return _failed(parsed, unreadable)
        print_message(traceback.format_exc().rstrip())  # may quote text from a stranger
        print_message(_BUG)
        return _ended(parsed, f"{_BUG}: {type(error).__name__}: {error}", 70)


def _failed(parsed: argparse.Namespace, error: EvalkitError) -> int:
    from evalkit.console.terminal import print_message

    print_message(f"error: {error}")
    return _ended(parsed, str(error), error.exit_code)


def _ended(parsed: argparse.Namespace, words: str, code: int) -> int:
    """The exit code of a command that ended early; with ``--json`` its object says why."""
    if parsed.json:
        from evalkit.console.terminal import print_json_error

        print_json_error(words, code)
    return code


def _printer_of_warnings(otherwise: Callable[..., None]) -> Callable[..., None]:
    """What prints a warning that is meant for users: its text alone, once. Other warnings are shown as they are."""
    from evalkit.console.terminal import print_message

    printed: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
        if category not in (UserWarning, CheckupWarning):
            otherwise(message, category, *place)
        elif str(message) not in printed:
            printed.add(str(message))
            print_message(f"warning: {message}")

    return show


def _unreadable(parsed: argparse.Namespace, error: Exception) -> EvalkitError | None:
    """What is wrong with a file or folder among the arguments that may have caused an unexpected exception."""
    from evalkit.runfile.reader import why_unreadable

    values = [value for argument in vars(parsed).values() for value in _as_list(argument)]
    paths = [value.absolute() for value in values if isinstance(value, Path)]
    if isinstance(error, OSError) and isinstance(error.filename, str):
        place = Path(error.filename).absolute()
        if any(path in (place, *place.parents) or place in path.parents for path in paths):
            return SettingsError(f"{place} cannot be used: {error.strerror}. Change its rights or name another")
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):  # raised by Path.resolve
        return SettingsError(f"{error}: name a file or folder that is not a link to itself")
    # unlike the method of Path, it raises nothing where a folder may not be entered
    files = [path for path in paths if os.path.isfile(path)]  # noqa: PTH113
    return next((wrong for path in files if (wrong := why_unreadable(path)) is not None), None)


def _as_list(argument: object) -> list[object]:
    return argument if isinstance(argument, list) else [argument]


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def command_parser() -> Parser:
    """The parser of all commands."""
    parser = Parser(
        prog="evalkit",
        description="Run conversations against an OpenAI-compatible chat endpoint; score and time every answer.",
        epilog=shared_flags.EXIT_CODES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"evalkit {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    parser.commands = commands.choices
    for add in (
        run.add_demo,
        serve.add_serve,
        ask.add_ask,
        data.add_data,
        run.add_run,
        run.add_resume,
        show.add_show,
        list_runs.add_list,
        history.add_history,
        view.add_view,
        curl.add_curl,
        curl.add_replay,
        show.add_export,
        import_answers.add_import,
        report.add_report,
        compare.add_compare,
        score.add_score,
        judge.add_judge,
        judge.add_judge_check,
        plan.add_plan,
        load.add_load,
        load.add_calibrate,
        check.add_check,
        find.add_find,
        plot.add_plot,
    ):
        add(commands)
    completion.add_completion(commands, parser)
    return parser
