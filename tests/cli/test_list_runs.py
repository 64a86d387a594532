"""``evalkit list``: a line a run, and one object with --json."""

import json
import os
import sqlite3

import pytest
from commands import evalkit
from runfiles import S, T, endpoint, write


@pytest.fixture
def folder(tmp_path):
    endpoint(
        write(tmp_path / "first.evalkit", [S([T("a", 1, score=1.0), T("b", 1, score=0.0)])]), model="\x1b[2Jtiny[red]"
    )
    write(tmp_path / "second.evalkit", [S([T("a", 1, error="server", latency_ms=None, ttft_ms=None)], end_ms=None)])
    (tmp_path / "third.evalkit").write_text("no run file")
    return tmp_path


def test_each_run_is_a_line(folder):
    done = evalkit("list", folder)
    assert (done.returncode, done.stderr) == (0, "")
    heading, *rest = done.stdout.splitlines()
    assert heading.split()[:4] == ["run", "dataset", "model", "n"]
    first = next(line for line in rest if line.startswith("first "))
    assert " 2  50.0% (" in first
    assert "400 ms" in first
    assert any(line.startswith("first ") and line.rstrip().endswith("done") for line in rest)
    assert "\x1b" not in done.stdout
    assert rest[-2].startswith("cannot be read: ")
    assert rest[-1].startswith("2 runs in ")


def test_nothing_is_cut_off_on_a_narrow_terminal(folder, monkeypatch):
    monkeypatch.setattr("evalkit.console.terminal.PIPE_WIDTH", 60)
    shown = evalkit("list", folder).stdout
    lines = [line for line in shown.splitlines() if line.startswith(("run ", "first ", "second "))]
    assert max(map(len, lines)) <= 60
    assert "50.0% (9.5% to 90.5%)" in shown
    assert "not ended, 1 unanswered" in shown
    assert "…" not in "".join(lines)


def test_json_has_the_runs_and_the_files_that_cannot_be_read(folder):
    result = json.loads(evalkit("list", folder, "--json").stdout)
    assert [run["file"] for run in result["runs"]] == [str(folder / f"{name}.evalkit") for name in ("first", "second")]
    assert result["runs"][0]["accuracy"]["value"] == 0.5
    assert result["runs"][1]["latency_ms"] == {"p50": None}
    assert result["runs"][1]["outcome"] is None
    (file,) = result["unreadable"]
    assert "is not a run file" in file["error"]


def test_without_a_folder_it_is_that_of_run(folder, tmp_path):
    (tmp_path / "there" / "runs").mkdir(parents=True)
    assert "no run file (.evalkit) in runs" in evalkit("list", cwd=tmp_path / "there").stdout
    done = evalkit("list", cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no folder runs" in done.stderr


LONG = "primary_math-meta-llama-3.1-70b-instruct-2026120{}-120000"


@pytest.mark.parametrize(("width", "tables"), [(120, 1), (100, 3), (80, 3), (60, 4)])
def test_long_names_are_shortened_in_the_middle_and_stay_different(tmp_path, monkeypatch, width, tables):
    for number in range(3):
        path = write(tmp_path / f"{LONG.format(number)}.evalkit", [S([T("a", 1, score=1.0), T("b", 1, score=0.0)])])
        endpoint(path, model="meta-llama/Meta-Llama-3.1-70B-Instruct-Turbo")
    monkeypatch.setattr("evalkit.console.terminal.PIPE_WIDTH", width)
    lines = evalkit("list", tmp_path).stdout.splitlines()[:-1]
    assert max(map(len, lines)) <= width
    assert sum(line.startswith("run ") for line in lines) <= tables
    assert len({line.split()[0] for line in lines if line.startswith("primary")}) == 3
    assert all("…" in line.split()[0] and "-120000" in line.split()[0] for line in lines if line.startswith("primary"))
    found = json.loads(evalkit("list", tmp_path, "--json").stdout)["runs"]
    assert [run["file"] for run in found] == [str(tmp_path / f"{LONG.format(number)}.evalkit") for number in range(3)]


def test_names_that_differ_only_in_the_middle_are_not_shortened_to_one(tmp_path):
    for letter in "ab":
        write(tmp_path / f"{'x' * 30}{letter}{'x' * 29}.evalkit", [S([T("a", 1)])])
    lines = evalkit("list", tmp_path).stdout.splitlines()
    assert len({line.split()[0] for line in lines if line.startswith("x")}) == 2


def test_a_run_file_with_another_name_is_listed_and_other_files_are_not(tmp_path):
    write(tmp_path / "nightly", [S([T("a", 1, score=1.0)])])
    write(tmp_path / "nightly.db", [S([T("a", 1, score=1.0)])])
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    (tmp_path / "notes.txt").write_text("text")
    os.mkfifo(tmp_path / "pipe")
    done = evalkit("list", tmp_path, "--json")
    result = json.loads(done.stdout)
    assert sorted(run["file"] for run in result["runs"]) == [str(tmp_path / "nightly"), str(tmp_path / "nightly.db")]
    assert result["unreadable"] == []
    assert {line.split()[0] for line in evalkit("list", tmp_path).stdout.splitlines()[1:3]} == {"nightly", "nightly.db"}
