import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize as scipy_optimize
from scipy import stats as scipy_stats

from evalkit.analysis.client_trust import client_bound
from evalkit.stats.estimate import Estimate, independent_difference
from evalkit.stats.proportions import proportion
from evalkit.stats.quantiles import expected_level, quantile, quantiles


def ones(right: int, n: int) -> np.ndarray:
    return np.repeat([1.0, 0.0], [right, n - right])


# --- proportion, independent values


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 12), (7, 12), (12, 12), (350, 1000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_proportion_is_scipys_wilson_interval(right: int, n: int, confidence: float) -> None:
    result = proportion(ones(right, n), confidence=confidence)
    expected = scipy_stats.binomtest(right, n).proportion_ci(confidence_level=confidence, method="wilson")
    assert (result.value, result.n, result.reason) == (right / n, n, None)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_proportion_gives_the_published_limits(right: int, n: int, low: float, high: float) -> None:
    # R. G. Newcombe, Statistics in Medicine 17 (1998) 857–872, table I, method 3
    result = proportion(ones(right, n))
    assert (result.low, result.high) == pytest.approx((low, high), abs=5e-5)


def test_proportion_takes_booleans_and_partial_credit() -> None:
    assert proportion([True, False, True, True]).value == 0.75
    graded, right = proportion([0.5, 1.0, 0.0, 0.5]), proportion([1, 1, 0, 0])
    assert graded.value == right.value
    assert right.low < graded.low < graded.high < right.high


def test_proportion_without_samples_is_missing_with_the_reason() -> None:
    assert proportion([]) == proportion([], clusters=[]) == Estimate(None, None, None, 0, "no samples")


@pytest.mark.parametrize("values", [[0, 1.01], [-0.1, 1], [math.nan, 1], [[0, 1]]])
def test_proportion_refuses_what_is_no_share(values: list) -> None:
    with pytest.raises(ValueError, match=r"from 0 to 1|NaN|one-dimensional"):
        proportion(values)


# --- proportion, clustered values


def survey_limits(values: list[float], clusters: list[str]) -> tuple[float, float]:
    """Limits by the long way: totals in a dictionary, SciPy's distributions, the roots of the score equation."""
    n, p = len(values), sum(values) / len(values)
    totals: dict[str, float] = {}
    for value, cluster in zip(values, clusters, strict=True):
        totals[cluster] = totals.get(cluster, 0.0) + (value - p) / n
    k = len(totals)
    standard_error = math.sqrt(k * np.var(list(totals.values()), ddof=1))
    independent = math.sqrt(p * (1 - p) / (n - 1))
    # the share by which values vary less than right and wrong would
    graded = len({cluster for value, cluster in zip(values, clusters, strict=True) if 0 < value < 1})
    saved = (1 - np.var(values) / (p * (1 - p))) * graded / (graded + 0.25)
    n_eff = n / max((standard_error / independent) ** 2, 1 - saved)
    of_values, of_clusters = (scipy_stats.t(count - 1).isf(0.025) ** 2 for count in (n, k))
    n_eff *= ((1 - saved) * of_values + saved * scipy_stats.norm.isf(0.025) ** 2) / of_clusters
    z2 = scipy_stats.norm.isf(0.025) ** 2
    low, high = np.sort(np.roots([1 + z2 / n_eff, -(2 * p + z2 / n_eff), p * p]).real)
    return float(low), float(high)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_clustered_proportion_agrees_with_the_long_way(data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.tuples(st.integers(0, 1), st.sampled_from("abcdefgh")), min_size=4, max_size=60))
    values, clusters = [float(value) for value, _ in rows], [cluster for _, cluster in rows]
    if len(set(clusters)) < 2 or len(set(values)) < 2:
        return
    result = proportion(values, clusters)
    assert (result.low, result.high) == pytest.approx(survey_limits(values, clusters), abs=1e-9)


@pytest.mark.parametrize("scores", [(0.0, 0.7, 1.0), (0.25, 0.5, 0.75), (0.0, 0.31, 0.64, 1.0)])
@pytest.mark.parametrize("turns", [1, 4])
def test_interval_of_graded_scores_agrees_with_the_long_way(scores: tuple[float, ...], turns: int) -> None:
    values = np.random.default_rng(len(scores)).choice(scores, 12 * turns)
    clusters = np.repeat(list("abcdefghijkl"), turns)
    result = proportion(values, clusters)
    assert (result.low, result.high) == pytest.approx(survey_limits(values.tolist(), clusters.tolist()), abs=1e-9)


@pytest.mark.parametrize("turns", [1, 4])
@pytest.mark.parametrize("conversations", [30, 200])
@pytest.mark.parametrize(("a", "b"), [(8, 2), (40, 10), (2, 38)])
def test_interval_of_graded_scores_is_as_wide_as_their_own_spread(
    turns: int, conversations: int, a: int, b: int
) -> None:
    # the trap: scores near 0.8 vary a third, or an eighth, as much as right and wrong of that accuracy
    values = np.random.default_rng(7).beta(a, b, conversations * turns)
    result = proportion(values, np.repeat(np.arange(conversations), turns))
    own = np.var(values.reshape(-1, turns).mean(axis=1), ddof=1)
    half = scipy_stats.t(conversations - 1).isf(0.025) * math.sqrt(own / conversations)
    assert 0.95 * half < (result.high - result.low) / 2 < 1.6 * half


@pytest.mark.parametrize("conversations", [8, 30, 100])
@pytest.mark.parametrize("kind", ["f1", "judge", "weighted"])
@pytest.mark.parametrize("turns", [1, 4])
def test_interval_of_graded_scores_holds_the_truth(kind: str, conversations: int, turns: int) -> None:
    rng = np.random.default_rng(conversations)
    shape = (600, conversations, turns)
    if kind == "f1":
        luck = rng.random(shape)
        rows, truth = np.where(luck < 0.25, 0, np.where(luck > 0.55, 1, (luck - 0.25) / 0.3)), 0.6
    elif kind == "judge":
        rows, truth = rng.choice([0, 0.25, 0.5, 0.75, 1], shape, p=[0.03, 0.07, 0.15, 0.45, 0.3]), 0.73
    else:
        rows, truth = 0.7 * (rng.random(shape) < 0.8) + 0.3 * (rng.random(shape) < 0.6), 0.74
    clusters = np.repeat(np.arange(conversations), turns)
    result = [proportion(row.ravel(), clusters) for row in rows]
    assert np.mean([each.low <= truth <= each.high for each in result]) > 0.92


@pytest.mark.parametrize("value", [0.3, 0.5, 0.8])
def test_equal_graded_scores_count_a_cluster_as_one_sample(value: float) -> None:
    # the trap: no variance was seen, and none is taken for certain
    result = proportion(np.full(120, value), np.repeat(np.arange(30), 4))
    assert result.high - result.low > 0.2
    assert result == proportion(np.full(120, value), np.repeat(np.arange(30), 4))
    assert proportion([value] * 8).low < value - 0.15


def test_one_graded_score_among_right_and_wrong_changes_the_interval_little() -> None:
    whole, one = proportion(ones(20, 25)), proportion([*ones(20, 25)[:-1], 0.02])
    assert (one.low, one.high) == pytest.approx((whole.low, whole.high), abs=0.01)


def test_clusters_of_one_are_independent_values() -> None:
    values = ones(7, 20)
    assert proportion(values, clusters=range(20)) == proportion(values)
    assert proportion([1.0], clusters=["a"]) == proportion([1.0])


def test_turns_that_repeat_their_conversation_add_nothing() -> None:
    values, clusters = ones(12, 30), np.arange(30)
    alone, result = proportion(values), proportion(np.repeat(values, 4), np.repeat(clusters, 4))
    assert result.n == 120
    # four copies: a design effect of 4, but for the small-sample factors
    assert (result.low, result.high) == pytest.approx((alone.low, alone.high), abs=0.01)


def test_all_right_counts_a_cluster_as_one_sample() -> None:
    result = proportion(np.ones(120), np.repeat(np.arange(30), 4))
    assert result.high == 1.0
    assert result.low == pytest.approx(proportion(np.ones(30)).low, abs=0.01)


def test_one_cluster_has_a_value_but_no_interval() -> None:
    result = proportion([1, 0, 1], clusters=["a", "a", "a"])
    assert result == Estimate(2 / 3, None, None, 3, "all 3 samples are of one cluster: an interval needs two")


def test_clusters_must_be_as_many_as_values() -> None:
    with pytest.raises(ValueError, match="2 cluster labels were given for 3 values"):
        proportion([1, 0, 1], clusters=[1, 2])


def test_clustered_interval_covers_where_the_plain_one_does_not() -> None:
    # beta-binomial clusters: mean 0.35, intra-cluster correlation 0.3, 60 clusters of 4
    rng = np.random.default_rng(20260)
    truth, icc, clusters = 0.35, 0.3, np.repeat(np.arange(60), 4)
    total = 1 / icc - 1
    robust = plain = 0
    for _ in range(1000):
        shares = rng.beta(truth * total, (1 - truth) * total, 60)
        values = rng.random(240) < np.repeat(shares, 4)
        result, naive = proportion(values, clusters), proportion(values)
        robust += result.low <= truth <= result.high
        plain += naive.low <= truth <= naive.high
    assert robust >= 920
    assert plain < 890


@given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), min_size=2, max_size=40))
@settings(max_examples=60, deadline=None)
def test_numbers_with_gaps_and_names_label_the_same_clusters(rows: list[tuple[int, bool]]) -> None:
    labels, right = [label for label, _ in rows], [float(flag) for _, flag in rows]
    named = proportion(right, [f"cluster {label:03}" for label in labels])
    assert proportion(right, np.array(labels, dtype=np.int32)) == named
    assert proportion(right, np.array(labels) + 10**9) == named


# --- quantile


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


# --- difference


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((48, 80), (56, 70), 0.0524, 0.3339),
        ((3, 10), (9, 10), 0.1705, 0.8090),
        ((0, 29), (5, 56), -0.0381, 0.1926),
        ((0, 20), (0, 10), -0.1611, 0.2775),
        ((0, 20), (10, 10), 0.6791, 1.0),
    ],
)
def test_difference_gives_the_published_limits(first: tuple, second: tuple, low: float, high: float) -> None:
    # R. G. Newcombe, Statistics in Medicine 17 (1998) 873–890, table II, method 10
    result = independent_difference(proportion(ones(*first)), proportion(ones(*second)))
    assert result.value == pytest.approx(second[0] / second[1] - first[0] / first[1])
    assert (result.low, result.high) == pytest.approx((low, high), abs=5e-5)
    assert result.n == min(first[1], second[1])


def test_difference_is_missing_where_one_side_is() -> None:
    whole, open_ended, none = Estimate(0.5, 0.4, 0.6, 9), Estimate(0.7, 0.6, None, 5, "open"), quantile([], 0.5)
    assert independent_difference(whole, none) == Estimate(None, None, None, 0, "no samples")
    result = independent_difference(open_ended, whole)
    assert result == Estimate(pytest.approx(-0.2), None, None, 5, "open")


# --- trust


@pytest.mark.parametrize(
    ("lag", "time", "expected"),
    [
        (9.7, 300.0, False),
        (5.5, 770.0, False),
        (9.0, 45.0, True),
        (5.0, 100.0, False),
        (5.1, 100.0, True),
        (0.6, 10.0, True),
        (4.0, None, None),
        (None, 20.0, None),
    ],
)
def test_client_bound_is_more_than_a_twentieth_of_the_time_that_is_shown(
    lag: float | None, time: float | None, expected: bool | None
) -> None:
    assert client_bound(lag, time) is expected
