"""The times of turns with all waits in them, and what retries had of these."""

import io
from contextlib import closing

import pytest
from comparing import run as made
from rich.console import Console
from runfiles import S, T, write

from evalkit.analysis import tables
from evalkit.analysis.summary_json import summary_json
from evalkit.console.summary import summary
from evalkit.endpoint import Endpoint
from evalkit.evaluation import evaluate
from evalkit.report import run_contents
from evalkit.report.html_report import report
from evalkit.report.markdown_report import markdown
from evalkit.run import Run
from evalkit.runfile.store import open_to_read
from evalkit.scripted.server import Arithmetic, Fault, Law, Script, serve

NONE = {"turns": 0, "requests": 0, "lost_s": 0.0}


def test_a_turn_that_was_asked_again_took_longer_than_its_latency(sums, tmp_path):
    script = Script(answer=Arithmetic(), law=Law(ttft_ms=40), faults=[Fault("server_error", numbers={2, 3})])
    with serve(script) as server:
        run = evaluate(sums(4, 1), Endpoint(server.base_url, "scripted"), out=tmp_path / "run.evalkit", concurrency=1)
    result = summary_json(run.path)
    assert result["retries"]["requests"] == 2
    assert result["retries"]["turns"] in (1, 2)  # the second try of one turn, or the first of two
    again = {row["turn"]: row["retries"] for row in result["by_turn"]}
    assert again == {1: result["retries"]}
    with closing(open_to_read(run.path)) as connection:
        rows = connection.execute("SELECT turn_time_ns, latency_ns, attempts FROM turn").fetchall()
    lost = sum((turn_time - latency) / 1e9 for turn_time, latency, attempts in rows if attempts > 1)
    assert 0 < result["retries"]["lost_s"] <= lost
    assert result["retries"]["lost_s"] == pytest.approx(lost, abs=0.2)
    assert result["turn_time_ms"]["p50"] >= result["latency_ms"]["p50"]


def test_turn_times_and_retries_by_turn_index(tmp_path):
    turns = [
        T("a", 1, latency_ms=400.0, sent_ms=100.0, due_ms=0.0, attempts=3),
        T("a", 2, latency_ms=200.0, sent_ms=600.0),
        T("b", 1, latency_ms=300.0, sent_ms=50.0, due_ms=20.0),
        T("b", 2, error="server", attempts=2, sent_ms=700.0),
    ]
    result = summary_json(write(tmp_path / "run.evalkit", [S(turns)]))
    first, second = result["by_turn"]
    assert first["turn_time_ms"] == {"p50": pytest.approx((500 + 330) / 2), "p95": None, "p99": None}
    assert second["turn_time_ms"]["p50"] == 200.0
    # every earlier try of such a turn was sent at 0
    assert first["retries"] == {"turns": 1, "requests": 2, "lost_s": pytest.approx(0.1)}
    assert second["retries"] == {"turns": 1, "requests": 1, "lost_s": pytest.approx(0.7)}
    assert result["retries"] == {"turns": 2, "requests": 3, "lost_s": pytest.approx(0.8)}
    table = tables.summary(tmp_path / "run.evalkit")
    assert list(table.columns)[-4:] == ["turn_time_p50_ms", "turn_time_p95_ms", "retries", "retries_lost_s"]
    assert table["retries"].tolist() == [2, 1, 3]
    assert table.loc["all", "retries_lost_s"] == pytest.approx(0.8)


def test_a_time_out_bounds_the_turn_time_from_when_it_was_due(tmp_path):
    turns = [T(f"c{n}", 1, latency_ms=100.0, sent_ms=1.0, due_ms=0.0) for n in range(3)]
    hung = [T(f"x{n}", 1, error="timeout", ttft_ms=None, end_ms=2000.0, sent_ms=300.0, due_ms=0.0) for n in range(2)]
    times = summary_json(write(tmp_path / "run.evalkit", [S([*turns, *hung])]))["turn_time_ms"]
    assert times["p50"] == 101.0
    hung += [T(f"y{n}", 1, error="timeout", ttft_ms=None, end_ms=2000.0) for n in range(4)]
    assert summary_json(write(tmp_path / "more.evalkit", [S([*turns, *hung])]))["turn_time_ms"]["p50"] is None


def test_a_run_without_retries_says_so_and_one_without_answers_nothing(tmp_path):
    result = summary_json(write(tmp_path / "run.evalkit", [S([T("a", 1)])]))
    assert result["retries"] == result["by_turn"][0]["retries"] == NONE
    empty = summary_json(write(tmp_path / "empty.evalkit", [S([])]))
    assert (empty["retries"], empty["turn_time_ms"]["p50"]) == (NONE, None)


def test_turn_times_are_shown_next_to_the_latency(tmp_path):
    turns = [T("a", 1, attempts=3, sent_ms=90_000.0, due_ms=0.0, score=1.0), T("b", 1)]
    endpoint = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "params": {}}
    path = made(tmp_path / "run.evalkit", turns, endpoint=endpoint, dataset={"path": "sums.jsonl", "turns": None})
    shown = "turn time, waits and retries included: p50 45,400 ms, p95 –; 1 turn retried 2 requests and lost 1 min"
    written = io.StringIO()
    summary(Console(file=written, width=200), Run(path), summary_json(path))
    assert shown in written.getvalue()
    assert f"T{shown[1:]}" in markdown([run_contents.read_run(path, drawn=False)])
    page = tmp_path / "report.html"
    report([path], page)
    assert shown.removeprefix("turn time") in page.read_text()
