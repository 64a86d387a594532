import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.proportion import proportion_confint

from evalkit.stats.estimate import Estimate
from evalkit.stats.proportions import clopper_pearson, proportion, score_limits


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


# --- counts

COUNTS = [(0, 1), (1, 1), (0, 12), (7, 12), (12, 12), (350, 1000), (999_999, 1_000_000)]


@pytest.mark.parametrize(("right", "n"), COUNTS)
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_limits_of_counts_are_those_of_scipy_and_statsmodels(right: int, n: int, confidence: float) -> None:
    exact = clopper_pearson(right, n, confidence)
    assert (exact.value, exact.n, exact.reason) == (right / n, n, None)
    for limits, scipys, statsmodels in (
        ((exact.low, exact.high), "exact", "beta"),
        (score_limits(right / n, n, confidence), "wilson", "wilson"),
    ):
        expected = scipy_stats.binomtest(right, n).proportion_ci(confidence, method=scipys)
        assert limits == pytest.approx((expected.low, expected.high), abs=1e-9)
        assert limits == pytest.approx(proportion_confint(right, n, 1 - confidence, method=statsmodels), abs=1e-9)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617), (0, 20, 0.0, 0.1684), (1, 29, 0.0009, 0.1776)],
)
def test_clopper_pearson_gives_the_published_limits(right: int, n: int, low: float, high: float) -> None:
    # R. G. Newcombe, Statistics in Medicine 17 (1998) 857–872, table I, method 5
    result = clopper_pearson(right, n)
    assert (result.low, result.high) == pytest.approx((low, high), abs=5e-5)


def test_score_limits_of_a_count_are_those_of_proportion_of_its_values() -> None:
    assert Estimate(7 / 12, *score_limits(7 / 12, 12), 12) == proportion([1] * 7 + [0] * 5)


def test_counts_that_cannot_be_and_none_at_all() -> None:
    assert clopper_pearson(0, 0) == Estimate(None, None, None, 0, "no samples")
    for right, n in ((-1, 3), (4, 3)):
        with pytest.raises(ValueError, match="the first number must be from 0 to the second"):
            clopper_pearson(right, n)
    with pytest.raises(ValueError, match="confidence is 95"):
        clopper_pearson(1, 2, 95)
