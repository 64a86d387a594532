"""The output of ``evalkit check`` in terminals of any width."""

import io

import pytest
from rich.console import Console

from evalkit.checkup.checkup import Checkup, Finding
from evalkit.console.check import show_checkup, show_two

VERDICTS = ("conforms", "differs", "unsupported", "ignored", "not_judged", "failed")


def checkup(*verdicts):
    findings = tuple(
        Finding(f"probe_{i}", "answers", "asks", "Why it matters.", verdict, f"came {i} \x1b[31m[red]" + " word" * 30)
        for i, verdict in enumerate(verdicts)
    )
    return Checkup("http://h/v1", "m\x1b]0;t\x07", "2026-12-01T00:00:00+00:00", 2.0, 9, findings, {})


def printed(show, *checks, width=120):
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False)
    show(console, *checks)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_nothing_is_wider_than_the_terminal_and_nothing_drives_it(width):
    text = printed(show_checkup, checkup(*VERDICTS), width=width)
    rows = [line for line in text.splitlines() if "probes:" not in line]
    assert max(map(len, rows)) <= width
    assert "\x1b" not in text
    assert text.count("[red]") == len(VERDICTS)


def test_why_it_matters_is_shown_where_a_probe_does_not_conform():
    assert printed(show_checkup, checkup(*VERDICTS)).count("Why it matters.") == 4


def test_counts_leave_out_verdicts_that_none_has():
    assert "3 probes: 2 conform, 1 ignored silently\n" in printed(
        show_checkup, checkup("conforms", "conforms", "ignored")
    )


def test_only_verdicts_that_are_not_the_same_are_explained():
    text = printed(show_two, checkup("conforms", "ignored"), checkup("conforms", "conforms"))
    assert text.count("Why it matters.") == 1
    assert text.rstrip().endswith("1 verdict of 2 not the same")
