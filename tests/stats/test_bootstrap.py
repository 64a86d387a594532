import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from evalkit.stats.bootstrap import bootstrap
from evalkit.stats.estimate import Estimate

RNG = np.random.default_rng(7)
SKEWED = RNG.gamma(1.0, 10.0, 24)


def weighted_quantile(values: np.ndarray, weights: np.ndarray, level: float) -> float:
    order = np.argsort(values)
    return float(values[order][np.searchsorted(np.cumsum(weights[order]), level)])


def test_percentile_limits_of_a_count_are_binomial_quantiles() -> None:
    # the resampled count of 4 of 10 is binomial (10, 0.4): enumerated exactly
    result = bootstrap([1] * 4 + [0] * 6, method="percentile", resamples=50_000)
    expected = scipy_stats.binom(10, 0.4).ppf([0.025, 0.975]) / 10
    assert (result.value, result.low, result.high) == (0.4, *expected)


def test_percentile_limits_of_unequal_clusters_agree_with_all_that_can_be_drawn() -> None:
    # ten clusters of three kinds (sum, size): every way of drawing 10 has a multinomial probability
    kinds, counts = [(4.0, 4.0), (0.0, 2.0), (1.0, 3.0)], [5, 3, 2]
    ways = [way for way in itertools.product(range(11), repeat=3) if sum(way) == 10]
    weights = scipy_stats.multinomial(10, np.array(counts) / 10).pmf(ways)
    means = np.array(ways) @ np.array(kinds)
    means = means[:, 0] / means[:, 1]
    values: list[float] = []
    clusters: list[int] = []
    for number, (total, size) in enumerate(
        kind for kind, count in zip(kinds, counts, strict=True) for _ in range(count)
    ):
        values += [total / size] * int(size)
        clusters += [number] * int(size)
    result = bootstrap(values, clusters, method="percentile", confidence=0.9, resamples=100_000)
    low, high = (weighted_quantile(means, weights, level) for level in (0.05, 0.95))
    assert (result.low, result.high) == pytest.approx((low, high), abs=0.004)
    assert result.value == pytest.approx((5 * 4 + 2 * 1) / (5 * 4 + 3 * 2 + 2 * 3))


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_limits_of_the_mean_are_those_of_scipys_bootstrap(method: str) -> None:
    expected = scipy_stats.bootstrap((SKEWED,), np.mean, method=method, rng=np.random.default_rng(1))
    result = bootstrap(SKEWED, method=method, resamples=20_000, seed=2)
    limits = (expected.confidence_interval.low, expected.confidence_interval.high)
    assert (result.low, result.high) == pytest.approx(limits, abs=0.1 * expected.standard_error)
    assert result.value == pytest.approx(SKEWED.mean())


def test_bca_from_the_same_draws_is_scipys_to_the_last_digit() -> None:
    # the draws of a callable, made again, are given to SciPy as its own
    k, resamples = len(SKEWED), 500
    rng = np.random.default_rng(5)
    draws = np.array([rng.integers(k, size=k) for _ in range(resamples)])
    given = scipy_stats.bootstrap((SKEWED,), np.std, method="BCa", n_resamples=0, bootstrap_result=_Drawn(draws))
    result = bootstrap(SKEWED, statistic=np.std, resamples=resamples, seed=5)
    assert (result.low, result.high) == pytest.approx((given.confidence_interval.low, given.confidence_interval.high))


class _Drawn:
    """What SciPy's bootstrap takes up from an earlier one."""

    def __init__(self, draws: np.ndarray) -> None:
        self.bootstrap_distribution = np.std(SKEWED[draws], axis=1)


def test_the_mean_by_sums_is_the_mean_by_values() -> None:
    clusters = RNG.integers(0, 40, 200)
    values = RNG.normal(size=200) + clusters
    for method in ("bca", "percentile"):
        quick = bootstrap(values, clusters, method=method)
        slow = bootstrap(values, clusters, method=method, statistic=np.mean)
        assert (quick.value, quick.low, quick.high) == pytest.approx((slow.value, slow.low, slow.high), rel=1e-9)


def test_clusters_are_drawn_whole() -> None:
    # four copies of each conversation add nothing: a bootstrap of turns would be half as wide
    values = RNG.random(50) < 0.7
    alone, copied = bootstrap(values, seed=4), bootstrap(np.repeat(values, 4), np.repeat(np.arange(50), 4), seed=4)
    assert (copied.low, copied.high) == (alone.low, alone.high)
    assert (alone.n, copied.n) == (50, 200)


def test_more_clusters_than_can_be_drawn_one_by_one_are_thrown_together() -> None:
    values, clusters = RNG.gamma(2, 1, 60_000), np.repeat(np.arange(30_000), 2)
    result = bootstrap(values, clusters, resamples=400)
    error = values.std() / math.sqrt(60_000)
    assert (result.high - result.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.12)
    assert result.low < result.value < result.high


def test_the_same_seed_draws_the_same() -> None:
    assert bootstrap(SKEWED, seed=3) == bootstrap(SKEWED, seed=3) != bootstrap(SKEWED, seed=4)


def test_bootstrap_is_missing_where_it_is_not_available() -> None:
    assert bootstrap([]) == Estimate(None, None, None, 0, "no samples")
    few = bootstrap(range(36), np.repeat(range(9), 4))
    assert few == Estimate(17.5, None, None, 36, "a bootstrap interval needs 10 clusters, there are 9")
    for values in ([1.0] * 12, [0.1] * 12):
        equal = bootstrap(values)
        assert (equal.low, equal.high) == (None, None)
        assert equal.reason == "all resamples give the same value: the variance cannot be estimated"
    lost = bootstrap(SKEWED, statistic=lambda x: math.nan if SKEWED.max() in x else 0.0)
    assert lost.low is None
    assert "resamples is not finite" in (lost.reason or "")
    sided = bootstrap(SKEWED, statistic=lambda x: float(len(np.unique(x))))  # fewer in every resample
    assert sided == Estimate(24.0, None, None, 24, "the resamples are too one-sided for a BCa interval")


def test_arguments_that_are_none_are_refused() -> None:
    for wrong in ({"method": "basic"}, {"statistic": "median"}, {"resamples": 99}, {"confidence": 1.0}):
        with pytest.raises(ValueError, match=r"choose 'bca' or 'percentile'|at least 100|must be between"):
            bootstrap(SKEWED, **wrong)
