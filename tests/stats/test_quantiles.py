import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize as scipy_optimize
from scipy import stats as scipy_stats

from evalkit.stats.estimate import Estimate
from evalkit.stats.proportions import proportion
from evalkit.stats.quantiles import expected_level, median, quantile, quantiles

# --- one sample


@pytest.mark.parametrize("q", [0.25, 0.5, 0.95])
def test_quantile_is_hyndman_fan_7(q: float) -> None:
    values = np.random.default_rng(1).gamma(2.0, 50.0, 101)
    ordered, position = sorted(values), q * 100
    below = int(position)
    expected = ordered[below] + (position - below) * (ordered[below + 1] - ordered[below])
    assert quantile(values, q).value == pytest.approx(expected)


@given(st.integers(1, 400), st.sampled_from([0.1, 0.5, 0.9, 0.95, 0.99]), st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=80, deadline=None)
def test_quantile_interval_is_scipys(n: int, q: float, confidence: float) -> None:
    values = np.random.default_rng(n).permutation(n).astype(float)
    result = quantile(values, q, confidence=confidence)
    if result.value is None:
        return
    expected = scipy_stats.quantile_test(values, p=q).confidence_interval(confidence)
    limits = [math.nan if limit is None else limit for limit in (result.low, result.high)]
    np.testing.assert_equal(limits, [expected.low, expected.high])
    assert (result.reason is None) == (not any(map(math.isnan, limits)))


def test_quantile_interval_of_the_median_is_the_published_one() -> None:
    # ranks 6 and 15 of 20: the 95 % sign-test limits in W. J. Conover's tables
    result = quantile(np.arange(1.0, 21.0), 0.5)
    assert (result.value, result.low, result.high) == (10.5, 6.0, 15.0)


@pytest.mark.parametrize(("q", "needed"), [(0.95, 20), (0.99, 100), (0.999, 1000), (0.05, 20), (0.9, 10)])
def test_tails_need_samples(q: float, needed: int) -> None:
    few = quantile(np.arange(needed - 1.0), q)
    assert (few.value, few.low, few.high) == (None, None, None)
    assert few.reason == f"p{100 * q:g} needs {needed:,} samples, there are {needed - 1:,}"
    assert quantile(np.arange(float(needed)), q).value is not None


def test_median_of_one_sample_is_a_value_without_limits() -> None:
    assert quantile([7.0], 0.5) == Estimate(7.0, None, None, 1, "1 samples do not bound p50 on both sides")
    assert quantile([], 0.5) == Estimate(None, None, None, 0, "no samples")


def test_upper_limit_is_missing_where_the_sample_does_not_reach() -> None:
    result = quantile(np.arange(30.0), 0.95)
    assert result.low is not None
    assert result.high is None
    assert result.reason == "30 samples do not bound p95 on both sides"


@pytest.mark.parametrize("values", [[1.0, math.nan], [1.0, math.inf]])
def test_missing_values_are_an_error_and_not_dropped(values: list[float]) -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        quantile(values, 0.5)


@pytest.mark.parametrize("q", [0.0, 1.0, 1.5])
def test_q_outside_its_range_is_an_error(q: float) -> None:
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        quantile([1.0], q)


def test_flags_must_be_as_many_as_values() -> None:
    with pytest.raises(ValueError, match="1 censoring flags were given for 2 values"):
        quantile([1.0, 2.0], 0.5, censored=[True])


@pytest.mark.parametrize(("n", "q"), [(20, 0.95), (100, 0.95), (100, 0.99), (30, 0.5)])
def test_a_quantile_of_few_values_is_too_low_on_average(n: int, q: float) -> None:
    place = (n - 1) * q
    below, above = (scipy_stats.beta(k, n + 1 - k).mean() for k in (int(place) + 1, int(place) + 2))
    level = below + (above - below) * (place - int(place))
    assert expected_level(n, q) == pytest.approx(level)
    drawn = np.quantile(np.random.default_rng(n).random((20_000, n)), q, axis=1)
    assert drawn.mean() == pytest.approx(level, abs=0.002)


@pytest.mark.parametrize("q", [0.5, 0.95])
@pytest.mark.parametrize("clusters", [None, np.repeat(np.arange(50), 4)])
def test_equal_values_have_a_quantile_and_no_interval_without_width(q: float, clusters: np.ndarray | None) -> None:
    result = quantile(np.full(200, 900.0), q, clusters=clusters)
    assert (result.value, result.high, result.n) == (900.0, None, 200)
    assert result.low is None or "do not bound p95" in result.reason  # few clusters have no upper limit anyway
    # the trap: a clock of 10 ms, by which half of the times are one
    coarse = quantile(np.repeat([10.0, 20.0, 30.0], [40, 120, 40]), 0.5)
    assert (coarse.value, coarse.low, coarse.high) == (20.0, None, None)
    assert coarse.reason == "both limits of p50 are 20: the values are too coarse for an interval"
    lost = quantile([*[900.0] * 150, *[1000.0] * 50], 0.5, [False] * 150 + [True] * 50)
    assert (lost.value, lost.low, lost.high) == (900.0, None, None)


# --- quantile, by clusters


def conversations_of_times(seed: int, conversations: int, turns: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(conversations, 1)) + rng.normal(size=(conversations, turns))
    return np.exp(own).ravel(), np.repeat(np.arange(conversations), turns)


@pytest.mark.parametrize("q", [0.5, 0.95, 0.99])
def test_a_cluster_for_each_value_is_none(q: float) -> None:
    values, _ = conversations_of_times(1, 250, 2)
    flags = np.random.default_rng(2).random(500) < 0.05
    assert quantile(values, q, flags, clusters=np.arange(500)) == quantile(values, q, flags)


def test_copies_of_a_time_bound_its_quantile_no_closer() -> None:
    # the trap: four copies of each of 101 times taken for 404 that are independent
    alone = np.random.default_rng(3).permutation(np.arange(1.0, 102.0))
    copied, clusters = np.repeat(alone, 4), np.repeat(np.arange(101), 4)
    result, of_one_each, taken_apart = (
        quantile(copied, 0.5, clusters=clusters),
        quantile(alone, 0.5),
        quantile(copied, 0.5),
    )
    assert result.low <= of_one_each.low < taken_apart.low
    assert result.high >= of_one_each.high > taken_apart.high
    assert (result.value, result.n) == (51, 404)
    assert result.low >= of_one_each.low - 2
    assert result.high <= of_one_each.high + 2


def test_the_interval_of_a_clustered_quantile_is_that_of_its_effective_sample_size() -> None:
    values, clusters = conversations_of_times(4, 60, 5)
    result = quantile(values, 0.5, clusters=clusters)
    # Woodruff 1952: the share at or below the quantile, by the score interval solved for its n
    share = proportion(values <= np.sort(values)[149], clusters)
    effective = int(_n_of_score_interval(share))
    assert 60 < effective < 200
    low, high = (scipy_stats.binom.ppf(tail, effective, 0.5) for tail in (0.025, 0.975))
    ranks = (low - 1) * 300 // effective + 1, -(-(high + 1) * 300 // effective)
    assert (result.low, result.high) == tuple(np.sort(values)[int(rank) - 1] for rank in ranks)


def _n_of_score_interval(share: Estimate) -> float:
    z = scipy_stats.norm.ppf(0.975)
    # from the middle of the interval, (p + z²/2n) / (1 + z²/n), but p = 1/2 leaves its width alone
    half, p = (share.high - share.low) / 2, share.value
    return scipy_optimize.brentq(
        lambda n: z * np.sqrt(p * (1 - p) / n + z**2 / 4 / n**2) / (1 + z**2 / n) - half, 1, 1e6, xtol=1e-9
    )


@pytest.mark.parametrize(("conversations", "bounded"), [(30, False), (39, False), (40, True)])
def test_few_clusters_beyond_a_quantile_count_as_one_sample_each(conversations: int, bounded: bool) -> None:
    values = np.random.default_rng(5).random(conversations * 10)
    result = quantile(values, 0.95, clusters=np.repeat(np.arange(conversations), 10))
    assert (result.high is not None) == bounded
    assert result.value is not None
    assert result.low is not None
    if not bounded:
        assert (
            result.reason == f"{10 * conversations} samples in {conversations} clusters do not bound p95 on both sides"
        )


def test_times_of_one_cluster_have_no_interval() -> None:
    result = quantile(np.arange(50.0), 0.5, clusters=["a"] * 50)
    assert (result.value, result.low, result.high) == (24.5, None, None)
    assert result.reason == "all 50 samples are of one cluster: an interval needs two"
    with pytest.raises(ValueError, match="2 cluster labels were given for 3 values"):
        quantile([1.0, 2.0, 3.0], 0.5, clusters=[1, 2])


def test_one_large_cluster_counts_no_more_than_its_part_of_the_sample() -> None:
    # the trap: 45 clusters, of which one holds nearly all values, taken for 45 samples
    rng = np.random.default_rng(6)
    sizes = [970] + [1] * 44
    values = np.repeat(rng.normal(size=45) * 10, sizes) + rng.normal(size=sum(sizes))
    result = quantile(values, 0.95, clusters=np.repeat(np.arange(45), sizes))
    assert (result.low, result.high) == (None, None)


def test_time_outs_of_clusters_bound_the_quantile_from_below_alone() -> None:
    values, clusters = conversations_of_times(7, 100, 4)
    lost = values > np.quantile(values, 0.9)
    result = quantile(np.minimum(values, np.quantile(values, 0.9)), 0.5, lost, clusters=clusters)
    whole = quantile(values, 0.5, clusters=clusters)
    assert (result.low, result.high) == (whole.low, whole.high)
    tail = quantile(np.minimum(values, np.quantile(values, 0.9)), 0.95, lost, clusters=clusters)
    assert (tail.value, tail.high) == (None, None)
    assert tail.low is not None


def test_interval_of_a_clustered_median_holds_the_truth() -> None:
    held = [0, 0]
    for seed in range(400):
        values, clusters = conversations_of_times(seed, 60, 4)
        for way, result in enumerate((quantile(values, 0.5, clusters=clusters), quantile(values, 0.5))):
            held[way] += result.low <= 1 <= result.high
    assert held[0] >= 372  # 93 %
    assert held[1] < 360


# --- quantile, censored


def test_censored_quantile_of_the_published_example() -> None:
    # fan belts, Conover (1999): events at 47, 56, 77, 80, 81, withdrawals at 37, 43, 60, 62, 71
    miles = [77, 47, 81, 56, 80, 62, 60, 43, 71, 37]
    withdrawn = [False] * 5 + [True] * 5
    # the curve by hand: 7/8 at 47, 6/8 at 56, 4/8 at 77, 2/8 at 80, 0 at 81
    assert quantile(miles, 0.25, withdrawn).value == 56
    assert quantile(miles, 0.5, withdrawn).value == 77
    assert quantile(miles, 0.75, withdrawn).value == 80


def test_time_outs_move_the_quantiles_and_are_never_dropped() -> None:
    answered = np.arange(1.0, 81.0)
    values, timed_out = np.append(answered, [100.0] * 20), np.repeat([False, True], [80, 20])
    result = quantile(values, 0.75, timed_out)
    assert (result.value, result.n) == (75.0, 100)
    assert quantile(answered, 0.75).value == pytest.approx(60.25)
    ranks = scipy_stats.binom(100, 0.75).ppf([0.025, 0.975])
    assert result.low == ranks[0]
    # rank 83 is among the time-outs: nothing bounds the quantile from above
    assert ranks[1] + 1 > 80
    assert result.high is None


@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=80), st.integers(1, 19))
@settings(max_examples=200, deadline=None)
def test_censored_quantile_is_that_of_scipys_kaplan_meier_curve(rows: list[tuple[int, bool]], step: int) -> None:
    q = step / 20
    values, lost = np.array([value for value, _ in rows], dtype=float), np.array([flag for _, flag in rows])
    result = quantile(values, q, lost)
    if not lost.any() or result.n < 1 / min(q, 1 - q):
        return
    curve = scipy_stats.ecdf(scipy_stats.CensoredData.right_censored(values, lost)).sf
    down = np.flatnonzero(np.asarray(curve.probabilities) <= 1 - q + 1e-12)
    assert result.value == (curve.quantiles[down[0]] if down.size else None)


def test_several_quantiles_are_each_as_if_alone() -> None:
    rng = np.random.default_rng(2)
    values, lost = rng.gamma(4, 20, 500), rng.random(500) < 0.1
    for flags in (None, lost):
        assert quantiles(values, (0.5, 0.95, 0.99), flags) == [quantile(values, q, flags) for q in (0.5, 0.95, 0.99)]


def test_quantile_among_the_time_outs_is_missing_with_its_bound() -> None:
    values, timed_out = [1.0, 2.0, 3.0, 30000.0, 30000.0, 30000.0, 30000.0], [False] * 3 + [True] * 4
    result = quantile(values, 0.5, timed_out)
    assert result == Estimate(None, 1.0, None, 7, "p50 is more than 30,000: 4 of 7 values are lower bounds")


def test_all_timed_out_is_missing_with_its_bound() -> None:
    result = quantile([5.0, 5.0], 0.5, [True, True])
    assert (result.value, result.reason) == (None, "p50 is more than 5: 2 of 2 values are lower bounds")


@given(
    st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=60), st.sampled_from([0.25, 0.5, 0.75])
)
@settings(max_examples=80, deadline=None)
def test_censored_quantile_lies_in_its_interval(rows: list[tuple[int, bool]], q: float) -> None:
    values, flags = [float(value) for value, _ in rows], [flag for _, flag in rows]
    result = quantile(values, q, flags)
    if result.value is not None:
        assert result.low is None or result.low <= result.value
        assert result.high is None or result.value <= result.high


@given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), max_size=30))
@settings(deadline=None)
def test_the_median_is_that_of_quantile(samples):
    values = np.array([value for value, _ in samples], dtype=float)
    censored = np.array([flag for _, flag in samples], dtype=bool)
    expected = quantile(values, 0.5, censored).value
    assert median(values, censored) == (None if expected is None else pytest.approx(expected, rel=1e-12))
