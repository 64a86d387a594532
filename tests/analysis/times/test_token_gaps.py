from pathlib import Path

import numpy as np
import pytest
from runfiles import S, T, write

from evalkit.analysis.measures import opened
from evalkit.analysis.times import token_gaps
from evalkit.stats import proportions


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.evalkit"


def read(path: Path, most: int = token_gaps.MOST_ANSWERS) -> token_gaps.Gaps:
    with opened(path) as connection:
        return token_gaps.gaps(connection, most)


def test_gaps_are_those_between_stored_arrivals(path: Path) -> None:
    turns = [
        T("a", 1, ttft_ms=50, between_ms=(60, 90), latency_ms=100),  # 10, 30, 10
        T("b", 1, ttft_ms=50, latency_ms=70),  # 20
        T("c", 1, ttft_ms=50, latency_ms=None, error="server"),  # a failed one has none that count
        T("d", 1, ttft_ms=80, latency_ms=None),  # one arrival makes none
    ]
    result = read(write(path, [S(turns)]))
    assert (result.gaps, result.answers, result.answers_in_all) == (4, 2, 2)
    assert result.quantiles == {"p50": 15.0}
    shares = dict(zip(result.at.tolist(), [share.value for share in result.share], strict=True))
    assert (shares[10.0], shares[30.0]) == (0.5, 1.0)


def test_a_sample_is_bounded_seeded_and_said(path: Path) -> None:
    turns = [T(f"c{n}", 1, ttft_ms=10, between_ms=(10 + n,), latency_ms=500) for n in range(1, 40)]
    write(path, [S(turns)])
    first, again = read(path, 7), read(path, 7)
    assert (first.answers, first.gaps, first.answers_in_all) == (7, 14, 39)
    np.testing.assert_array_equal(first.at, again.at)


def test_the_band_knows_that_gaps_of_one_answer_resemble_each_other() -> None:
    rng = np.random.default_rng(1)
    answer = np.repeat(np.arange(30), 40)
    alike = np.repeat(rng.gamma(4, 10, 30), 40)  # every gap of an answer is the same
    at = np.array([30.0, 40.0])
    result = token_gaps.cumulative_shares(alike, answer, at)
    assert result == tuple(proportions.proportion(alike <= limit, answer) for limit in at)
    apart = token_gaps.cumulative_shares(rng.permutation(alike), answer, at)
    assert result[0].high - result[0].low > 3 * (apart[0].high - apart[0].low)


def test_a_run_without_gaps_has_none(path: Path) -> None:
    result = read(write(path, [S([T("a", 1, ttft_ms=None)])], stream=False))
    assert (result.gaps, result.answers_in_all, result.quantiles, result.share) == (0, 0, {}, ())
