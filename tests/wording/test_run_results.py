import re

import comparing
import pytest
from runfiles import S, T, write

from evalkit.analysis.summary_json import summary_json
from evalkit.charts import catalogue
from evalkit.cli.main import main
from evalkit.wording import run_results
from evalkit.wording.numbers import plus_minus
from evalkit.wording.run_results import verdict

ENDPOINT = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "params": {}}


@pytest.mark.parametrize(
    ("right", "shown", "wrong"), [(1.0, "99.96", re.compile(r"\b100(\.0)?%")), (0.0, "0.04", re.compile(r"\b0(\.0)?%"))]
)
def test_no_view_rounds_to_all_or_none_if_one_turn_differs(tmp_path, capsys, right, shown, wrong):
    turns = [T(f"c{n:04}", 1, score=1 - right if n == 7 else right) for n in range(2500)]
    run = comparing.said(
        write(tmp_path / "r.evalkit", [S(turns)]), endpoint=ENDPOINT, dataset={"path": "d.jsonl", "turns": 2500}
    )
    report = tmp_path / "out.md"
    assert main(["show", str(run), "--fail-under", "accuracy<=1"]) == 0
    assert main(["report", str(run), "-o", str(report)]) == 0
    chart = catalogue.charts(run)["accuracy"]
    terminal, markdown = capsys.readouterr().out, report.read_text(encoding="utf-8")
    for text in (terminal, markdown, chart.finding.replace(" %", "%")):
        assert shown in text
        assert not wrong.search(text)
    assert f"accuracy is {'0.9996' if right else '0.0004'} of 2,500 turns" in terminal


def said(path, turns):
    return verdict(summary_json(write(path / "run.evalkit", [S(turns)])), "tiny")


def test_a_verdict_has_the_result_its_interval_and_the_times(tmp_path):
    turns = [T(f"c{n}", 1, latency_ms=100.0 + n, ttft_ms=20.0, score=float(n % 2)) for n in range(20)]
    assert said(tmp_path, turns) == (
        "tiny answered all 20 turns, and 50.0% of 20 scored answers were right (95 % interval 29.9% to 70.1%). "
        "Median latency 110 ms, median time to first token 20 ms."
    )


def test_a_verdict_claims_nothing_that_is_missing(tmp_path):
    assert said(tmp_path, []) == "tiny has no finished turn yet."
    assert said(tmp_path / "failed", [T("a", 1, error="server")]) == "tiny answered none of 1 turn."
    assert said(tmp_path / "unscored", [T("a", 1), T("b", 1, error="server")]).startswith(
        "tiny answered 1 of 2 turns; none of the answers is scored."
    )


def test_a_verdict_on_graded_answers_calls_no_share_right(tmp_path):
    graded = said(tmp_path, [T("a", 1, score=0.5), T("b", 1, score=1.0)])
    assert graded.startswith(
        "tiny answered all 2 turns, with a mean score of 75.0% over 2 scored answers (95 % interval "
    )
    assert "right" not in graded


def test_show_says_how_well_the_accuracy_is_known_as_plan_and_until_do(tmp_path):
    turns = [T(f"c{n:02}", 1, score=float(n % 2)) for n in range(40)]
    result = summary_json(write(tmp_path / "r.evalkit", [S(turns)]))
    half = max(result["accuracy"]["high"] - 0.5, 0.5 - result["accuracy"]["low"])
    assert run_results.precision(result) == f"the accuracy is known within {plus_minus(half)} (95 %)"
    assert plus_minus(0.1119) == "± 11 points"
    until = {"value": 0.5, "low": 0.5 - half, "high": 0.5 + half, "ci": 0.1, "reached": False, "conversations": 40}
    assert f"within {plus_minus(half)} at any time" in run_results.accuracy_goal(until)[0]
    result["accuracy"]["low"] = None
    assert run_results.precision(result) is None
