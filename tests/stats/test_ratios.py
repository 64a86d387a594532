import numpy as np
import pytest
from scipy import stats

from evalkit.stats import paired
from evalkit.stats.ratios import ratio


def two(seed, n=40, factor=1.2):
    rng = np.random.default_rng(seed)
    first = rng.lognormal(0, 0.5, n)
    return first, first * rng.lognormal(np.log(factor), 0.2, n)


def test_limits_are_the_ratios_at_which_scipys_paired_t_test_has_p_of_5_percent():
    first, second = two(1)
    found = ratio(first, second)
    assert found.value == pytest.approx(second.sum() / first.sum())
    for limit in (found.low, found.high):
        assert stats.ttest_rel(second, limit * first).pvalue == pytest.approx(0.05)
    assert stats.ttest_rel(second, 1.1 * found.low * first).pvalue > 0.05


def test_limits_with_clusters_are_those_of_the_clustered_difference():
    """Values above 1, for which the difference has no correction for shares."""
    first, second = (5 + side for side in two(2, 90))
    clusters = np.arange(90) // np.array([1, 2, 3] * 30).repeat(1) % 25
    found = ratio(first, second, clusters, 0.99)
    for limit in (found.low, found.high):
        assert paired.difference(limit * first, second, clusters).p == pytest.approx(0.01)


def test_without_clusters_the_limits_are_the_roots_of_fiellers_quadratic():
    first, second = two(3, 12)
    t2, n = stats.t.ppf(0.975, 11) ** 2, 12
    (xx, xy), (_, yy) = np.cov(first, second) / n
    x, y = first.mean(), second.mean()
    roots = sorted(np.roots([x * x - t2 * xx, -2 * (x * y - t2 * xy), y * y - t2 * yy]))
    found = ratio(first, second)
    assert [found.low, found.high] == pytest.approx(roots)


def test_the_interval_holds_the_truth_in_about_95_percent():
    rng, held = np.random.default_rng(4), 0
    for _ in range(600):
        first = rng.lognormal(0, 0.6, 30)
        second = 1.1 * first * rng.lognormal(-0.02, 0.2, 30)
        found = ratio(first, second)
        held += found.low <= 1.1 <= found.high
    assert 0.92 <= held / 600 <= 0.98


def test_what_is_missing_has_a_reason():
    assert ratio([], []).reason == "no pairs"
    assert ratio([0.0, 0.0], [1.0, 2.0]).reason == "the total of the first is 0"
    same = ratio([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    assert (same.value, same.low, same.high) == (2.0, None, None)
    assert same.reason == "the ratio is the same in all 3 clusters"
    one = ratio([1.0, 2.0], [2.0, 2.0], [7, 7])
    assert (one.low, one.reason) == (None, "an interval needs two clusters, there is 1")
    uncertain = ratio([0.0, 0.0, 9.0], [1.0, 2.0, 3.0])
    assert uncertain.reason == "the total of the first is too uncertain for a ratio"
    with pytest.raises(ValueError, match="0 or more"):
        ratio([1.0], [-1.0])
