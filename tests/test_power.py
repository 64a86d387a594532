"""Sample sizes against statsmodels, published tables and the analysis of variance of SciPy."""

import numpy as np
import pytest
from scipy import stats

from evalkit.power import (
    clusters_for_difference,
    clusters_for_precision,
    half_width,
    power_of,
    smallest_difference,
    split_variance,
)

statsmodels_power = pytest.importorskip("statsmodels.stats.power")


@pytest.mark.parametrize("clusters", [2, 5, 20, 300, 10_000])
@pytest.mark.parametrize(("difference", "sd", "alpha"), [(0.05, 0.25, 0.05), (-0.4, 0.4, 0.01), (0.01, 0.5, 0.1)])
def test_power_is_that_of_statsmodels(clusters, difference, sd, alpha):
    expected = statsmodels_power.TTestPower().power(abs(difference) / sd, clusters, alpha)
    if np.isnan(expected):  # so far out that SciPy's distribution has no number for what is missed
        expected = 1.0
    assert power_of(clusters, difference, sd, alpha) == pytest.approx(expected, rel=1e-9)


# Cohen (1988), and G*Power 3.1 for the t test of paired differences: small, medium and large effects
@pytest.mark.parametrize(
    ("effect", "power", "pairs"),
    [(0.2, 0.8, 199), (0.5, 0.8, 34), (0.8, 0.8, 15), (0.2, 0.95, 327), (0.5, 0.95, 54), (0.8, 0.95, 23)],
)
def test_published_numbers_of_pairs(effect, power, pairs):
    assert clusters_for_difference(effect * 0.3, 0.3, power) == pairs


@pytest.mark.parametrize(("clusters", "power", "alpha"), [(8, 0.8, 0.05), (100, 0.9, 0.05), (2_000, 0.8, 0.01)])
def test_the_smallest_difference_is_found_by_just_so_many(clusters, power, alpha):
    found = smallest_difference(clusters, 0.3, power, alpha)
    solved = statsmodels_power.TTestPower().solve_power(nobs=clusters, power=power, alpha=alpha)
    assert found / 0.3 == pytest.approx(solved, rel=1e-4)
    assert clusters_for_difference(found, 0.3, power, alpha) == clusters
    assert clusters_for_difference(found * 0.99, 0.3, power, alpha) > clusters


@pytest.mark.parametrize("wanted", [0.2, 0.03, 0.001])
def test_the_fewest_clusters_for_a_precision_are_just_enough(wanted):
    count = clusters_for_precision(wanted, 0.3)
    low, high = stats.t.interval(0.95, count - 1, 0, 0.3 / np.sqrt(count))
    assert half_width(count, 0.3) == pytest.approx((high - low) / 2)
    assert half_width(count, 0.3) <= wanted < half_width(count - 1, 0.3)


def test_variance_of_unequal_groups_is_that_of_the_analysis_of_variance():
    rng = np.random.default_rng(0)
    groups = [rng.normal(rng.normal(0, 2), 1, size) for size in (2, 5, 1, 3, 3, 4)]
    values, items = np.concatenate(groups), np.repeat(list("abcdef"), [len(group) for group in groups])
    order = rng.permutation(len(values))
    split = split_variance(values[order], items[order])
    typical = (18 - sum(len(group) ** 2 for group in groups) / 18) / 5
    assert split.within == pytest.approx(sum(((g - g.mean()) ** 2).sum() for g in groups) / 12)
    assert 1 + typical * split.between / split.within == pytest.approx(stats.f_oneway(*groups).statistic)
    assert split.total == split.between + split.within
    assert split.sd(4) ** 2 == pytest.approx(split.between + split.within / 4)


def test_without_repeats_nothing_can_be_split():
    split = split_variance([0.1, 0.5, 0.9, 0.2], [4, 3, 2, 1])
    assert split.total == pytest.approx(np.var([0.1, 0.5, 0.9, 0.2], ddof=1))
    assert (split.between, split.within, split.sd(2)) == (None, None, None)
    assert split.sd(1) ** 2 == pytest.approx(split.total)


def test_a_variance_between_is_never_below_0():
    split = split_variance([0, 1, 0, 1], ["a", "a", "b", "b"])
    assert (split.between, split.within) == (0, 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: split_variance([1.0, 2.0], [1, 1]), "needs two of them at least, and there are 1"),
        (lambda: half_width(1, 0.3), "two clusters are needed at least"),
        (lambda: clusters_for_precision(0.03, 0.0), "sd is 0.0: it must be above 0"),
        (lambda: clusters_for_precision(0.0, 0.3), "the half-width is 0.0: it must be above 0"),
        (lambda: clusters_for_difference(0.0, 0.3), "the difference is 0.0: it must be above 0"),
        (lambda: smallest_difference(10, 0.3, power=0.05), "power is 0.05: it must lie between alpha, 0.05, and 1"),
        (lambda: half_width(10, float("nan")), "sd is nan"),
        (lambda: clusters_for_precision(1e-9, 0.3), "more than a million million"),
    ],
)
def test_what_cannot_be_asked(call, message):
    with pytest.raises(ValueError, match=message):
        call()
