import re

import comparing
import pytest
from runfiles import S, T, write

from evalkit.analysis.summary_json import summary_json
from evalkit.charts import catalogue
from evalkit.cli.main import main
from evalkit.wording.numbers import MISSING, duration, number, percent, points
from evalkit.wording.run_results import verdict


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, MISSING), (0.04, "0.0 s"), (9.94, "9.9 s"), (12.3, "12 s"), (61, "1 min 01 s"), (3725, "1 h 02 min")],
)
def testdurations_as_people_say_them(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, MISSING), (0, "0"), (0.6321, "0.632"), (41.68, "41.7"), (1234.5, "1,234")]
)
def test_numbers_with_as_many_digits_as_they_bear(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [
        (None, 1, MISSING), (0.0, 1, "0.0%"), (1.0, 1, "100.0%"), (0.5, 0, "50%"), (0.1234, 1, "12.3%"),
        (0.9996, 1, "99.96%"), (0.9994, 1, "99.9%"), (0.996, 0, "99.6%"), (0.99999, 0, "99.999%"),
        (0.0004, 1, "0.04%"), (0.004, 0, "0.4%"), (1e-6, 1, "0.0001%"), (1e-9, 1, "<0.00001%"),
        (1 - 1e-9, 1, ">99.99999%"), (1 - 1e-13, 1, "100.0%"), (0.1 + 0.2 + 0.7, 1, "100.0%"),
    ],
)  # fmt: skip
def test_rounding_makes_neither_all_nor_nothing_of_what_is_not(share, digits, text):
    assert percent(share, digits) == text


@pytest.mark.parametrize(
    ("difference", "text"),
    [(0.0, "+0.0"), (-0.0, "+0.0"), (0.0003, "+0.03"), (-0.0003, "-0.03"), (0.05, "+5.0"), (-1.0, "-100.0"),
     (-0.9999, "-99.99"), (1.0, "+100.0"), (-0.12, "-12.0")],
)  # fmt: skip
def test_a_difference_is_nothing_only_where_there_is_none(difference, text):
    assert points(difference) == text


ENDPOINT = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "params": {}}


@pytest.mark.parametrize(
    ("right", "shown", "wrong"), [(1.0, "99.96", re.compile(r"\b100(\.0)?%")), (0.0, "0.04", re.compile(r"\b0(\.0)?%"))]
)
def test_no_view_of_a_run_says_all_or_none_where_one_turn_is_otherwise(tmp_path, capsys, right, shown, wrong):
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


def test_a_verdict_says_what_came_how_sure_it_is_and_how_long_it_took(tmp_path):
    turns = [T(f"c{n}", 1, latency_ms=100.0 + n, ttft_ms=20.0, score=float(n % 2)) for n in range(20)]
    assert said(tmp_path, turns) == (
        "tiny answered all 20 turns, and 50.0% of 20 scored ones were right (95 % interval 29.9% to 70.1%). "
        "Median latency 110 ms, median time to first token 20 ms."
    )


def test_a_verdict_claims_nothing_that_is_missing(tmp_path):
    assert said(tmp_path, []) == "tiny has no finished turn yet."
    assert said(tmp_path / "failed", [T("a", 1, error="server")]) == "tiny answered none of 1 turns."
    assert said(tmp_path / "unscored", [T("a", 1), T("b", 1, error="server")]).startswith(
        "tiny answered 1 of 2 turns; none of the answers is scored."
    )


def test_a_verdict_on_graded_answers_calls_no_share_right(tmp_path):
    graded = said(tmp_path, [T("a", 1, score=0.5), T("b", 1, score=1.0)])
    assert graded.startswith("tiny answered all 2 turns, with a mean score of 75.0% over 2 scored ones (95 % interval ")
    assert "right" not in graded
