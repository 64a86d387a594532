import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.regression.linear_model import OLS

from evalkit.stats.estimate import Estimate
from evalkit.stats.means import doubt, mean
from evalkit.stats.proportions import proportion


def test_mean_without_clusters_is_the_t_interval_of_scipy() -> None:
    values = np.random.default_rng(1).gamma(2, 300, 23)
    expected = scipy_stats.ttest_1samp(values, 0).confidence_interval(0.9)
    result = mean(values, confidence=0.9)
    assert (result.low, result.high, result.n) == pytest.approx((expected.low, expected.high, 23))


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.integers(0, 7)), min_size=4, max_size=50), st.sampled_from([0, 1e6]))
@settings(max_examples=60, deadline=None)
def test_clustered_mean_is_cluster_robust_ols_of_statsmodels(rows: list[tuple[float, int]], far: float) -> None:
    values, clusters = np.array([value for value, _ in rows]) + far, np.array([cluster for _, cluster in rows])
    result = mean(values, clusters)
    if result.low is None:
        return
    fit = OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    low, high = fit.conf_int()[0]
    assert (result.value, result.low, result.high) == pytest.approx((fit.params[0], low, high), rel=1e-6, abs=1e-6)


def test_clusters_of_equal_size_are_a_t_test_of_their_means() -> None:
    rows = np.random.default_rng(2).normal(size=(9, 4))
    expected = scipy_stats.ttest_1samp(rows.mean(axis=1), 0).confidence_interval()
    result = mean(rows.ravel(), np.repeat(list("abcdefghi"), 4))
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high))


def test_mean_is_missing_where_it_is_not_available() -> None:
    assert mean([]) == Estimate(None, None, None, 0, "no samples")
    assert mean([3.0]) == Estimate(3.0, None, None, 1, "one sample")
    assert mean([1, 2], ["a", "a"]).reason == "all 2 samples are of one cluster: an interval needs two"
    # a standard error of 0 would be a lie, also where only the clusters' means are equal, or nearly so
    for values in ([0.1] * 6, [0, 1, 0, 1, 1, 0], [0.1 + 0.2, 0.3, 0.3, 0.3, 0.3, 0.3]):
        result = mean(values, [1, 1, 2, 2, 3, 3])
        assert (result.low, result.high) == (None, None)
        assert result.reason == "all 3 clusters have the same mean: the variance cannot be estimated"
    for values in ([1, math.nan], [[1, 2]]):
        with pytest.raises(ValueError, match=r"NaN or infinity|one-dimensional"):
            mean(values)
    with pytest.raises(ValueError, match="1 cluster labels were given for 2 values"):
        mean([1, 2], [1])


@pytest.mark.parametrize("labels", [[5, 5, 7, 9], ["b", "b", "a", "c"], [9, 9, 2, 2_000_000_000], [1.5, 1.5, 0.5, 2.5]])
def test_labels_in_and_out_of_order_mean_the_same(labels: list) -> None:
    assert mean([1.0, 2.0, 4.0, 8.0], labels) == pytest.approx(mean([1.0, 2.0, 4.0, 8.0], [0, 0, 1, 2]))


# --- doubt


@pytest.mark.parametrize(
    ("clusters", "value", "said"),
    [
        (30, 0.95, "The wrong answers amount to 1.5 of 30 conversations,"),
        (1000, 0.003, "The right answers amount to 3 of 1,000 conversations,"),
        (10, 0.6, None),
        (8, 0.8, None),  # a few conversations of any accuracy are no cause: the interval is wide, and holds the truth
        (8, 0.95, "The wrong answers amount to 0.4 of 8 conversations,"),
        (80, 0.95, None),  # 1 - 0.95 is not 0.05 in binary
        (79, 0.95, "The wrong answers amount to 4 of 79 conversations,"),
        (30, 1.0, None),
        (30, 0.0, None),
    ],
)
def test_doubt_is_reported_where_few_clusters_have_the_rarer_answer(
    clusters: int, value: float, said: str | None
) -> None:
    result = doubt(clusters, value)
    assert result is None if said is None else result is not None and result.startswith(said)


def test_doubt_does_not_speak_of_scores_that_are_never_wrong() -> None:
    assert doubt(30, 0.95, graded=0.3) is not None
    assert doubt(30, 0.95, graded=0.9) is None


def test_doubt_does_not_speak_where_eight_conversations_have_an_interval_that_holds_the_truth() -> None:
    # of 4 turns with a correlation of 0.3: the interval holds the truth in 95 % or more
    for accuracy in (0.5, 0.8, 0.9, 0.95):
        rng = np.random.default_rng(9)
        share = rng.beta(accuracy * 7 / 3, (1 - accuracy) * 7 / 3, (600, 8, 1))
        rows = (rng.random((600, 8, 4)) < share).astype(float)
        result = [proportion(row.ravel(), np.repeat(np.arange(8), 4)) for row in rows]
        assert np.mean([each.low <= accuracy <= each.high for each in result]) > 0.93
        assert not any(doubt(8, each.value, n=each.n) for each in result)
    # of 20 turns it does not always
    assert doubt(8, 0.95, n=160) is not None


def test_doubt_speaks_of_the_intervals_that_are_too_short() -> None:
    # 30 conversations of 4 turns, accuracy 0.95, correlation 0.7: few wrong turns make the interval too short above
    rng = np.random.default_rng(3)
    share = rng.beta(0.95 * 3 / 7, 0.05 * 3 / 7, (600, 30, 1))
    rows = (rng.random((600, 30, 4)) < share).astype(float)
    result = [proportion(row.ravel(), np.repeat(np.arange(30), 4)) for row in rows]
    short = [each for each in result if each.low > 0.95]
    assert len(short) > 0.045 * 600  # 2.5 % of the runs were due
    assert all(doubt(30, each.value) for each in short)
