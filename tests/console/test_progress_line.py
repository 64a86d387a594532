"""The progress of a session, in a terminal, in a pipe and second by second."""

import os
import pty
import re
import subprocess
import sys

import pytest
from commands import flags
from rich.cells import cell_len

from evalkit.console import progress_line
from evalkit.console.progress_line import CountsColumn, PrintedLines, fitting, parts
from evalkit.console.sparklines import BLOCKS
from evalkit.engine.saving.progress import Progress
from evalkit.scripted.server import Arithmetic, Law, Script, serve


def in_a_terminal(*arguments, columns):
    """What a command draws on standard error in a terminal: the frames, without control sequences."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "evalkit.cli", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as child:
        os.close(theirs)
        shown = b""
        while True:
            try:
                read = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not read:
                break
            shown += read
        os.close(ours)
        child.stdout.read()
        assert child.wait(timeout=30) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    return [frame.rstrip() for frame in re.split(r"[\r\n]+", text)]


@pytest.mark.parametrize(("columns", "line"), [
    (140, r"[━╸╺ ]{12} \d+/40 turns · 0 errors · [\d.]+/s · accuracy so far 100% · [\d.]+ s left( · [▁-█]+)?"),
    (60, r"[━╸╺ ]{12} \d+/40 turns · 0 errors · [\d.]+/s · [\d.]+ s left"),
])  # fmt: skip
def test_a_terminal_shows_a_bar_the_counts_that_fit_rate_and_time_left(sums, tmp_path, columns, line):
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=60))) as server:
        frames = in_a_terminal(
            "run", sums(40, 1), *flags(server), "--out", tmp_path / "r.evalkit", "--concurrency", 1, columns=columns
        )
    drawn = [frame for frame in frames if "turns" in frame]
    assert [frame for frame in drawn if re.fullmatch(line, frame)], drawn
    assert max(map(cell_len, frames)) <= columns


def test_the_dashboard_of_a_cluster_is_printed_once(capsys):
    lines = PrintedLines(clock=lambda: 0.0)
    for _ in range(3):
        lines(Progress(total=9, dashboard="http://127.0.0.1:8787/status"))
    lines(Progress(total=9))
    assert capsys.readouterr().err == "Dask dashboard: http://127.0.0.1:8787/status\n"


def test_a_terminal_shows_the_dashboard_above_the_line(sums, tmp_path):
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=60))) as server:
        frames = in_a_terminal(
            "run", sums(20, 1), *flags(server), "--out", tmp_path / "r.evalkit", "--dask", "local:1", columns=100
        )
    assert (
        len([frame for frame in frames if re.fullmatch(r"Dask dashboard: http://127\.0\.0\.1:\d+/status", frame)]) == 1
    )


def test_in_a_pipe_a_line_is_printed_every_ten_seconds(capsys):
    now = iter([0.0, 0.1, 9.9, 10.0, 10.1, 19.9, 20.0])
    lines = PrintedLines(clock=lambda: next(now))
    counts = Progress(total=1_000, answered=40, errors=1, right=30.0, scored=40)
    for _ in range(6):
        lines(counts)
    out, err = capsys.readouterr()
    assert out == ""
    assert [re.sub(r"[\d.,]+/s|· [\d.]+ s left", "…", line) for line in err.splitlines()] == [
        "41/1,000 turns · 1 error · … · accuracy so far 75% …"
    ] * 2


def test_a_run_in_a_pipe_prints_such_lines(sums, tmp_path, monkeypatch, capsys):
    from evalkit.cli.main import main

    monkeypatch.setattr(progress_line, "EVERY_S", 0.3)
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=100))) as server:
        given = ["run", sums(10, 1), *flags(server), "--out", tmp_path / "r.evalkit", "--concurrency", 1]
        assert main(list(map(str, given))) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(re.match(r"\d+/10 turns · 0 errors · ", line) for line in lines)


@pytest.mark.parametrize(("cells", "text"), [
    (100, "12/40 turns · 2 errors · 3.0/s · accuracy so far 80% · 9 s left"),
    (50, "12/40 turns · 2 errors · 3.0/s · 9 s left"),
    (40, "12/40 turns · 2 errors · 9 s left"),
    (25, "12/40 turns · 2 errors"),
    (5, "12/40 turns"),
])  # fmt: skip
def test_what_matters_least_is_left_out_first(cells, text):
    shown = [("12/40 turns", 0), ("2 errors", 1), ("3.0/s", 2), ("accuracy so far 80%", 3), ("9 s left", 1)]
    assert " · ".join(fitting(shown, cells)) == text


def test_a_run_that_is_stopping_says_so_instead_of_the_time_left():
    texts = [text for text, _ in parts(Progress(answered=3, stopping=True), "replies")]
    assert texts[0] == "3/? replies"
    assert texts[-1] == "stopping: waiting for answers in flight"


def test_the_progress_line_has_the_rate_of_each_second():
    counts = CountsColumn(BLOCKS)
    assert [counts.rates(now, done) for now, done in ((0.0, 0), (0.4, 3), (1.0, 4), (3.0, 4))] == [
        [], [], [4.0], [4.0, 0.0],
    ]  # fmt: skip
    for second in range(4, 100):
        rates = counts.rates(float(second), second)
    assert len(rates) == 20
    assert counts.rates(100.0, 0) == []  # the next session begins
