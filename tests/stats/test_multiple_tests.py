import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests

from evalkit.stats import survival
from evalkit.stats.estimate import Estimate
from evalkit.stats.multiple_tests import benjamini_hochberg, bonferroni, holm, p_of_interval

# Y. Benjamini, Y. Hochberg, J. R. Stat. Soc. B 57 (1995), section 3.2: thrombolysis in myocardial infarction
THROMBOLYSIS = [
    *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344),
    *(0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000),
]


def test_published_example_holm_rejects_three_and_benjamini_hochberg_four() -> None:
    # the paper: Bonferroni's and Hochberg's procedures reject three hypotheses at 0.05, theirs four
    assert [p <= 0.05 for p in holm(THROMBOLYSIS)] == [True] * 3 + [False] * 12
    assert [p <= 0.05 for p in benjamini_hochberg(THROMBOLYSIS)] == [True] * 4 + [False] * 11


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_corrections_are_those_of_statsmodels_and_scipy(count: int) -> None:
    known = np.round(np.random.default_rng(count).beta(0.5, 2, count), 2).tolist()  # rounded: some are equal
    assert count < 40 or len(set(known)) < count
    np.testing.assert_allclose(holm(known), multipletests(known, method="holm")[1])
    np.testing.assert_allclose(benjamini_hochberg(known), multipletests(known, method="fdr_bh")[1])
    np.testing.assert_allclose(benjamini_hochberg(known), scipy_stats.false_discovery_control(known))


def test_a_test_that_was_not_made_does_not_count() -> None:
    assert holm([0.02, None, 0.03]) == [0.04, None, 0.04]
    assert benjamini_hochberg([None, 0.02]) == [None, 0.02]
    assert holm([]) == benjamini_hochberg([]) == []
    assert holm([None]) == [None]


@pytest.mark.parametrize("p", [-0.01, 1.01, float("nan")])
def test_what_is_no_p_is_refused(p: float) -> None:
    for correct in (holm, benjamini_hochberg):
        with pytest.raises(ValueError, match="a p value is not from 0 to 1"):
            correct([0.5, p])


def test_bonferroni_intervals_hold_together():
    assert bonferroni(0.95, 1) == 0.95
    assert bonferroni(0.95, 5) == pytest.approx(1 - multipletests([0.01] * 5, 0.05, "bonferroni")[3])
    rng = np.random.default_rng(1)
    means = rng.standard_normal((4000, 5))
    half = scipy_stats.norm.ppf((1 + bonferroni(0.95, 5)) / 2)
    assert 0.945 <= (np.abs(means) <= half).all(axis=1).mean() <= 0.965
    with pytest.raises(ValueError, match="one or more"):
        bonferroni(0.95, 0)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("value", "error"), [(1.0, 0.5), (-3.0, 1.2), (0.2, 4.0), (0.0, 1.0), (-80.0, 2.0)])
def test_p_of_an_interval_is_that_of_its_normal_distribution(value, error, confidence):
    half = scipy_stats.norm.ppf((1 + confidence) / 2) * error
    p = p_of_interval(Estimate(value, value - half, value + half, 50), confidence)
    assert p == pytest.approx(2 * scipy_stats.norm.sf(abs(value) / error), rel=1e-9, abs=1e-300)
    assert (p < 1 - confidence) == (abs(value) > half)
    # only the side of 0 counts
    away = (value - half, 1e9) if value > 0 else (-1e9, value + half)
    assert p_of_interval(Estimate(value, *away, 50), confidence) == p


def test_an_interval_without_a_limit_on_the_side_of_0_has_no_p():
    assert p_of_interval(Estimate(None, -1.0, 1.0, 5)) is None
    assert p_of_interval(Estimate(2.0, None, 3.0, 5)) is None
    assert p_of_interval(Estimate(-2.0, -3.0, None, 5)) is None
    assert p_of_interval(Estimate(2.0, 1.0, None, 5)) is not None


def test_p_of_bootstrapped_medians_is_as_rare_as_it_says():
    rng = np.random.default_rng(1)
    known = np.zeros(60, dtype=bool)
    ps = []
    for _ in range(200):
        first, second = rng.lognormal(6, 0.5, (2, 60))
        found = survival.quantile_difference(first, second, 0.5, np.arange(60), censored=(known, known), resamples=500)
        ps.append(p_of_interval(found))
    assert np.mean(np.array(ps) < 0.05) < 0.1
    assert np.mean(np.array(ps) < 0.5) > 0.3


@pytest.mark.parametrize("clusters", [2, 10, 60])
def test_p_of_few_clusters_is_that_of_students_t(clusters):
    half = 2.0
    for value in (0.5, 1.9, 2.1, 9.0):
        p = p_of_interval(Estimate(value, value - half, value + half, 50), clusters=clusters)
        errors = value / half * scipy_stats.t.ppf(0.975, clusters - 1)
        assert p == pytest.approx(2 * scipy_stats.t.sf(errors, clusters - 1), rel=1e-9)
        assert (p < 0.05) == (value > half)
    normal = p_of_interval(Estimate(9.0, 7.0, 11.0, 50))
    assert p > normal  # thicker tails
