"""``evalkit history``: a row a run, the real steps marked, one object with --json, a chart with -o."""

import json

import numpy as np
import pytest
from commands import evalkit
from comparing import run
from runfiles import T


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    draws = np.random.default_rng(3).random(80)
    for number, rate in enumerate([0.4, 0.9, 0.9]):
        turns = [T(f"c{n:03}", 1, score=float(draw < rate), latency_ms=400.0 + n) for n, draw in enumerate(draws)]
        about = {"dataset": {"path": "sums.jsonl"}, "endpoint": {"model": f"m{number}"}}
        run(folder / f"r{number}.evalkit", turns, **about)
    (folder / "bad.evalkit").write_text("no run")
    return folder


def test_each_run_is_a_row_with_its_step(folder):
    done = evalkit("history", folder)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("sums.jsonl: 3 runs in ")
    second, third = (next(line for line in lines if line.startswith(name)) for name in ("r1 ", "r2 "))
    assert "*" in second
    assert "*" not in third
    assert "r1 is better by " in done.stdout
    assert "r0 and r1 differ in model: m0 and m1" in done.stdout
    assert "cannot be read: " in done.stdout


def test_nothing_is_cut_off_on_a_narrow_terminal(folder, monkeypatch):
    monkeypatch.setattr("evalkit.console.terminal.PIPE_WIDTH", 60)
    lines = [line for line in evalkit("history", folder).stdout.splitlines() if line.startswith(("run ", "r0 ", "r1 "))]
    table = [line for line in lines if " is better by " not in line and " differ in " not in line]
    assert max(map(len, table)) <= 60
    assert any("*" in line for line in table)
    assert "…" not in "".join(table)


def test_json_has_runs_and_steps(folder):
    result = json.loads(evalkit("history", "data/sums.jsonl", folder, "--json").stdout)
    assert (result["dataset"], result["correction"]) == ("sums.jsonl", "Holm")
    assert [run["model"] for run in result["runs"]] == ["m0", "m1", "m2"]
    assert [step["accuracy"]["real"] for step in result["steps"]] == [True, False]
    assert result["steps"][0]["latency_p50_ms"]["real"] is False
    assert result["steps"][0]["differs"] == [{"what": "model", "first": "m0", "second": "m1"}]
    assert len(result["unreadable"]) == 1


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_chart_is_drawn_and_replaced_only_if_asked(folder, tmp_path, suffix):
    chart = tmp_path / f"h.{suffix}"
    assert evalkit("history", folder, "-o", chart).returncode == 0
    assert chart.stat().st_size > 5_000
    done = evalkit("history", folder, "-o", chart)
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert evalkit("history", folder, "-o", chart, "--overwrite").returncode == 0


def test_what_cannot_be_drawn_or_found_is_refused(folder, tmp_path):
    done = evalkit("history", folder, "-o", tmp_path / "h.pdf")
    assert done.returncode == 2
    assert ".png or .svg" in done.stderr
    assert evalkit("history", "other.jsonl", folder).returncode == 2
    assert evalkit("history", "other.jsonl", tmp_path / "nowhere").returncode == 2


def test_a_step_that_cannot_be_measured_is_named_and_each_family_is_counted(tmp_path):
    about = {"dataset": {"path": "sums.jsonl"}}
    for name, score in (("a", None), ("b", None), ("c", None)):
        turns = [T(f"c{n:03}", 1, score=score, latency_ms=400.0 + n * (name == "b")) for n in range(20)]
        run(tmp_path / f"{name}.evalkit", turns, **about)
    run(tmp_path / "empty.evalkit", [], **about)
    done = evalkit("history", tmp_path)
    assert done.returncode == 0
    lines = " ".join(done.stdout.split())
    assert "after Holm's correction for 0 steps in accuracy and 2 in latency" in lines
    assert "no step from c to empty: the second run has no finished turn" in lines


def test_two_folders_are_refused(folder, tmp_path):
    done = evalkit("history", folder, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{folder} is a folder of runs, and so is {tmp_path}" in done.stderr
