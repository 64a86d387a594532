"""The progress line, in a terminal and second by second."""

import os
import pty
import re
import subprocess
import sys

from evalkit.console.progress_line import CountsColumn
from evalkit.console.sparklines import BLOCKS
from evalkit.scripted.server import Arithmetic, Law, Script, serve


def test_progress_in_a_terminal_shows_done_errors_rate_accuracy_and_time_left(sums, tmp_path):
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


def test_the_progress_line_has_the_rate_of_each_second():
    counts = CountsColumn(BLOCKS)
    assert [counts.rates(now, done) for now, done in ((0.0, 0), (0.4, 3), (1.0, 4), (3.0, 4))] == [
        [], [], [4.0], [4.0, 0.0],
    ]  # fmt: skip
    for second in range(4, 100):
        rates = counts.rates(float(second), second)
    assert len(rates) == 20
