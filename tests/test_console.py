import io
import json
import os
import pty
import re
import sqlite3
import subprocess
import sys

import pytest
from rich.console import Console
from runfiles import S, T, talk, write
from test_store import create

from evalkit.console import printable
from evalkit.console_summary import summary
from evalkit.run import Run
from evalkit.scripted import Arithmetic, Law, Script, serve
from evalkit.tables import summary_json
from evalkit.words import MISSING


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
        "sums.jsonl asked of m (http://127.0.0.1:9/v1, temperature 0); own history, 4 at once, begun "
    )
    assert "0/0" in text
    assert MISSING in text
    assert "trust: not measured" in text
    assert "6 of 6 turns are still to be asked" in text
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


def test_the_trust_line_tells_what_stands_out(tmp_path):
    quiet = {"loop_lag_p99_ms": 1.0, "reads": 100, "reads_with_several_events": 5}
    turns = [T(f"c{n}", 1, new_connection=n < 4) for n in range(10)]
    assert "trust: good, event-loop lag p99 1 ms\n" in shown(tmp_path / "quiet.evalkit", [S(turns, trust=quiet)])
    turns = [T(f"c{n}", 1, new_connection=True) for n in range(10)]
    loud = shown(tmp_path / "loud.evalkit", [S(turns, trust={**quiet, "reads_with_several_events": 6})])
    assert "6% of reads held several events" in " ".join(loud.split())
    assert "10 of 10 requests needed a new connection" in " ".join(loud.split())


def test_progress_in_a_terminal_tells_done_errors_rate_accuracy_and_time_left(sums, tmp_path):
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=60))) as server:
        command = [
            sys.executable, "-m", "evalkit.cli", "run", sums(40, 1), "--base-url", server.base_url,
            "--model", "scripted", "--out", tmp_path / "r.evalkit", "--concurrency", "1",
        ]  # fmt: skip
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "COLUMNS": "140", "TERM": "xterm"}
        ) as child:
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
    assert re.search(r"\d+/40 turns · 0 errors · [\d.]+/s · accuracy so far 100% · .*s left", text)


def test_whole_conversations_have_a_line_when_there_is_more_than_one_turn(tmp_path):
    def told(name, turns, targets):
        return shown(tmp_path / name, [S(turns)], [talk(name, targets) for name in "abc"])

    turns = [T(name, n, score=float((name, n) != ("b", 1))) for name in "ab" for n in (1, 2)]
    text = told("all", [*turns, T("c", 1, error="server")], (35, 276))
    line = (
        r"\nconversations: all turns right 50.0% \(.+ to .+\), last turn right 100.0% \(.+\), of 2; 1 are incomplete\n"
    )
    assert re.search(line, text)
    text = told("half", [T("a", 1, score=1.0), T("a", 2, error="server")], (35, 276))
    assert "\nconversations: none is complete; 1 are incomplete\n" in text
    assert "conversations:" not in told("single", [turns[0], turns[2]], (35,))
    assert "conversations:" not in told("aimless", [T("a", 1), T("a", 2)], (None, None))
