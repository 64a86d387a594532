import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.power import TTestPower

from evalkit.stats import bootstrap_quantiles
from evalkit.stats.estimate import Estimate
from evalkit.stats.paired import (
    Difference,
    McNemar,
    difference,
    doubt,
    mcnemar,
    quantile_difference,
    smallest_decidable,
)


def two_models(seed: int, conversations: int, turns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right and wrong of two models that find the same turns hard, and their conversations."""
    rng = np.random.default_rng(seed)
    share, luck = rng.beta(2, 1, (conversations, 1)), rng.random((conversations, turns))
    other = np.where(rng.random(luck.shape) < 0.5, luck, rng.random(luck.shape))
    clusters = np.repeat(np.arange(conversations), turns)
    return (luck < share).ravel().astype(float), (other < share**0.8).ravel().astype(float), clusters


# --- difference


def test_difference_is_cluster_robust_ols_of_statsmodels() -> None:
    first, second, clusters = two_models(1, 40, 6)
    kept = np.random.default_rng(2).random(240) < 0.6  # conversations of unequal size
    first, second, clusters = first[kept], second[kept], clusters[kept]
    assert len(set(np.bincount(clusters))) > 3
    result = difference(first, second, clusters, confidence=0.9)
    fit = OLS(second - first, np.ones(len(first))).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    low, high = fit.conf_int(0.1)[0]
    assert (result.estimate.value, result.se, result.p) == pytest.approx((fit.params[0], fit.bse[0], fit.pvalues[0]))
    assert (result.estimate.low, result.estimate.high) == pytest.approx((low, high))
    assert (result.estimate.n, result.clusters, result.estimate.reason) == (len(first), len(set(clusters)), None)


def test_difference_without_clusters_is_the_paired_t_test_of_scipy() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.gamma(4, 20, 30), rng.gamma(4, 21, 30)
    expected = scipy_stats.ttest_rel(second, first)
    limits = expected.confidence_interval()
    result = difference(first, second)
    assert (result.p, result.estimate.low, result.estimate.high) == pytest.approx(
        (expected.pvalue, limits.low, limits.high)
    )


def test_sleep_of_ten_patients() -> None:
    # Student, Biometrika 6 (1908): hours gained by two drugs; t = 4.0621 in R. A. Fisher, Statistical Methods, § 24
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    result = difference(first, second)
    assert result.estimate.value == pytest.approx(1.58)
    assert result.estimate.value / result.se == pytest.approx(4.0621, abs=5e-5)
    assert result.p == pytest.approx(0.0028, abs=5e-5)


def test_p_is_below_a_level_just_where_its_interval_leaves_zero_out() -> None:
    shown = []
    for seed, level in itertools.product(range(24), (0.8, 0.95)):
        result = difference(*two_models(seed, 12, 3), confidence=level)
        shown.append(result.estimate.low > 0 or result.estimate.high < 0)
        assert (result.p is not None and result.p < 1 - level) == shown[-1]
    assert 4 < sum(shown) < 40


def test_copies_of_a_turn_decide_nothing() -> None:
    # the trap: McNemar's test and the unclustered one take four copies for four times the evidence
    first, second, _ = two_models(5, 60, 1)
    alone = difference(first, second)
    copied = difference(np.repeat(first, 4), np.repeat(second, 4), np.repeat(np.arange(60), 4))
    assert (copied.p, copied.se) == pytest.approx((alone.p, alone.se))
    assert difference(np.repeat(first, 4), np.repeat(second, 4)).p < alone.p / 2


def test_false_positives_of_clustered_pairs_are_five_percent_and_mcnemars_are_not() -> None:
    rng = np.random.default_rng(6)
    clusters, robust, plain = np.repeat(np.arange(50), 4), 0, 0
    for _ in range(800):
        mine, yours = (rng.beta(0.5, 0.5, (50, 1)) for _ in range(2))
        first, second = ((rng.random((50, 4)) < share).ravel().astype(float) for share in (mine, yours))
        robust += difference(first, second, clusters).p <= 0.05
        plain += mcnemar(int((first > second).sum()), int((second > first).sum())).exact_p <= 0.05
    assert 24 <= robust <= 60  # 40 expected, three standard deviations
    assert plain > 120


def test_no_difference_at_all_is_bounded_by_clusters_and_not_by_turns() -> None:
    right = [1.0, 0.0, 1.0, 1.0] * 30
    result = difference(right, right, np.repeat(np.arange(30), 4))
    # the exact limit of a share of which none of 30 was seen
    bound = scipy_stats.binomtest(0, 30).proportion_ci(method="exact").high
    assert (result.estimate.value, result.estimate.low, result.estimate.high) == pytest.approx((0.0, -bound, bound))
    assert (result.p, result.se, result.clusters, result.differing) == (None, None, 30, 0)
    assert result.estimate.reason == (
        "0 of 30 clusters differ, too few for a test: the limits are what this number does not rule out"
    )
    assert smallest_decidable(result) is None


def the_long_way(values: list[float], confidence: float = 0.95) -> tuple[float, float]:
    """Limits of clusters of one pair with these differences: every mean on a grid is asked about by itself."""
    k, mean, error = len(values), np.mean(values), np.std(values, ddof=1) / math.sqrt(len(values))
    differing = sum(value != 0 for value in values)
    t = scipy_stats.t(k - 1)
    least_p = 2.0**-differing
    p = max(2 * t.sf(abs(mean) / error), least_p) if error else least_p
    moves = (np.abs(values).sum() / k + 1 / k) / (differing + 1)
    unseen = (((1 - confidence) / 2) ** -moves - 1) * max(1 - differing / 15, 0)
    grid = np.linspace(-1, 1, 400_001)
    beyond = np.maximum(np.maximum(min(0, mean) - grid, grid - max(0, mean)), 0)
    away = (grid - mean) * (1 if mean >= 0 else -1) >= 0
    spread = np.where(away, error, abs(mean) / t.isf(p / 2) if mean else error)
    held = (grid - mean) ** 2 <= (t.isf((1 - confidence) / 2) * spread) ** 2 + unseen * beyond * (1 - beyond)
    down, up = (
        scipy_stats.binomtest(count, k).proportion_ci(method="exact").high
        for count in (sum(value < 0 for value in values), sum(value > 0 for value in values))
    )
    return max(float(grid[held].min()), -down), min(float(grid[held].max()), up)


@pytest.mark.parametrize("size", [0.25, 1.0])
@pytest.mark.parametrize(("up", "down"), [(1, 0), (4, 0), (0, 4), (3, 1), (5, 0), (5, 2), (2, 9), (14, 3), (4, 4)])
def test_limits_of_few_that_differ_are_those_of_every_mean_asked_about(up: int, down: int, size: float) -> None:
    values = [size] * up + [-size] * down + [0.0] * (40 - up - down)
    result = difference(np.maximum(np.negative(values), 0), np.maximum(values, 0))
    assert (result.estimate.low, result.estimate.high) == pytest.approx(the_long_way(values), abs=1e-5)
    assert (result.p is None, result.differing) == (up + down < 5, up + down)


@pytest.mark.parametrize("clusters", [2, 3, 5])
def test_a_handful_of_clusters_is_bounded_by_their_counts(clusters: int) -> None:
    # the trap: Student's t of one degree of freedom leaves nothing out
    result = difference([0.0] * clusters, [1.0] + [0.0] * (clusters - 1)).estimate
    low = scipy_stats.binomtest(0, clusters).proportion_ci(method="exact").high
    high = scipy_stats.binomtest(1, clusters).proportion_ci(method="exact").high
    assert (result.low, result.high) == pytest.approx((-low, high))


def test_four_that_differ_have_no_p_and_do_not_decide() -> None:
    # the trap: the t-test of four that all go one way finds a difference, which one time in eight is chance
    second = np.repeat([1.0, 0.0], [4, 36])
    result = difference(np.zeros(160), np.repeat(second, 4), np.repeat(np.arange(40), 4))
    assert scipy_stats.ttest_1samp(second, 0).pvalue < 0.05
    assert (result.p, result.se, result.differing) == (None, None, 4)
    assert result.estimate.low < 0 < result.estimate.high
    assert result.estimate.reason.startswith("4 of 40 clusters differ")


@pytest.mark.parametrize("conversations", [30, 1000])
@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("down", [0, 1, 2])
def test_limits_have_no_cliff_as_one_more_conversation_differs(conversations: int, size: int, down: int) -> None:
    # four of 1,000 conversations with one turn of four each: limits five times those of five such conversations
    def width(up: int) -> float:
        second = np.zeros((conversations, 4))
        second[:up, :size], first = 1.0, np.zeros((conversations, 4))
        first[up : up + down, :size] = 1.0
        result = difference(first.ravel(), second.ravel(), np.repeat(np.arange(conversations), 4)).estimate
        return result.high - result.low

    widths = [width(up) for up in range(1, 25)]
    assert all(0.75 < after / before < 1.35 for before, after in itertools.pairwise(widths))


@pytest.mark.parametrize("last", [0.0, 0.25, 0.75])
def test_limits_have_no_cliff_where_nearly_all_go_alike(last: float) -> None:
    # the trap: ten that agree are bounded by their number, and nine with a tenth that does not by next to nothing
    alike = difference(np.zeros(10), np.ones(10))
    nearly = difference(np.zeros(10), [1.0] * 9 + [last])
    assert (alike.p, alike.se) == (pytest.approx(2**-9), None)
    assert 2**-10 <= nearly.p <= 0.01
    assert nearly.estimate.low == pytest.approx(alike.estimate.low, abs=0.15)
    assert difference(np.zeros(10), np.full(10, 0.25)).estimate.low > 0


def test_interval_of_few_that_differ_holds_the_truth() -> None:
    # ten of 100 conversations are truly better and two worse: with five to nine found, a t interval held it in 86 %
    rng = np.random.default_rng(5)
    labels, held, few = np.repeat(np.arange(100), 4), [], []
    for _ in range(1500):
        luck = rng.random(100)
        apart = np.where(luck < 0.1, 1.0, np.where(luck < 0.12, -1.0, 0.0))
        second, first = np.zeros((100, 4)), np.zeros((100, 4))
        second[:, 0], first[:, 0] = apart > 0, apart < 0
        result = difference(first.ravel(), second.ravel(), labels)
        held.append(result.estimate.low <= 0.02 <= result.estimate.high)
        few.append(5 <= result.differing < 10)
    assert np.mean(held) > 0.94
    assert np.mean(np.array(held)[few]) > 0.92


def test_a_large_cluster_that_differs_widens_the_limits_up_to_it() -> None:
    # the trap: one group of a hundred pairs counted as one of five
    labels = np.repeat(np.arange(5), [100, 1, 1, 1, 1])
    result = difference(np.zeros(104), labels == 0, labels)
    assert result.estimate.value == pytest.approx(100 / 104)
    assert result.estimate.low < -0.9
    assert result.estimate.high > 0.99
    assert result.estimate.reason.startswith("1 of 5 clusters differs, too few for a test")
    rng = np.random.default_rng(4)
    for _ in range(200):
        sizes = rng.integers(1, 30, 20)
        second = np.repeat(rng.choice([0.0, 0.25, 0.5, 1.0], 20, p=[0.05, 0.05, 0.85, 0.05]), sizes)
        result = difference(np.full(sizes.sum(), 0.5), second, np.repeat(np.arange(20), sizes)).estimate
        assert result.low <= result.value <= result.high


@pytest.mark.parametrize(("confidence", "least"), [(0.9, 4), (0.95, 5), (0.96875, 5), (0.99, 7)])
def test_a_p_needs_as_many_as_would_decide_if_all_went_one_way(confidence: float, least: int) -> None:
    assert mcnemar(0, least).mid_p <= 1 - confidence < mcnemar(0, least - 1).mid_p
    for differing in (least - 1, least):
        second = np.repeat([1.0, 0.0], [differing, 50 - differing])
        result = difference(np.zeros(50), second, confidence=confidence)
        assert (result.p is not None) == (differing == least)


def test_times_need_no_number_that_differ() -> None:
    # nearly all times differ, and nothing bounds them
    first, second = [100.0, 120.0, 130.0], [110.0, 125.0, 133.0]
    assert difference(first, second).p == pytest.approx(scipy_stats.ttest_rel(second, first).pvalue)


def test_all_better_is_the_sign_test_of_the_clusters() -> None:
    for conversations in (5, 6, 20):
        result = difference(np.zeros(2 * conversations), np.ones(2 * conversations), np.repeat(range(conversations), 2))
        assert (result.differing, result.p) == (
            conversations,
            pytest.approx(scipy_stats.binomtest(0, conversations).pvalue),
        )
        assert (result.p < 0.05) == (result.estimate.low > 0)
        assert result.estimate.high == 1.0


def test_clusters_that_all_cancel_out_have_no_zero_width_interval() -> None:
    result = difference([1, 0] * 12, [0, 1] * 12, np.repeat(range(12), 2))
    assert result.estimate.value == 0
    assert result.estimate.high > 0.2


def test_difference_is_missing_where_it_is_not_available() -> None:
    assert difference([], []) == Difference(Estimate(None, None, None, 0, "no pairs"), None, None, 0, 0)
    one = difference([0, 1], [1, 1], ["a", "a"])
    assert one == Difference(
        Estimate(0.5, None, None, 2, "all 2 samples are of one cluster: an interval needs two"), None, None, 1, 1
    )
    # of times nothing bounds what was not seen
    times = difference([100.0, 200.0], [105.0, 205.0])
    assert (times.estimate.low, times.p) == (None, None)
    assert times.estimate.reason == "all 2 clusters have the same mean: the variance cannot be estimated"
    with pytest.raises(ValueError, match="there are 3 first and 2 second values: pairs need equally many of both"):
        difference([1, 2, 3], [1, 2])


# --- smallest_decidable


@pytest.mark.parametrize(("clusters", "power", "confidence"), [(12, 0.8, 0.95), (30, 0.9, 0.95), (500, 0.8, 0.99)])
def test_smallest_decidable_is_that_of_statsmodels(clusters: int, power: float, confidence: float) -> None:
    # one value a cluster of standard deviation 2: statsmodels gives the effect in standard deviations
    result = Difference(Estimate(0.1, None, None, clusters), None, 2 / math.sqrt(clusters), clusters, clusters)
    effect = TTestPower().solve_power(nobs=clusters, alpha=1 - confidence, power=power)
    assert smallest_decidable(result, confidence, power) == pytest.approx(2 * effect, rel=1e-3)


def test_that_difference_is_decided_as_often_as_promised() -> None:
    rng = np.random.default_rng(8)
    noise = rng.normal(size=(1500, 15))
    smallest = smallest_decidable(Difference(Estimate(0, None, None, 15), None, 1 / math.sqrt(15), 15, 15))
    decided = [difference(np.zeros(15), row + smallest).p <= 0.05 for row in noise]
    assert np.mean(decided) == pytest.approx(0.8, abs=0.03)


def test_power_must_be_one() -> None:
    for power in (0.02, 1.0):
        with pytest.raises(ValueError, match="power is"):
            smallest_decidable(difference([0, 1, 1], [1, 1, 0]), power=power)


# --- mcnemar


@pytest.mark.parametrize(
    ("first", "second", "exact", "mid"),
    [(1, 7, 0.0703, 0.0391), (6, 16, 0.0525, 0.0347)],
)
def test_mcnemar_gives_the_published_p_values(first: int, second: int, exact: float, mid: float) -> None:
    # M. W. Fagerland, S. Lydersen, P. Laake, BMC Med. Res. Methodol. 13 (2013) 91: airway and stem cells
    result = mcnemar(first, second)
    assert (result.exact_p, result.mid_p) == pytest.approx((exact, mid), abs=5e-5)
    assert result == mcnemar(second, first)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (3, 3), (0, 20), (17, 40), (500, 571)])
def test_mcnemar_is_that_of_statsmodels_and_of_all_outcomes(first: int, second: int) -> None:
    result, n = mcnemar(first, second), first + second
    assert result.exact_p == pytest.approx(statsmodels_mcnemar([[9, first], [second, 9]], exact=True).pvalue)
    # mid-p: outcomes less probable than this one, and half of those as probable
    chances = [math.comb(n, each) / 2**n for each in range(n + 1)]
    seen = chances[first]
    rarer = sum(chance for chance in chances if chance < seen * (1 - 1e-9))
    assert result.mid_p == pytest.approx(rarer + sum(c for c in chances if abs(c / seen - 1) < 1e-9) / 2)
    assert result.n == n


def test_mcnemar_without_discordant_pairs_has_no_p() -> None:
    assert mcnemar(0, 0) == McNemar(None, None, 0)
    with pytest.raises(ValueError, match="a count must not be negative"):
        mcnemar(-1, 3)


# --- quantile_difference


def latencies(conversations: int, turns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(conversations)
    clusters = np.repeat(np.arange(conversations), turns)
    base = rng.gamma(4, 20, conversations)[clusters]
    first, second = (base * slower + rng.gamma(2, 20, len(base)) for slower in (1, 1.1))
    return first, second, clusters


def resampled_with_numpy(
    first: np.ndarray, second: np.ndarray, clusters: np.ndarray, q: float, resamples: int
) -> np.ndarray:
    """Every resample put together in full, and its quantiles taken by NumPy."""
    rng, names = np.random.default_rng(99), np.unique(clusters)
    members = [np.flatnonzero(clusters == name) for name in names]
    drawn = []
    for _ in range(resamples):
        rows = np.concatenate([members[i] for i in rng.integers(len(names), size=len(names))])
        drawn.append(np.quantile(second[rows], q) - np.quantile(first[rows], q))
    return np.array(drawn)


@pytest.mark.parametrize("q", [0.5, 0.95])
def test_quantile_difference_is_the_bootstrap_in_full(q: float) -> None:
    first, second, clusters = latencies(60, 5)
    kept = np.random.default_rng(1).random(300) < 0.7
    first, second, clusters = first[kept], second[kept], clusters[kept]
    full = resampled_with_numpy(first, second, clusters, q, 4000)
    result = quantile_difference(first, second, q, clusters, resamples=8000)
    assert (result.low, result.high) == pytest.approx(tuple(np.quantile(full, [0.025, 0.975])), abs=0.15 * full.std())
    assert result.value == pytest.approx(np.quantile(second, q) - np.quantile(first, q))


def test_median_of_ten_pairs_has_the_limits_of_all_resamples() -> None:
    # second = first + 1 where the value is above the middle: what a resample gives depends on ten ranks alone
    first = np.arange(10.0)
    second = first + (first >= 5) * 10
    result = quantile_difference(first, second, 0.5, resamples=60_000, confidence=0.8)
    # between 5th and 6th of the resample: 0, 5 or 10 by how many of ten draws fall into the lower half
    lower = scipy_stats.binom(10, 0.5)
    chances = {0.0: lower.sf(5), 5.0: lower.pmf(5), 10.0: lower.cdf(4)}
    assert sum(chances.values()) == pytest.approx(1)
    drawn = bootstrap_quantiles.quantile_differences(
        first, second, 0.5, np.arange(10), 10, 60_000, np.random.default_rng(0)
    )
    for value, chance in chances.items():
        assert np.isclose(drawn, value).mean() == pytest.approx(chance, abs=0.01)
    assert (result.value, result.low, result.high) == (5.0, 0.0, 10.0)


def test_pairs_that_are_slow_together_tell_more_than_two_runs_apart() -> None:
    first, second, clusters = latencies(200, 3)
    result = quantile_difference(first, second, 0.5, clusters)
    apart = quantile_difference(first, np.roll(second, 300), 0.5, clusters)
    assert result.high - result.low < 0.8 * (apart.high - apart.low)


def test_quantile_difference_is_missing_where_it_is_not_available() -> None:
    rising = np.arange(20.0)
    assert quantile_difference([], [], 0.5) == Estimate(None, None, None, 0, "no pairs")
    assert quantile_difference(rising, rising, 0.99).reason == "p99 needs 100 pairs, there are 20"
    few = quantile_difference(rising, rising + 1, 0.5, np.repeat(range(5), 4))
    assert few == Estimate(1.0, None, None, 20, "a bootstrap interval needs 10 clusters, there are 5")
    same = quantile_difference(rising, rising, 0.5)
    assert same == Estimate(0.0, None, None, 20, "all resamples give the same value: the variance cannot be estimated")
    with pytest.raises(ValueError, match="q is 95"):
        quantile_difference(rising, rising, 95)


@pytest.mark.parametrize(
    ("up", "down", "clusters", "doubted"),
    [
        (4, 0, 30, False),
        (5, 0, 30, True),
        (6, 2, 1000, True),
        (5, 3, 1000, False),
        (12, 0, 30, False),
        (0, 0, 30, False),
        (5, 0, 5, False),
    ],
)
def test_doubt_speaks_where_few_clusters_differ_nearly_all_one_way(up, down, clusters, doubted):
    apart = np.repeat([1.0, -1.0, 0.0], [up, down, clusters - up - down])
    first, second = np.maximum(-apart, 0), np.maximum(apart, 0)
    result = doubt(np.repeat(first, 2), np.repeat(second, 2), np.repeat(np.arange(clusters), 2))
    assert (result is not None) == doubted
    if result is not None:
        assert result.startswith(f"only {up + down} of {clusters:,} clusters differ")
