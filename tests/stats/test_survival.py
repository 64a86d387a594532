import numpy as np
import pytest
from scipy import stats as scipy_stats

from evalkit.stats import paired, survival
from evalkit.stats.quantiles import count_below, quantile, quantiles


def censored_sample(seed: int, n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    times = np.round(rng.gamma(2, 100, n))  # with ties
    lost = rng.random(n) < 0.3
    return np.sort(times[~lost]), np.sort(times[lost])


@pytest.mark.parametrize("seed", range(5))
def test_curve_and_limits_are_those_of_scipy(seed: int) -> None:
    known, lost = censored_sample(seed)
    made = survival.curve(known, lost)
    sample = scipy_stats.CensoredData(uncensored=known, right=lost)
    expected = scipy_stats.ecdf(sample)
    at_known = np.isin(expected.cdf.quantiles, known)
    np.testing.assert_allclose(made.at, expected.cdf.quantiles[at_known])
    np.testing.assert_allclose(made.share, expected.cdf.probabilities[at_known])
    with pytest.warns(RuntimeWarning) if (made.share == 1).any() else _nothing():
        limits = expected.sf.confidence_interval(method="log-log")
    inside = made.share < 1
    np.testing.assert_allclose(made.low[inside], 1 - limits.high.probabilities[at_known][inside])
    np.testing.assert_allclose(made.high[inside], 1 - limits.low.probabilities[at_known][inside])
    assert (made.n, made.censored) == (80, len(lost))


def _nothing():
    from contextlib import nullcontext

    return nullcontext()


def test_without_losses_it_is_the_share_so_far_and_its_end_has_no_limits() -> None:
    made = survival.curve(np.array([10.0, 20.0, 20.0, 40.0]), np.empty(0))
    assert made.at.tolist() == [10, 20, 40]
    assert made.share.tolist() == [0.25, 0.75, 1.0]
    assert np.isnan([made.low[-1], made.high[-1]]).all()
    assert made.last == 40


def test_a_time_out_is_no_end_and_lifts_what_comes_after_it() -> None:
    # of 4 one is lost at 15: the two that end later stand for it too
    made = survival.curve(np.array([10.0, 20.0, 30.0]), np.array([15.0]))
    np.testing.assert_allclose(made.share, [0.25, 0.625, 1.0])
    never = survival.curve(np.array([10.0]), np.array([50.0, 50.0, 50.0]))
    assert (never.share.tolist(), never.last) == ([0.25], 50.0)


def test_the_curve_is_at_the_median_where_the_quantile_is() -> None:
    known, lost = censored_sample(9)
    made = survival.curve(known, lost)
    times = np.concatenate([known, lost])
    (median,) = quantiles(times, [0.5], np.arange(len(times)) >= len(known))
    assert made.at[np.flatnonzero(made.share >= 0.5)[0]] == median.value


def test_many_steps_are_thinned_and_nothing_known_makes_none() -> None:
    made = survival.curve(np.arange(10_000.0), np.empty(0))
    assert (len(made.at), made.at[0], made.at[-1], made.n) == (survival.STEPS, 0, 9_999, 10_000)
    none = survival.curve(np.empty(0), np.array([5.0]))
    assert (len(none.at), none.n, none.last) == (0, 1, 5.0)
    assert np.isnan(survival.curve(np.empty(0), np.empty(0)).last)


def test_a_curve_of_times_in_clusters_has_the_limits_of_their_effective_number() -> None:
    rng = np.random.default_rng(8)
    clusters = np.repeat(np.arange(100), 4)
    values = (rng.normal(size=(100, 1)) + 0.2 * rng.normal(size=(100, 4))).ravel()
    made = survival.curve(np.sort(values), np.empty(0), below=count_below(values, clusters, 100))
    apart = survival.curve(np.sort(values), np.empty(0))
    middle = 199
    assert made.share.tolist() == apart.share.tolist()
    # nearly four alike in each: about as wide as of 100 times
    assert 1.7 < (made.high - made.low)[middle] / (apart.high - apart.low)[middle] < 2.1
    result = quantile(values, 0.5, clusters=clusters)
    assert abs(np.interp(result.low, made.at, made.high) - 0.5) < 0.02
    one = survival.curve(np.sort(values), np.empty(0), below=count_below(values, clusters * 0, 1))
    assert np.isnan(one.low).all() or (one.low[:-1] == 0).all()


# --- quantile_difference


def lost_pairs(seed: int, n: int, limit: float) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    base = rng.gamma(4, 20, n)
    true = base + rng.gamma(2, 10, n), 1.3 * base + rng.gamma(2, 10, n)
    return (*(np.minimum(side, limit) for side in true), tuple(side >= limit for side in true))


def test_without_losses_it_is_the_difference_of_paired() -> None:
    first, second, _ = lost_pairs(1, 60, np.inf)
    never = np.zeros(60, dtype=bool)
    result = survival.quantile_difference(first, second, 0.5, censored=(never, never))
    assert result == paired.quantile_difference(first, second, 0.5)


@pytest.mark.parametrize("q", [0.5, 0.9])
def test_losses_beyond_the_quantile_change_neither_value_nor_limits(q: float) -> None:
    first, second, lost = lost_pairs(2, 400, 260.0)
    assert sum(map(np.count_nonzero, lost)) > 5
    result = survival.quantile_difference(first, second, q, censored=lost)
    whole = paired.quantile_difference(*lost_pairs(2, 400, np.inf)[:2], q)
    assert (result.value, result.low, result.high) == pytest.approx((whole.value, whole.low, whole.high), abs=2)


def test_the_limits_are_those_of_every_resample_in_full() -> None:
    first, second, lost = lost_pairs(3, 120, 140.0)
    rng, drawn = np.random.default_rng(9), []
    ends = [np.where(flags, np.inf, side) for side, flags in zip((first, second), lost, strict=True)]
    for _ in range(4000):
        rows = rng.integers(120, size=120)
        low, high = ((y[rows], x[rows]) for x, y in ((ends[0], second), (first, ends[1])))
        drawn.append(
            [np.quantile(y, 0.5, method="higher") - np.quantile(x, 0.5, method="higher") for y, x in (low, high)]
        )
    least, most = np.array(drawn).T
    result = survival.quantile_difference(first, second, 0.5, censored=lost, resamples=8000)
    expected = np.quantile(least, 0.025, method="lower"), np.quantile(most, 0.975, method="higher")
    assert (result.low, result.high) == pytest.approx(expected, abs=3)


@pytest.mark.parametrize("limit", [200.0, 130.0])
def test_the_limits_hold_the_truth_wherever_it_was_lost(limit: float) -> None:
    truth = np.subtract(*(np.quantile(side, 0.5) for side in lost_pairs(0, 400_000, np.inf)[1::-1]))
    held = 0
    for seed in range(1, 201):
        first, second, lost = lost_pairs(seed, 60, limit)
        result = survival.quantile_difference(first, second, 0.5, censored=lost, resamples=200)
        held += (result.low is None or result.low <= truth) and (result.high is None or truth <= result.high)
    assert held >= 184  # 190 of 200 wanted; 2.5 standard deviations


def test_beyond_the_end_of_a_curve_only_what_it_is_at_least_is_known() -> None:
    first, second, _ = lost_pairs(4, 100, np.inf)
    lost = np.zeros(100, dtype=bool), np.arange(100) % 3 == 0
    result = survival.quantile_difference(first, np.where(lost[1], 2000.0, second), 0.9, censored=lost)
    assert (result.value, result.high) == (None, None)
    assert result.low == pytest.approx(2000 - np.quantile(first, 0.9), abs=40)
    assert result.reason == "of the second run p90 is more than 2,000: 34 of 100 values are lower bounds"
    few = survival.quantile_difference(
        first[:18], second[:18], 0.5, np.arange(18) // 6, censored=(lost[0][:18], lost[1][:18])
    )
    assert (few.low, few.high, few.reason) == (None, None, "a bootstrap interval needs 10 clusters, there are 3")
    assert survival.quantile_difference([], [], 0.5, censored=(lost[0][:0], lost[0][:0])).reason == "no pairs"
