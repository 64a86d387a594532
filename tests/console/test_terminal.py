"""What the terminal shows of a run, also with text that tries to drive it."""

import io
import json
import os
import re
import sqlite3
import subprocess
import sys

import pytest
from rich.cells import cell_len
from rich.console import Console
from runfiles import S, T, create, talk, write

from evalkit.analysis.summary_json import summary_json
from evalkit.console.fitted_tables import FittingConsole
from evalkit.console.sparklines import BLOCKS
from evalkit.console.summary import summary
from evalkit.console.terminal import middle_shortened, one_line, printable
from evalkit.run import Run
from evalkit.wording.numbers import MISSING


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("\x1b[31mred", "\ufffd[31mred"),
        ("a\x07\x08b", "a\ufffd\ufffdb"),
        ("[bold]x[/]", "[bold]x[/]"),
        ("a\n\tb ä世", "a\n\tb ä世"),
    ],
)
def test_text_from_strangers_cannot_drive_the_terminal(given, shown):
    assert printable(given).plain == shown


def test_a_run_without_a_finished_turn_is_shown_with_everything_missing(tmp_path):
    path = tmp_path / "r.evalkit"
    settings = {"history": "own", "concurrency": 4, "repeats": 1}
    endpoint = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "params": {"temperature": 0}}
    create(path, settings=settings, endpoint=endpoint, dataset={"path": "sums.jsonl", "turns": 6}).close()
    written = io.StringIO()
    summary(Console(file=written, width=120), Run(path), summary_json(path))
    text = written.getvalue()
    assert text.startswith(
        "sums.jsonl against m (http://127.0.0.1:9/v1, temperature 0); own history, 4 in parallel, started "
    )
    assert "0 of 0" in text
    assert MISSING in text
    assert "6 turns have not been run yet: these are the results so far" in text
    assert "nan" not in text.lower()


def shown(path, sessions, conversations=()):
    write(path, sessions, conversations)
    with sqlite3.connect(path) as connection:
        endpoint = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "params": {}}
        connection.execute(
            "UPDATE run SET endpoint = ?, dataset = ?", (json.dumps(endpoint), '{"path": "sums.jsonl", "turns": null}')
        )
    connection.close()
    written = io.StringIO()
    summary(Console(file=written, width=160), Run(path), summary_json(path))
    return written.getvalue()


def test_schedule_latency_is_shown_in_open_loop_only(tmp_path):
    closed = shown(tmp_path / "closed.evalkit", [S([T("a", 1)])])
    assert "from schedule" not in closed
    text = shown(tmp_path / "open.evalkit", [S([T("a", 1, due_ms=-900.0), T("a", 2)])])
    assert "from schedule p50" in text
    rows = [line.split() for line in text.splitlines() if line.startswith(("1 ", "2 ", "all "))]
    assert [row[-2:] for row in rows[:3]] == [["1,300", MISSING], [MISSING, MISSING], ["1,300", MISSING]]


def test_the_sentences_on_trust_name_what_stands_out(tmp_path):
    quiet = {"loop_lag_p99_ms": 1.0, "reads": 100, "reads_with_several_events": 5}
    turns = [T(f"c{n}", 1, new_connection=n < 4) for n in range(10)]
    good = "the times are the endpoint's own: this client may have added up to 1 ms of 50 ms (TTFT)\n"
    assert good in shown(tmp_path / "quiet.evalkit", [S(turns, trust=quiet)])
    turns = [T(f"c{n}", 1, new_connection=True) for n in range(10)]
    loud = shown(tmp_path / "loud.evalkit", [S(turns, trust={**quiet, "reads_with_several_events": 6})])
    assert "6% of reads held several events" in " ".join(loud.split())
    assert "10 of 10 requests needed a new connection" in " ".join(loud.split())


def test_whole_conversations_have_a_line_when_there_is_more_than_one_turn(tmp_path):
    def told(name, turns, targets):
        return shown(tmp_path / name, [S(turns)], [talk(name, targets) for name in "abc"])

    turns = [T(name, n, score=float((name, n) != ("b", 1))) for name in "ab" for n in (1, 2)]
    text = told("all", [*turns, T("c", 1, error="server")], (35, 276))
    line = (
        r"\nconversations: all turns right 50.0% \(.+ to .+\), last turn right 100.0% \(.+\), of 2; 1 is incomplete\n"
    )
    assert re.search(line, text)
    text = told("half", [T("a", 1, score=1.0), T("a", 2, error="server")], (35, 276))
    assert "\nconversations: none is complete; 1 is incomplete\n" in text
    assert "conversations:" not in told("single", [turns[0], turns[2]], (35,))
    assert "conversations:" not in told("aimless", [T("a", 1), T("a", 2)], (None, None))


HOSTILE = [
    "\x1b[31mred\x1b]0;owned\x07",
    "[bold]x[/bold] [/]",
    "שלום עולם",
    "a\u202egnp.exe",
    "👩\u200d💻 世界 🎉",
    "line\nall  1/1\r\ttab",
    "x" * 1_000_000,
]


def hostile_run(path, text):
    turns = [T(text, 1, text=text, score=1.0), T(text, 2, error="server", text=text), T("b", 1, text=text)]
    write(path, [S(turns)], [talk(text, tags=(text, "plain")), talk("b")])
    with sqlite3.connect(path) as connection:
        endpoint = {"model": text, "base_url": "http://127.0.0.1:9/v1", "params": {"stop": text}}
        connection.execute(
            "UPDATE run SET endpoint = ?, dataset = ?", (json.dumps(endpoint), '{"path": "sums.jsonl", "turns": null}')
        )
        connection.execute("UPDATE turn SET error_kind = ?, error_message = ? WHERE error_kind NOT NULL", (text, text))
    connection.close()
    return path


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("width", [60, 80, 120])
def test_hostile_text_stays_text_in_show_and_its_columns_stay_aligned(tmp_path, text, width):
    path = hostile_run(tmp_path / "r.evalkit", text)
    written = io.StringIO()
    summary(FittingConsole(file=written, width=width, markup=False), Run(path), summary_json(path), BLOCKS)
    lines = written.getvalue().splitlines()
    assert all(character.isprintable() or character == "\n" for character in written.getvalue())
    assert all(len(line) < 800 for line in lines)
    assert "traceback" not in written.getvalue().lower()
    assert sum(line.startswith("all  ") for line in lines) == 1
    bars = [line for line in lines if line.startswith(("turn 1", "all turns", "tag ")) and "%" in line]
    assert len({cell_len(line[: line.index("%")]) for line in bars}) == 1
    assert any(line.startswith("tag ") for line in bars)


@pytest.mark.parametrize(
    ("text", "cells", "line"),
    [
        ("a\nb\t c", 10, "a b c"),
        ("世界世界", 8, "世界世界"),
        ("世界世界世", 8, "世界世…"),
        ("\x1b[2J", 10, "\ufffd[2J"),
        ("[b]x[/b]", 10, "[b]x[/b]"),
        ("", 5, ""),
    ],
)
def test_a_line_is_cut_by_cells_and_never_broken(text, cells, line):
    assert one_line(text, cells).plain == line
    assert cell_len(line) <= cells


def test_the_sizes_a_run_can_have(tmp_path):
    def told(name, turns, talks=()):
        return shown(tmp_path / name, [S(turns)], talks)

    one = told("one", [T("a", 1, score=1.0)])
    assert "over time" not in one
    assert "spread" not in one
    failed = told("failed", [T("a", n, error="server") for n in (1, 2, 3)])
    assert "errors over time" in failed
    assert "0 of 3" in failed
    assert "nan" not in failed.lower()
    many = told(
        "many",
        [T(f"c{n}", 1, score=1.0) for n in range(200)],
        [talk(f"c{n}", (1,), tags=(f"t{n:03}",)) for n in range(200)],
    )
    assert len([line for line in many.splitlines() if line.startswith("tag t")]) == 8
    assert "left out: 192 tags with fewer turns" in many
    untimed = told("untimed", [T("a", 1, ttft_ms=None, latency_ms=None), T("b", 1, tokens=2)])
    assert "missing in answered turns: TTFT of 1, latency of 1, output tokens of 1" in untimed


def test_a_pipe_gets_the_same_plain_bytes_whatever_the_terminal(tmp_path):
    turns = [T(f"c{n}", 1, sent_ms=float(n * 20), latency_ms=100.0 + n, score=float(n % 2)) for n in range(30)]
    write(path := tmp_path / "s.evalkit", [S(turns, end_ms=2000.0)])
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE run SET endpoint = ?, dataset = ?",
            ('{"model": "m", "base_url": "u", "params": {}}', '{"path": "ä.jsonl", "turns": null}'),
        )
    connection.close()

    def piped(**variables):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
        command = [sys.executable, "-m", "evalkit.cli", "show", path]
        return subprocess.run(command, capture_output=True, check=True, env={**environment, **variables}).stdout

    first = piped(LANG="C.UTF-8", COLUMNS="60", FORCE_COLOR="1")
    assert first == piped(LANG="C.UTF-8", TERM="dumb", NO_COLOR="1")
    assert b"\x1b" not in first
    assert "█" in first.decode()
    assert "█" not in piped(LANG="C").decode()
    narrow = piped(LANG="C", PYTHONIOENCODING="ascii")
    assert narrow.isascii()
    assert b"\\xe4.jsonl against m" in narrow


@pytest.mark.parametrize(
    "text", ["short", "a-long-name-with-an-ending", "世" * 30, "a\x1b[2J" + "b" * 40, "x" * 10_000, "é" * 25]
)
def test_a_name_is_shortened_in_the_middle_to_its_cells(text):
    for cells in range(2, 30):
        shown = middle_shortened(text, cells).plain
        assert cell_len(shown) <= cells
        assert "\x1b" not in shown
        if len(text) < 1_000 and cell_len(text) > cells > 6:
            assert "…" in shown
            assert shown.endswith(text[-1])
            assert shown.startswith(text[0])
    assert middle_shortened("a-long-name-with-an-ending", 11).plain == "a-lon…nding"
