"""The commands that read a run and change nothing: ``show``, also of one conversation, and ``export``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli import gate_flags, shared_flags
from evalkit.errors import SettingsError

if TYPE_CHECKING:
    from evalkit.exporting.exported import Exported
    from evalkit.run import Run

_OF_TOOLS = ("chat-finetuning", "inspect", "otlp-json")
_FORMATS = ("jsonl", "csv", "parquet", *_OF_TOOLS)


def add_show(commands: Any) -> None:
    """Add ``evalkit show``."""
    parser = shared_flags.add_command(
        commands, "show", show, "Show the results of a run, finished or in progress. Checks its gates, if any.",
        "evalkit show runs/demo.evalkit --fail-under 'accuracy>=0.8' 'errors<=1%'",
    )  # fmt: skip
    shared_flags.add_run_file(parser)
    shared_flags.add_gates(parser)
    parser.add_argument("--conversation", metavar="ID", help="print the transcript of this conversation instead")
    parser.add_argument("--repeat", type=int, metavar="R", help="with --conversation: which repeat (default: 1)")
    parser.add_argument(
        "--over-repeats", type=int, metavar="K",
        help="how often turns are right over K of the run's repeats (default: all of them)",
    )  # fmt: skip
    parser.add_argument(
        "--as", dest="tool", metavar="TOOL",
        choices=("aiperf", "evalscope", "genai-perf", "guidellm", "llmperf", "vllm"),
        help="the run's times by the definitions of another benchmark tool, each beside evalkit's: aiperf, evalscope, "
        "genai-perf, guidellm, llmperf or vllm",
    )  # fmt: skip
    shared_flags.add_json(parser)


def add_export(commands: Any) -> None:
    """Add ``evalkit export``."""
    parser = shared_flags.add_command(
        commands, "export", export, "Write a run to a file: its turns, one a row, or a format of another tool.",
        "evalkit export runs/demo.evalkit -o demo.csv",
    )  # fmt: skip
    shared_flags.add_run_file(parser)
    parser.add_argument(
        "--format", choices=_FORMATS, metavar="FORMAT",
        help=f"{', '.join(_FORMATS[:-1])} or {_FORMATS[-1]} (default: what the name of the file ends in: .jsonl, .csv, "
        ".parquet, or .eval for a log of inspect)",
    )  # fmt: skip
    shared_flags.add_out(parser, "OUT", "file to write", required=True, streamed=True)
    shared_flags.add_overwrite(parser)
    parser.add_argument(
        "--excel", action="store_true", help="CSV for a spreadsheet: text that begins like a formula stays text"
    )
    parser.add_argument(
        "--content", action="store_true", help="with otlp-json: write questions, answers and error messages too"
    )
    shared_flags.add_json(parser)


def show(parsed: argparse.Namespace) -> int:
    """Run ``evalkit show``."""
    if parsed.tool is not None:
        return _show_as(parsed)
    if parsed.conversation is not None or parsed.repeat is not None:
        gate_flags.refuse_with(parsed, "--conversation prints one conversation")
        return _show_conversation(parsed)
    from evalkit.analysis.measures import snapshot
    from evalkit.run import Run

    with snapshot(parsed.file):
        gate_flags.check(parsed, parsed.file)
        result = print_run(Run(parsed.file), parsed)
    return gate_flags.exit_code(parsed, {**result, "errors": {}})


def print_run(run: Run, parsed: argparse.Namespace, ended: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Print the results of a run and of its gates, write the JUnit file, and return the object of ``--json``.

    ``ended`` is added to the object: the error that ended the run, and the exit code.
    """
    from evalkit.analysis.measures import snapshot
    from evalkit.analysis.summary_json import summary_json
    from evalkit.console.summary import summary
    from evalkit.console.terminal import print_json, stdout_console

    with snapshot(run.path):  # the run may be growing: everything that is shown describes one state
        measures = run.measures(getattr(parsed, "over_repeats", None))
        gates = [gate.to_json() for gate in gate_flags.results(parsed, measures)]
        result = {**summary_json(measures), "gates": gates, **(ended or {})}
        finished = getattr(parsed, "finished", None)  # one run of several: its file is compared, its object collected
        if finished is not None:
            finished |= {"file": str(run.path), **(result if parsed.json else {})}
        elif parsed.json:
            print_json(result)
        if not parsed.json:
            summary(stdout_console(), run, result)
        gate_flags.write_junit(parsed, run, measures)
    gate_flags.warn_if_unfinished(parsed, measures)
    return result


def _show_as(parsed: argparse.Namespace) -> int:
    from evalkit.analysis import client_trust
    from evalkit.analysis.times import other_tools
    from evalkit.console import other_tools as console
    from evalkit.console.terminal import print_json, stdout_console
    from evalkit.runfile import reader

    if parsed.conversation is not None or parsed.repeat is not None or parsed.over_repeats is not None:
        raise SettingsError("--as shows the times of the whole run: leave out --conversation, --repeat, --over-repeats")
    gate_flags.refuse_with(parsed, "--as prints times by other definitions")
    with reader.reading(parsed.file) as connection:
        name, wall_s = connection.info["name"], client_trust.wall_s(connection)
        figures = other_tools.figures(connection, parsed.tool, wall_s)
    source = other_tools.TOOLS[parsed.tool].source
    if parsed.json:
        values = [figure.to_json() for figure in figures]
        print_json({"run": name, "tool": parsed.tool, "source": source, "figures": values})
    else:
        console.show_figures(stdout_console(), parsed.tool, source, figures)
    return 0


def _show_conversation(parsed: argparse.Namespace) -> int:
    from evalkit.analysis import tables
    from evalkit.console.terminal import print_json, stdout_console
    from evalkit.console.transcript import show_transcript

    if parsed.conversation is None:
        raise SettingsError("--repeat selects a repeat of one conversation: add --conversation ID")
    repeat = 1 if parsed.repeat is None else parsed.repeat
    transcript = tables.read_transcript(parsed.file, parsed.conversation, repeat)
    if parsed.json:
        turns = [tables.transcript_row(turn) for turn in transcript.turns]
        print_json({"file": str(parsed.file), "conversation": parsed.conversation, "repeat": repeat, "turns": turns})
    else:
        show_transcript(stdout_console(), transcript)
    return 0


def export(parsed: argparse.Namespace) -> int:
    """Run ``evalkit export``."""
    from evalkit.analysis import tables
    from evalkit.console.terminal import print_json, print_message
    from evalkit.runfile import exports

    shared_flags.refuse_two_outputs(parsed)
    form = parsed.format or ("inspect" if parsed.out.suffix == ".eval" else exports.format_of(parsed.out))
    if form in _OF_TOOLS:
        return _export_to_tool(parsed, form)
    if parsed.content:
        raise SettingsError(f"--content is for otlp-json, and the format is {form}: leave it out")
    rows, formulas = tables.write_export(parsed.file, form, parsed.out, overwrite=parsed.overwrite, excel=parsed.excel)
    if parsed.json:
        print_json({"file": str(parsed.out), "format": form, "rows": rows})
    elif parsed.out != shared_flags.STANDARD_OUTPUT:
        print_message(f"{rows} turns written to {parsed.out}")
    if formulas and not parsed.excel:
        cells = f"{formulas} cell{' begins' if formulas == 1 else 's begin'}"
        print_message(f"{cells} like a formula, which a spreadsheet would compute: add --excel to keep the text")
    return 0


def _export_to_tool(parsed: argparse.Namespace, form: str) -> int:
    from evalkit.exporting import formats

    if parsed.excel:
        raise SettingsError(f"--excel is for CSV files, and the format is {form}: leave it out, or choose csv")
    done = formats.export_run(parsed.file, form, parsed.out, overwrite=parsed.overwrite, content=parsed.content)
    print_exported(parsed, parsed.out, form, done)
    return 0


def print_exported(parsed: argparse.Namespace, path: Path, form: str, done: Exported) -> None:
    """Print how much was written in the format of another tool, and what was left out."""
    from evalkit.console.terminal import print_json, print_message

    left_out = {what: count for what, count in done.left_out.items() if count}
    if parsed.json:
        print_json({"file": str(path), "format": form, "rows": done.rows, "left_out": left_out})
        return
    kind = done.kind[:-1] if done.rows == 1 else done.kind
    if path != shared_flags.STANDARD_OUTPUT:
        print_message(f"{done.rows} {kind} written to {path}")
    for what, count in left_out.items():
        print_message(f"not in the file: {count} {what}")
