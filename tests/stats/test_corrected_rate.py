"""The corrected rate against a published example, and its interval against simulated judges."""

import numpy as np
import pytest

import evalkit as ek
from evalkit.errors import SettingsError
from evalkit.stats.corrected_rate import corrected_rate


def test_the_published_example_of_a_screening_test():
    # epiR, epi.prev: 23 of 150 cows, sensitivity 96 %, specificity 89 %: 5.1 in 100
    found = ek.corrected_rate((23, 150), (96, 100), (89, 100))
    assert round(100 * found.value, 1) == 5.1
    assert (found.n, found.low) == (150, 0.0)
    assert found.high == pytest.approx(0.14567, abs=5e-6)


def lang_and_reiczigel(passed, right, wrong, z=1.959964):
    """The interval in the symbols of the paper: prevalence, sensitivity and specificity."""
    n, n_se, n_sp = passed[1] + z**2, right[1] + 2, wrong[1] + 2
    ap, se, sp = (passed[0] + z**2 / 2) / n, (right[0] + 1) / n_se, (wrong[0] + 1) / n_sp
    youden = se + sp - 1
    p = (ap + sp - 1) / youden
    dp = 2 * z**2 * (p * se * (1 - se) / n_se - (1 - p) * sp * (1 - sp) / n_sp)
    spread = ap * (1 - ap) / n + p**2 * se * (1 - se) / n_se + (1 - p) ** 2 * sp * (1 - sp) / n_sp
    return p + dp - z * spread**0.5 / youden, p + dp + z * spread**0.5 / youden


@pytest.mark.parametrize(
    ("passed", "right", "wrong"),
    [((90, 200), (27, 30), (28, 34)), ((60, 100), (45, 50), (36, 40)), ((300, 1_000), (80, 100), (150, 160))],
)
def test_the_interval_is_that_of_lang_and_reiczigel(passed, right, wrong):
    found = corrected_rate(passed, right, wrong)
    low, high = lang_and_reiczigel(passed, right, wrong)
    assert 0 < low < high < 1, "both limits matter"
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)


@pytest.mark.parametrize(("passed", "few"), [((0, 150), "too few"), ((150, 150), "too many")])
def test_verdicts_that_contradict_the_labels_give_no_rate_instead_of_certainty(passed, few):
    found = corrected_rate(passed, (89, 100), (89, 100))
    assert (found.value, found.low, found.high) == (None, None, None)
    assert few in found.reason


def test_a_perfect_judge_needs_no_correction():
    found = corrected_rate((30, 100), (10**6, 10**6), (10**6, 10**6))
    assert found.value == pytest.approx(0.3)
    assert found.low == pytest.approx(0.219, abs=0.005)  # Wilson's interval of 30 of 100
    assert found.high == pytest.approx(0.396, abs=0.005)


@pytest.mark.parametrize(
    ("passed", "right", "wrong", "reason"),
    [
        ((0, 0), (9, 10), (9, 10), "all needed"),
        ((1, 2), (0, 0), (9, 10), "all needed"),
        ((1, 2), (9, 10), (0, 0), "all needed"),
        ((1, 2), (5, 10), (5, 10), "no better than chance"),
        ((1, 2), (1, 10), (5, 10), "no better than chance"),
    ],
)
def test_what_cannot_be_corrected_is_missing(passed, right, wrong, reason):
    found = corrected_rate(passed, right, wrong)
    assert (found.value, found.low, found.high) == (None, None, None)
    assert reason in found.reason


def test_a_judge_hardly_better_than_chance_leaves_everything_open():
    found = corrected_rate((50, 100), (26, 50), (25, 50))
    assert (found.low, found.high) == (0.0, 1.0)


@pytest.mark.parametrize(("passed", "value"), [((7, 50), 0.0), ((48, 50), 1.0)])
def test_the_rate_stays_between_0_and_1(passed, value):
    found = corrected_rate(passed, (18, 20), (16, 20))
    assert found.value == value
    assert 0 <= found.low <= value <= found.high <= 1


@pytest.mark.parametrize("wrong", [(3, 2), (-1, 2), (0.15, 150), (2.5, 5), ("3", 5), (1, None)])
def test_counts_that_are_none_are_refused(wrong):
    with pytest.raises(SettingsError, match="is not a count and its total"):
        corrected_rate(wrong, (1, 2), (1, 2))
    with pytest.raises(ValueError, match="confidence"):
        corrected_rate((1, 2), (1, 2), (1, 2), confidence=1.5)


def test_the_interval_contains_the_true_rate_as_often_as_it_says():
    draw = np.random.default_rng(7)
    rate, tpr, tnr, inside = 0.3, 0.85, 0.8, 0
    for _ in range(2_000):
        passed = int(draw.binomial(200, rate * tpr + (1 - rate) * (1 - tnr)))
        found = corrected_rate((passed, 200), (int(draw.binomial(30, tpr)), 30), (int(draw.binomial(34, tnr)), 34))
        inside += found.low <= rate <= found.high
    assert 0.94 <= inside / 2_000 <= 0.99
