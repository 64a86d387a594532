"""``evalkit score`` from the command line, and a run that is resumed afterwards."""

import json
import signal
import sqlite3
from contextlib import closing
from io import StringIO

import pytest
from rich.console import Console
from runfiles import S, T, write

from evalkit import __version__
from evalkit.cli.main import main
from evalkit.console.score import show_rescored
from evalkit.run import Run
from evalkit.runfile import lock_and_flush
from evalkit.scripted.server import Arithmetic, Script, serve

NOTHING_SENT = "nothing was missing or failed: no turn was sent again\n"


@pytest.fixture(autouse=True)
def no_handlers(monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *handler: None)  # pytest keeps its own handlers


@pytest.fixture
def command(capsys):
    """Run a command in this process, which must end with 0; return the text on each stream."""

    def run(*arguments):
        assert main([str(argument) for argument in arguments]) == 0
        return capsys.readouterr()

    return run


def test_a_run_is_scored_again_listed_undone_and_resumed(command, sums, tmp_path):
    data, out = sums(3, 2), tmp_path / "r.evalkit"
    with serve(Script(answer=Arithmetic()), process=True) as server:
        endpoint = ["--base-url", server.base_url, "--model", "scripted"]
        command("run", data, *endpoint, "--out", out, "--scorer", "exact")
        with closing(sqlite3.connect(out)) as connection, connection:  # as if the last turn had not been sent
            for table in ("turn", "attempt", "score"):
                connection.execute(f"DELETE FROM {table} WHERE (conversation, turn) = (2, 2)")

        done = command("score", out, "--scorer", "number")
        old, new, changed, last = done.out.splitlines()[1:]
        assert old.split()[:5] == ["old", "0", "0.0%", "of", "5"]
        assert new.split()[:5] == ["new", "1", "100.0%", "of", "5"]
        assert changed == "verdicts that changed: 5 (5 wrong to right)"
        assert last == f"scoring 1 counts now; to return to the old one: evalkit score {out} --use 0"
        assert done.err == ""
        assert "these are the scores of scoring 1: see" in command("show", out).out

        listed = json.loads(command("score", out, "--list", "--json").out)["scorings"]
        assert [(one["scoring"], one["scorer"], one["counts"], one["accuracy"]["value"]) for one in listed] == [
            (0, None, False, 0.0), (1, "number", True, 1.0),
        ]  # fmt: skip
        assert listed[0]["versions"] == {"exact": "1", "evalkit": __version__}
        table = command("score", out, "--list").out.splitlines()
        assert [line.split()[0] for line in table[1:3]] == ["0", "counts"]
        back = json.loads(command("score", out, "--use", 0, "--json").out)
        assert (back["run"], back["old"]["scoring"], back["new"]["scoring"]) == ("r", 1, 0)
        assert back["changed"]["right_to_wrong"] == 5
        command("score", out, "--use", 1)
        assert server.stats()["requests"] == 6

        assert command("resume", out).err == (
            f"scoring 1 does not cover the turns that were added to {out}, so the run's own scores count again. "
            f"To score them all: evalkit score {out} --scorer number\n"
        )
        assert server.stats()["requests"] == 7
        shown = json.loads(command("show", out, "--json").out)
        assert (shown["scoring"], shown["accuracy"]["n"], shown["accuracy"]["value"]) == (0, 6, 0.0)
        assert "1 answered turns were added after scoring 1" in command("score", out, "--use", 1).out
        assert command("resume", out).err == NOTHING_SENT  # nothing is added, so the scoring still counts
        assert json.loads(command("show", out, "--json").out)["scoring"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--use", "3"], "has no scoring 3, only 0: see 'evalkit score "),
        (["--scorer", "numbr"], "no scorer is called 'numbr'. Known, most similar first: number"),
        (["--list", "--use", "0"], "not allowed with argument"),
    ],
)
def test_bad_input_ends_with_2_and_says_why(tmp_path, capsys, arguments, message):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, score=1.0)])])
    try:
        code = main(["score", str(path), *arguments])
    except SystemExit as error:
        code = error.code
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert message in said.err


def test_a_run_that_is_being_written_is_not_scored(tmp_path, capsys):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, score=1.0)])])
    held = lock_and_flush.lock(path)
    assert main(["score", str(path)]) == 2
    lock_and_flush.unlock(held)
    assert capsys.readouterr().err == (
        f"error: {path} is in use: another evalkit is writing to it. "
        "Wait for it, or read it meanwhile with 'evalkit show'\n"
    )


def test_names_in_a_run_file_cannot_drive_the_terminal(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, score=1.0)])])
    Run(path).score("number")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE scoring SET scorer = ?, versions = ?", ('"\\u001b[2J"', '{"\\u001b[31m": "[bold]"}'))
    written = StringIO()
    show_rescored(Console(file=written, width=160, markup=False), Run(path).use_scoring(1), path)
    assert "\x1b" not in written.getvalue()
    assert "[bold]" in written.getvalue()
