"""Runs checked against gates, from the command and from pytest."""

import dataclasses
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing, nullcontext

import pytest
from comparing import said
from runfiles import S, T, talk, write

import evalkit
from evalkit.analysis.costs import Cost, Price
from evalkit.analysis.measures import measure
from evalkit.errors import SettingsError
from evalkit.gates import gates
from evalkit.gates.gate_expression import parse
from evalkit.gates.gates import results_of
from evalkit.gates.metrics import METRICS
from evalkit.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """20 conversations of two turns. First turns: 16 are right. Second turns: 15 right, 4 wrong, one failed."""
    turns = [T(f"c{n:02}", 1, score=float(n < 16), latency_ms=400.0 + n) for n in range(20)]
    turns += [T(f"c{n:02}", 2, score=float(n < 15), latency_ms=900.0) for n in range(19)]
    turns.append(T("c19", 2, error="server", ttft_ms=None, text=""))
    path = write(tmp_path_factory.mktemp("runs") / "r.evalkit", [S(turns, end_ms=2000.0)])
    return measure(path)


@pytest.mark.parametrize(
    ("text", "value", "met", "words"),
    [
        ("accuracy>=0.79", 31 / 39, True, None),
        ("accuracy>=0.8", 31 / 39, False, None),
        ("accuracy[1]>=0.8", 0.8, True, None),
        ("accuracy[1]>0.8", 0.8, False, None),
        ("accuracy_all[2]<=75%", 0.75, True, None),
        ("errors<=2.5%", 0.025, True, "errors is 0.025 of 40 turns"),
        ("errors<2.5%", 0.025, False, "errors is 0.025 of 40 turns"),
        ("errors[1]<=0", 0.0, True, "errors[1] is 0 of 20 turns"),
        ("ttft_p95<=50ms", 50.0, True, "ttft_p95 is 50 ms over 39 turns (95 % interval 50 ms to –)"),
        ("latency_p50[1]<0.4s", 409.5, False, None),
        ("turns_per_s>=20", 19.5, False, "turns_per_s is 19.5"),  # of 40 turns in 2 s one has failed
        ("complete>=100%", 1.0, True, "complete is 1 of 40 planned turns"),
        ("ttft_p99<=1s", None, None, "ttft_p99 is missing: p99 needs 100 samples, there are 39"),
        (
            "ttft_p95.high<=1s",
            None,
            None,
            "ttft_p95.high is missing: 39 samples in 20 clusters do not bound p95 on both sides",
        ),
        ("schedule_latency_p50<1s", None, None, "schedule_latency_p50 is missing: no samples"),
        ("accuracy[3]>=0", None, None, "accuracy[3] is missing: no turn 3 is finished"),
        ("cost<=1", None, None, "cost is missing: the price of the model is not known"),
    ],
)
def test_a_run_meets_or_misses_a_gate_and_a_missing_metric_misses_it(run, text, value, met, words):
    (result,) = results_of([parse(text)], run)
    assert (result.text, result.value, result.met) == (text, value, met)
    assert words is None or result.words == words


@pytest.mark.parametrize("name", ["accuracy", "accuracy_all", "latency_p50"])
def test_a_bound_is_a_limit_of_the_interval(run, name):
    source = {"accuracy": run.all.accuracy.mean, "accuracy_all": run.all.accuracy_all.mean}
    estimate = source.get(name, run.all.latency_ms["p50"])
    unit = "ms" if name == "latency_p50" else ""
    low, high, value = results_of([parse(f"{name}{part}>=0{unit}") for part in (".low", ".high", "")], run)
    assert (low.value, value.value, high.value) == (estimate.low, estimate.value, estimate.high)
    assert low.value < value.value < high.value


def test_the_words_show_on_which_side_of_the_limit_a_value_lies(run):
    """0.79487… is below 0.7949, and is not printed as 0.7949."""
    (result,) = results_of([parse("accuracy>=0.7949")], run)
    assert result.met is False
    assert result.words.startswith("accuracy is 0.794872 of 39 turns (95 % interval 0.5808 to 0.9155)")


def test_no_number_is_written_with_an_exponent(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, latency_ms=12_345.678), T("b", 1, latency_ms=12_345.678)])])
    (result,) = results_of([parse("latency_p50<=20s")], measure(path))
    assert result.words == "latency_p50 is 12350 ms over 2 turns"


def test_a_cost_with_only_a_lower_bound_misses_its_gate(run):
    price = Price(1.0, 2.0, "run")
    open_end = dataclasses.replace(run, cost=Cost(price, 0.25, 3, 40, 31))
    told = dataclasses.replace(run, cost=Cost(price, 0.25, 0, 40, 31))
    (missed,) = results_of([parse("cost<=1")], open_end)
    assert (missed.met, missed.value) == (None, None)
    assert missed.words == "cost is missing: it is at least 0.25, but 3 requests reported no tokens"
    (met,) = results_of([parse("cost<=1")], told)
    assert (met.met, met.value, met.words) == (True, 0.25, "cost is 0.25")


def planned(path, turns, outcome="done", **settings):
    """A run of 20 turns, one of them failed, whose dataset has this many turns."""
    ended = [T(f"c{n:02}", 1, score=1.0, error="server" if n == 7 else None) for n in range(20)]
    said(write(path, [S(ended)]), dataset={"turns": turns}, settings=settings)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE session SET outcome = ?", (outcome,))
    return path


UNKNOWN = "complete is missing: the number of planned turns is unknown, because the dataset was not read to its end"


@pytest.mark.parametrize(
    ("turns", "outcome", "settings", "value", "words", "warned"),
    [
        (20, "done", {}, 1.0, "complete is 1 of 20 planned turns", None),
        (252, "stopped", {}, 20 / 252, "complete is 0.07937 of 252 planned turns", "232 of 252 turns are missing"),
        (10, "max_time_s", {"repeats": 3}, 2 / 3, "complete is 0.6667 of 30 planned turns", "10 of 30 turns are"),
        (None, "done", {}, 1.0, "complete is 1 of 20 planned turns", None),
        (None, "stopped", {}, None, UNKNOWN, "may be unfinished: its dataset was not read to its end"),
        (None, None, {}, None, UNKNOWN, "may be unfinished"),
    ],
)
def test_how_much_of_a_run_has_ended_is_a_metric_and_a_warning(
    tmp_path, turns, outcome, settings, value, words, warned
):
    path = planned(tmp_path / "r.evalkit", turns, outcome, **settings)
    run = measure(path)
    (result,) = results_of([parse("complete>=99%")], run)
    assert (result.value, result.words) == (pytest.approx(value) if value else None, words)
    assert result.met is (value > 0.99 if value else None)
    warning = gates.warning_if_unfinished([parse("accuracy>=0")], run)
    assert (warning is None) if warned is None else warned in warning
    assert gates.warning_if_unfinished([], run) is gates.warning_if_unfinished([parse("complete>=5%")], run) is None
    caught = pytest.warns(UserWarning, match=warned) if warned else nullcontext()
    with caught:
        gates.check(Run(path), "accuracy>=0")


def test_a_run_ended_by_until_is_complete(tmp_path):
    turns = [T(f"c{n:03}", 1, score=1.0) for n in range(300)]
    talks = [talk(f"c{n:03}", (1,)) for n in range(300)]
    path = said(
        write(tmp_path / "r.evalkit", [S(turns)], talks),
        dataset={"turns": 5000, "most_turns": 1}, settings={"until_ci": 0.05},
    )  # fmt: skip
    run = measure(path)
    assert run.until.reached
    assert (run.planned, gates.warning_if_unfinished([parse("accuracy>=0")], run)) == (300, None)


def test_a_run_without_a_turn_misses_every_gate(tmp_path):
    empty = measure(write(tmp_path / "r.evalkit", [S([])]))
    units = {"share": "", "time": "ms", "number": ""}
    results = results_of([parse(f"{name}>=0{units[metric.kind]}") for name, metric in METRICS.items()], empty)
    assert {result.met for result in results if not result.text.startswith("turns_per_s")} == {None}


TEST = """
import evalkit as ek

def test_good():
    ek.check(ek.Run({path!r}), "accuracy>=0.5", "errors<=50%")

def test_bad():
    ek.check(ek.Run({path!r}), "accuracy.low>=0.9", "ttft_p95<=1ms", "errors<=50%")
"""


def test_check_is_one_line_in_a_test_and_its_failure_shows_gates_and_transcripts(tmp_path):
    turns = [
        T("good", 1, score=1.0),
        T("wrong", 1, score=1.0, text="35"),
        T("wrong", 2, score=0.0, text="\x1b[2Jis 7", extracted=7, reason="the final number is 7, not 276"),
        T("wrong", 3, score=0.0),
        T("late", 1, error="timeout", ttft_ms=None, text=""),
    ]
    path = write(tmp_path / "r.evalkit", [S(turns)])
    (tmp_path / "test_model.py").write_text(TEST.format(path=str(path)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, "-c", "/dev/null",
         tmp_path / "test_model.py"],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout
    assert "\x1b[2J" not in done.stdout
    told = done.stdout.replace("\nE   ", "\n").replace("AssertionError: ", "")
    for line in (
        f"2 of 3 gates missed by {path}:",
        "  accuracy.low>=0.9: accuracy.low is ",
        "  ttft_p95<=1ms: ttft_p95 is missing: p95 needs 20 samples, there are ",
        "conversation wrong, repeat 1, up to turn 2:",
        "  user: wrong, question 2",
        "  answer: \ufffd[2Jis 7",
        "  target: 276",
        "  score: 0: the final number is 7, not 276",
        "conversation late, repeat 1, up to turn 1:",
        "  error: timeout: the timeout message",
    ):
        assert re.search(rf"^\s*{re.escape(line.strip())}", told, re.MULTILINE), line
    assert "errors<=50%:" not in told
    assert "conversation good" not in told
    assert "gates.py" not in told  # the failure is shown at the user's line


def test_a_check_without_a_gate_cannot_fail_and_is_refused(tmp_path):
    run = Run(write(tmp_path / "r.evalkit", [S([T("a", 1)])]))
    with pytest.raises(SettingsError, match=r"^check needs at least one gate, such as accuracy"):
        evalkit.check(run)
    with pytest.raises(SettingsError, match="there is no metric 'accurracy'"):
        evalkit.check(run, "accurracy>=0.8")
