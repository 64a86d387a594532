"""Sample sizes against statsmodels, published tables and the analysis of variance of SciPy."""

import numpy as np
import pytest
from scipy import stats

from evalkit.stats.power import (
    PilotSpread,
    assured_for_difference,
    assured_for_precision,
    clusters_for_difference,
    clusters_for_precision,
    clusters_without_a_difference,
    half_width,
    pilot_spread,
    power_of,
    smallest_difference,
)
from evalkit.stats.proportions import proportion
from evalkit.stats.repeats import variance_split

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


def test_the_bound_of_normal_values_is_that_of_the_f_and_the_chi_square_distribution():
    spread = PilotSpread(2.0, 12)
    assert spread.bound(0.8, 50) == pytest.approx(2 * stats.f.ppf(0.8, 49, 11) ** 0.5)
    assert spread.bound(0.1, 50) == pytest.approx(2 * stats.f.ppf(0.1, 49, 11) ** 0.5)
    assert spread.bound(0.8) == pytest.approx(2 * (11 / stats.chi2.ppf(0.2, 11)) ** 0.5)
    assert PilotSpread(2.0, 12, least=5.0).bound(0.8, 50) == 5.0


def test_the_kurtosis_of_a_pilot_is_scipys():
    values = np.random.default_rng(3).gamma(1, 1, 40)
    spread = pilot_spread(values)
    assert spread.kurtosis == pytest.approx(stats.kurtosis(values, bias=False) + 3)
    assert (spread.sd, spread.clusters) == (pytest.approx(values.std(ddof=1)), 40)
    assert pilot_spread([1, 2, 4]).kurtosis == 3  # too few to tell it
    assert pilot_spread([0, 1] * 10).kurtosis == 1.2
    for values in ([], [1.0], [1.0, 1.0]):
        with pytest.raises(ValueError, match="a spread needs two values that differ: there"):
            pilot_spread(values)


@pytest.mark.parametrize("value", [None, 0.8])
def test_the_assured_number_is_just_enough(value):
    def half(clusters):
        sd = spread.bound(0.8, clusters)
        if value is None:
            return half_width(clusters, sd)
        z = stats.norm.ppf(0.975)
        n = 0.16 / sd**2 * clusters * (z / stats.t.ppf(0.975, clusters - 1)) ** 2
        return z * (0.16 / n + z**2 / 4 / n**2) ** 0.5 / (1 + z**2 / n)

    spread = pilot_spread(np.random.default_rng(4).binomial(4, 0.8, 30) / 4)
    count = assured_for_precision(0.03, spread, value)
    assert half(count) <= 0.03 < half(count - 1)
    assert clusters_for_precision(0.03, spread.sd) < count
    found = assured_for_difference(0.05, spread)
    assert found == clusters_for_difference(0.05, spread.bound(0.8)) > clusters_for_difference(0.05, spread.sd)


@pytest.mark.parametrize("accuracy", [0.8, 0.95])
def test_a_planned_run_reaches_its_precision_as_often_as_assured(accuracy):
    # conversations of 4 turns with a correlation of 0.3: planned with the pilot's variance, half of the runs do
    rng = np.random.default_rng(8)

    def right(conversations):
        share = rng.beta(accuracy * 7 / 3, (1 - accuracy) * 7 / 3, conversations)
        return rng.binomial(4, share)

    reached = plain = 0
    for _ in range(200):
        pilot = right(40) / 4
        while not pilot.std():
            pilot = right(40) / 4
        spread, value = pilot_spread(pilot), pilot.mean()
        for count, planned in (
            (clusters_for_precision(0.05, spread.sd), 0),
            (assured_for_precision(0.05, spread, value), 1),
        ):
            run = right(count)
            values = (np.arange(4) < run[:, None]).ravel().astype(float)
            result = proportion(values, np.repeat(np.arange(count), 4))
            plain, reached = (
                plain + (not planned and result.high - result.low <= 0.1),
                reached + (planned and result.high - result.low <= 0.1),
            )
    assert plain < 130
    assert 150 <= reached <= 196


def test_variance_of_unequal_groups_is_that_of_the_analysis_of_variance():
    rng = np.random.default_rng(0)
    groups = [rng.normal(rng.normal(0, 2), 1, size) for size in (2, 5, 1, 3, 3, 4)]
    values, items = np.concatenate(groups), np.repeat(list("abcdef"), [len(group) for group in groups])
    order = rng.permutation(len(values))
    split = variance_split(values[order], items[order])
    typical = (18 - sum(len(group) ** 2 for group in groups) / 18) / 5
    assert split.within == pytest.approx(sum(((g - g.mean()) ** 2).sum() for g in groups) / 12)
    assert 1 + typical * split.between / split.within == pytest.approx(stats.f_oneway(*groups).statistic)
    assert split.total == max(split.between, 0) + split.within
    assert split.sd(4) ** 2 == pytest.approx(split.between + split.within / 4)


def test_without_repeats_nothing_can_be_split():
    split = variance_split([0.1, 0.5, 0.9, 0.2], [4, 3, 2, 1])
    assert split.total == pytest.approx(np.var([0.1, 0.5, 0.9, 0.2], ddof=1))
    assert (split.between, split.within, split.sd(2)) == (None, None, None)
    assert split.sd(1) ** 2 == pytest.approx(split.total)


def test_a_standard_deviation_takes_a_variance_between_below_0_as_0():
    split = variance_split([0, 1, 0, 1], ["a", "a", "b", "b"])
    assert (split.between, split.within, split.total) == (-0.25, 0.5, 0.5)
    assert split.sd(1) ** 2 == pytest.approx(0.5)
    assert split.sd(5) ** 2 == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pilot_spread([1.0]), "a spread needs two values that differ: there is 1"),
        (lambda: half_width(1, 0.3), "at least two clusters are needed, there is 1"),
        (lambda: clusters_for_precision(0.03, 0.0), "sd is 0.0: it must be above 0"),
        (lambda: clusters_for_precision(0.0, 0.3), "the half-width is 0.0: it must be above 0"),
        (lambda: clusters_for_difference(0.0, 0.3), "the difference is 0.0: it must be above 0"),
        (lambda: smallest_difference(10, 0.3, power=0.05), "power is 0.05: it must be between alpha, 0.05, and 1"),
        (lambda: half_width(10, float("nan")), "sd is nan"),
        (lambda: clusters_for_precision(1e-9, 0.3), "more than 10¹² clusters"),
    ],
)
def test_what_cannot_be_asked(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("difference", "confidence"), [(0.02, 0.95), (0.1, 0.95), (0.01, 0.99)])
def test_so_many_clusters_without_a_difference_rule_it_out(difference, confidence):
    count = clusters_without_a_difference(difference, confidence)
    limit, before = (stats.binomtest(0, k).proportion_ci(confidence, "exact").high for k in (count, count - 1))
    assert limit < difference <= before
