"""The output of ``evalkit check`` and ``evalkit find``."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress
from rich.table import Table
from rich.text import Text

from evalkit.checkup.checkup import Checkup, Finding
from evalkit.checkup.endpoint_check import Watch
from evalkit.checkup.local_servers import LocalServer
from evalkit.console.terminal import one_line, plain_table, printable
from evalkit.wording.numbers import counted, number
from evalkit.wording.probe_verdicts import IN_WORDS, counts_in_words

_STYLES = {"conforms": "green", "differs": "yellow", "unsupported": "cyan", "ignored": "red", "failed": "red"}
_NAME, _VERDICT = 23, 18  # cells
_LEAST = 40  # cells for what came, beside the verdict
_CAME = 400  # cells of what came
_QUIET = ("conforms", "not_judged")  # their reasons to matter are not shown


@contextmanager
def calls_line() -> Iterator[Watch | None]:
    """What shows on standard error how many calls of a check are done; None where that is not a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield None
        return
    with Progress(BarColumn(bar_width=20), MofNCompleteColumn(), "calls", console=console, transient=True) as display:
        task = display.add_task("", total=None)
        yield lambda done, total: display.update(task, total=total, completed=done)


def show_checkup(console: Console, checkup: Checkup) -> None:
    """Print the verdict of each probe, what came, and why it matters where it does not conform."""
    console.print(printable(_title(checkup)), soft_wrap=True)
    for subject, findings in groupby(checkup.findings, key=lambda finding: finding.subject):
        console.print(Text(f"\n{subject}", style="bold"))
        for finding in findings:
            _show_finding(console, finding)
    console.print()
    show_counts(console, checkup)


def show_counts(console: Console, checkup: Checkup) -> None:
    """Print how many probes have each verdict, and what the check cost."""
    console.print(f"{counts_in_words(checkup.counts)}", soft_wrap=True)
    tokens = "no tokens counted" if checkup.tokens is None else counted(checkup.tokens, "token")
    console.print(f"{counted(checkup.calls_made, 'call')}, {tokens}, {number(checkup.seconds)} s", soft_wrap=True)


def table_of(checkup: Checkup) -> Table:
    """The verdict of each probe, and what came."""
    table = plain_table("subject", "probe", "verdict", "what came")
    for finding in checkup.findings:
        verdict = Text(IN_WORDS[finding.verdict], style=_STYLES.get(finding.verdict, ""))
        table.add_row(finding.subject, finding.name, verdict, one_line(finding.came, _CAME))
    return table


def _title(checkup: Checkup) -> str:
    return f"{checkup.model} at {checkup.base_url}"


def _show_finding(console: Console, finding: Finding) -> None:
    start = Text(f"{finding.name:{_NAME}} ")
    start.append(f"{IN_WORDS[finding.verdict]:{_VERDICT}}", style=_STYLES.get(finding.verdict, "dim"))
    beside = console.width - _NAME - _VERDICT - 1 >= _LEAST
    indent = _NAME + _VERDICT + 1 if beside else 2
    lines = [(line, "") for line in _wrapped(finding.came, console.width - indent)]
    if finding.verdict not in _QUIET:
        lines += [(line, "dim") for line in _wrapped(finding.why, console.width - indent)]
    if beside and lines:
        start.append(lines.pop(0)[0])
    console.print(start)
    for line, style in lines:
        console.print(Text(" " * indent + line, style=style))


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(one_line(text, _CAME).plain, max(width, 20))


def show_two(console: Console, one: Checkup, other: Checkup) -> None:
    """Print two endpoints side by side, and what came from each where the verdicts are not the same."""
    for name, checkup in (("A", one), ("B", other)):
        console.print(printable(f"{name}: {_title(checkup)}"), soft_wrap=True)
    table = plain_table("probe", "A", "B")
    differing = []
    for finding in one.findings:
        second = other[finding.name]
        same = finding.verdict == second.verdict
        style = "" if same else "yellow"
        table.add_row(Text(finding.name, style=style), *(IN_WORDS[each.verdict] for each in (finding, second)))
        differing += [] if same else [(finding, second)]
    console.print(table)
    for finding, second in differing:
        console.print(Text(f"\n{finding.name}: {finding.why}", style="bold"), soft_wrap=True)
        console.print(Text("A: ") + one_line(finding.came, _CAME), soft_wrap=True)
        console.print(Text("B: ") + one_line(second.came, _CAME), soft_wrap=True)
    console.print(f"\n{counted(len(differing), 'verdict')} of {len(one.findings)} not the same", soft_wrap=True)


def show_servers(console: Console, servers: Sequence[LocalServer]) -> None:
    """Print each server that was found, and the line that makes it the endpoint of later commands."""
    if not servers:
        console.print("no OpenAI-compatible server listens on the usual ports of this machine", soft_wrap=True)
    for server in servers:
        console.print(printable(f"{server.base_url}  {_about(server)}"), soft_wrap=True)
        for model in server.models:
            values = f"OPENAI_BASE_URL={server.base_url} OPENAI_MODEL={shlex.quote(model)} OPENAI_API_KEY=none"
            console.print(printable(f"  export {values}"), soft_wrap=True)


def _about(server: LocalServer) -> str:
    if server.needs_key:
        return f"the usual port of {server.usual}; it wants an API key: --api-key-env NAME"
    return f"the usual port of {server.usual}; {counted(len(server.models), 'model')}"
