from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from runfiles import S, T, talk, write

from evalkit.analysis.measures import opened
from evalkit.analysis.times import by_prompt_length
from evalkit.stats import quantiles

TALKS = [talk(f"c{n}", targets=(1, 2, 3, 4)) for n in range(130)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.evalkit"


def read(path: Path) -> dict[str, by_prompt_length.TimesByPromptLength]:
    with opened(path) as connection:
        return by_prompt_length.times_by_prompt_length(connection)


def growing(conversations: int, turns: int = 4) -> list[T]:
    """TTFT of 10 ms for 100 tokens more; slow conversations have short prompts."""
    made = []
    for n in range(conversations):
        for turn in range(1, turns + 1):
            tokens = 100 * turn + 7 * (n % 5)
            ttft = 900.0 if turn == 1 else 500 - 40 * (n % 5) + tokens / 10
            made.append(T(f"c{n}", turn, ttft_ms=ttft, latency_ms=2000.0, tokens=9, prompt_tokens=tokens))
    return made


def test_growth_is_measured_within_conversations_and_without_the_cold_turn(path: Path) -> None:
    result = read(write(path, [S(growing(10))], TALKS))
    growth = result["ttft"].growth
    assert growth.value == pytest.approx(10)
    assert growth.n == 30
    assert result["latency"].growth.value == pytest.approx(0)
    assert all(len(tokens) == 3 for tokens, _ in result["ttft"].lines)


def test_slope_and_its_limits_are_those_of_regressions_that_leave_out_each_cluster() -> None:
    rng = np.random.default_rng(4)
    cluster = np.repeat(np.arange(12), 5)
    x = rng.normal(size=60) + cluster
    y = 2 * x + 5 * cluster + rng.normal(size=60) * (1 + cluster % 3)
    result = by_prompt_length.slope_within(x, y, cluster)

    def slope(kept: np.ndarray) -> float:
        dummies = (cluster[kept, None] == np.unique(cluster[kept])).astype(float)
        return sm.OLS(y[kept], np.column_stack([x[kept], dummies])).fit().params[0]

    assert result.value == pytest.approx(slope(cluster >= 0))
    error = np.sqrt(11 / 12 * sum((slope(cluster != left_out) - result.value) ** 2 for left_out in range(12)))
    weight = [5 * x[cluster == each].var() for each in range(12)]
    from scipy.stats import t

    freedom = sum(weight) ** 2 / sum(each**2 for each in weight) - 1
    assert result.high - result.value == pytest.approx(t.ppf(0.975, freedom) * error)


@pytest.mark.parametrize("spread", [0.0, 0.7], ids=["prompts grow alike", "some grow much more"])
@pytest.mark.parametrize("clusters", [6, 20])
def test_no_slope_is_found_once_in_twenty_however_prompts_grow(spread: float, clusters: int) -> None:
    rng = np.random.default_rng(2)
    cluster, claims = np.repeat(np.arange(clusters), 3), 0
    for _ in range(400):
        x = np.tile([1.0, 2.0, 3.0], clusters) * np.repeat(rng.lognormal(0, spread, clusters), 3)
        result = by_prompt_length.slope_within(x, rng.lognormal(6, 0.4, 3 * clusters), cluster)
        claims += result.low > 0 or result.high < 0
    assert claims <= 20


@pytest.mark.parametrize(
    ("cluster", "limits"), [([0, 0, 0], False), ([0, 1, 2], None)], ids=["one conversation", "one turn each"]
)
def test_too_little_to_tell_a_slope_is_said(cluster: list[int], limits: bool | None) -> None:
    result = by_prompt_length.slope_within(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]), np.array(cluster))
    assert result.low is None
    assert result.reason
    assert (result.value is None) == (limits is None)


def test_medians_are_of_equally_filled_bins_of_later_turns(path: Path) -> None:
    result = read(write(path, [S(growing(40))], TALKS))["ttft"]
    assert len(result.bins) == 6
    assert sum(part.median.n for part in result.bins) == 120
    assert [part.tokens for part in result.bins] == sorted(part.tokens for part in result.bins)
    assert result.by_turn[1].median == quantiles.quantile(np.full(40, 900.0), 0.5)
    assert list(result.by_turn) == [1, 2, 3, 4]


def test_points_and_lines_are_bounded(path: Path) -> None:
    result = read(write(path, [S(growing(130))], TALKS))["latency"]
    assert (len(result.times), len(result.lines), result.n) == (
        by_prompt_length.MOST_POINTS,
        by_prompt_length.MOST_LINES,
        520,
    )


def test_turns_without_tokens_or_without_streaming_are_counted(path: Path, tmp_path: Path) -> None:
    turns = [T("a", 1, tokens=5), T("a", 2), T("b", 1, error="server")]
    result = read(write(path, [S(turns)]))
    assert (result["latency"].n, result["latency"].untold, result["latency"].bins) == (1, 1, ())
    whole = read(write(tmp_path / "b.evalkit", [S([T("a", 1, ttft_ms=None, tokens=5)])], stream=False))
    assert (whole["ttft"].n, whole["latency"].n) == (0, 1)
    assert read(write(tmp_path / "c.evalkit", [S([])]))["ttft"].growth.value is None
