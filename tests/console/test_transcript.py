import io
import shutil
import subprocess
from pathlib import Path

import pytest
from rich.console import Console
from runfiles import S, T, write

from evalkit.analysis import tables
from evalkit.console.transcript import command, show_transcript
from evalkit.conversation import ToolCall

HOSTILE = [
    "$(touch owned)",
    "`x`",
    "a'b",
    "\x1b[2J",
    "-x",
    "new\nline",
    "\\",
    "é ü",
    "a'\x07'",
    "\u202ertl",
    "!!",
    "#",
    "*",
]


def shown(path, conversation, repeat=1):
    written = io.StringIO()
    console = Console(file=written, width=100, highlight=False, markup=False)
    show_transcript(console, tables.read_transcript(path, conversation, repeat))
    return written.getvalue()


def test_a_transcript_shows_texts_scores_and_times(tmp_path):
    call = ToolCall("add", '{"a": 1}', "call-1")
    turns = [
        T("a", 1, score=1.0, text="35", calls=(call,), reason="as wanted"),
        T("a", 2, error="timeout", ttft_ms=None, text="the beg"),
        T("a", 3, reason="cannot say"),
    ]
    path = write(tmp_path / "r.evalkit", [S(turns)])
    assert shown(path, "a").splitlines() == [
        "turn 1", "  user   a, question 1", "  answer 35", '  call   add({"a": 1})', "  target 35",
        "  score  1: as wanted", "  TTFT 50 ms, latency 400 ms",
        "turn 2", "  user   a, question 2", "  answer the beg", "  error  timeout: the timeout message", "  target 276",
        "turn 3", "  user   a, question 3", "  answer 35", "  target 311", "  score  none: cannot say",
        "  TTFT 50 ms, latency 400 ms",
    ]  # fmt: skip


def test_a_repeat_has_its_own_transcript(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, text="one"), T("a", 1, text="two", repeat=2)])])
    assert "answer two" in shown(path, "a", 2)


def test_an_answer_cannot_imitate_a_line_of_evalkit_or_drive_the_terminal(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, text="\x1b[2J1\nturn 2\r\n\n  score  1[/]")])])
    text = shown(path, "a")
    assert "\x1b" not in text
    assert text.splitlines()[2:6] == ["  answer \ufffd[2J1", "         turn 2\ufffd", "", "           score  1[/]"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("name", HOSTILE)
def test_the_shell_command_of_a_transcript_does_nothing_else(tmp_path, name):
    words = command(Path("-runs/a b.evalkit"), name, 2).removeprefix("evalkit show ")
    assert words.replace(" ", "").isprintable()
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {words}"], cwd=tmp_path, capture_output=True, check=True)
    given = done.stdout.decode().split("\0")[:-1]
    named = [f"--conversation={name}"] if name.startswith("-") else ["--conversation", name]
    assert given == ["./-runs/a b.evalkit", *named, "--repeat", "2"]
    assert list(tmp_path.iterdir()) == []
