"""The command that compares runs: ``compare``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli import gate_flags, shared_flags
from evalkit.errors import SettingsError

if TYPE_CHECKING:
    from evalkit.comparing.comparison import Comparison
    from evalkit.comparing.margin_expression import Margin
    from evalkit.comparing.verdicts import Verdict, Verdicts


def add_compare(commands: Any) -> None:
    """Add ``evalkit compare``."""
    parser = shared_flags.add_command(
        commands, "compare", compare,
        "Compare runs of one dataset turn by turn. Reports which run is better, by how much, and how sure that is. "
        "With margins: whether a run is better, no worse or worse than A, or that nobody can tell yet.",
        "evalkit compare runs/base.evalkit runs/new.evalkit --allow 'accuracy -2%' 'ttft_p95 +10%'",
    )  # fmt: skip
    parser.add_argument("first", type=Path, metavar="A.evalkit", help="run file that the others are compared with")
    parser.add_argument("others", type=Path, nargs="+", metavar="B.evalkit", help="run files to compare with A")
    parser.add_argument(
        "--common", action="store_true",
        help="when the datasets differ, compare only the conversations with the same id and content",
    )  # fmt: skip
    group = parser.add_argument_group("continuous integration")
    group.add_argument(
        "--allow", nargs="+", action="extend", type=_margin, default=[], metavar="MARGIN",
        help="how much worse than A a run may be: 'accuracy -2%%' (percentage points), 'ttft_p95 +10%%' (of A), "
        "'cost +5%%', 'accuracy[tag=sums] -5%%'",
    )  # fmt: skip
    shared_flags.add_gates_file(group, "also the margins of this file, under [compare]")
    group.add_argument(
        "--fail-on", choices=("worse", "not-shown"),
        help="exit with code 1 if a run is worse or a metric is missing (default), or also if a run is not shown to be "
        "better or no worse",
    )  # fmt: skip
    group.add_argument(
        "--junit", type=Path, metavar="OUT.xml",
        help="write a JUnit file with a test case per margin; replaces an earlier JUnit file of evalkit, no other file",
    )  # fmt: skip
    group.add_argument("--markdown", action="store_true", help="print Markdown for a pull request")
    shared_flags.add_json(parser)


def compare(parsed: argparse.Namespace) -> int:
    """Run ``evalkit compare``."""
    from evalkit.analysis.measures import snapshot
    from evalkit.comparing import comparison

    margins, fail_on = _limits(parsed)
    with snapshot(parsed.first, *parsed.others):
        gate_flags.check_junit(parsed, parsed.first, *parsed.others, parsed.gates)
        result = comparison.compare(parsed.first, *parsed.others, common=parsed.common)
        verdicts = result.verdicts(*margins) if margins else None
        _print(parsed, result, verdicts, fail_on)
        if verdicts is not None and parsed.junit is not None:
            _write_junit(parsed, result, verdicts, fail_on)
    return 1 if verdicts is not None and verdicts.failing(fail_on) else 0


def _limits(parsed: argparse.Namespace) -> tuple[Sequence[Margin], str]:
    """The margins of flags and gates file, and what fails a build."""
    margins, fail_on = list(parsed.allow), None
    if parsed.gates is not None:
        from evalkit.comparing.margin_expression import parse
        from evalkit.comparing.verdicts import FAIL_ON
        from evalkit.gates import gates_file

        read = gates_file.read(parsed.gates)
        margins, fail_on = [*margins, *read.parsed("allow", parse)], read.fail_on
        if fail_on is not None and fail_on not in FAIL_ON:
            raise SettingsError(f"{parsed.gates}: fail_on is {fail_on!r}: write 'worse' or 'not-shown'")
    if margins:
        from evalkit.comparing.verdicts import check_margins

        check_margins(margins)
    for flag, given in (("--fail-on", parsed.fail_on), ("--junit", parsed.junit)):
        if given and not margins:
            raise SettingsError(f"{flag} needs a verdict: add a margin, such as --allow 'accuracy -2%', or omit {flag}")
    if parsed.markdown and parsed.json:
        raise SettingsError("--markdown and --json both decide what is printed: omit one")
    return margins, parsed.fail_on or fail_on or "worse"


def _print(parsed: argparse.Namespace, result: Comparison, verdicts: Verdicts | None, fail_on: str) -> None:
    from evalkit.console.compare import show_comparison, show_verdicts
    from evalkit.console.terminal import print_json, printable, stdout_console

    if parsed.json:
        verdict = {} if verdicts is None else {"verdicts": {**verdicts.to_json(), "fail_on": fail_on}}
        print_json({**result.to_json(), **verdict})
    elif parsed.markdown:
        from evalkit.report.comparison_markdown import comparison_markdown

        markdown = printable(comparison_markdown(result, verdicts, fail_on))
        stdout_console().out(markdown.plain, end="", highlight=False)
    else:
        console = stdout_console()
        show_comparison(console, result)
        if verdicts is not None:
            show_verdicts(console, verdicts, fail_on)


def _write_junit(parsed: argparse.Namespace, result: Comparison, verdicts: Verdicts, fail_on: str) -> None:
    """A case for each margin of each run; an undecided one is skipped, unless it fails the build."""
    from evalkit.comparing.verdicts import CANNOT_TELL
    from evalkit.gates import junit

    def outcome(each: Verdict) -> str:
        if each.fails(fail_on):
            return "missing" if each.missing else "missed"
        return "undecided" if each.result == CANNOT_TELL else "met"

    runs = (result.contrasts[0].first, *(contrast.second for contrast in result.contrasts))
    limits = [
        junit.Limit(f"{each.second} and {each.first}", each.margin.text_of_tag,
                    outcome(each), each.words)
        for each in verdicts.verdicts
    ]  # fmt: skip
    properties = [
        *((run.label, str(run.path)) for run in runs),
        ("fail_on", fail_on),
        ("correction", verdicts.to_json()["correction"]),
        ("confidence", verdicts.confidence),
    ]
    junit.write_limits(parsed.junit, "comparison", limits, properties, [run.path for run in runs])


def _margin(text: str) -> Margin:
    from evalkit.comparing.margin_expression import parse

    if text.endswith(".evalkit"):
        raise argparse.ArgumentTypeError(f"{text!r} is a run file, not a margin: name the run files before --allow")
    try:
        return parse(text)
    except SettingsError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
