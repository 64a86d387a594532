import pytest
from runfiles import S, T, write

from evalkit.tables import summary_json
from evalkit.words import MISSING, duration, number, verdict


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
