"""The prediction-powered mean: against values of another package, its properties, and its coverage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.stats.prediction_powered import prediction_powered_mean
from evalkit.stats.proportions import proportion


def counted(right_passed, right_failed, wrong_passed, wrong_failed, passed, others):
    """Labels, predictions and other predictions with these counts."""
    labels = [1] * (right_passed + right_failed) + [0] * (wrong_passed + wrong_failed)
    predictions = [1] * right_passed + [0] * right_failed + [1] * wrong_passed + [0] * wrong_failed
    return labels, predictions, [1] * passed + [0] * (others - passed)


# by ppi-python 0.2.3, ppi_mean_pointestimate and ppi_mean_ci: the estimate, and the limits of the normal distribution
@pytest.mark.parametrize(
    ("counts", "value", "low", "high"),
    [
        ((40, 5, 6, 49, 600, 1000), 0.5512499147583911, 0.4860048721133253, 0.616494957403457),
        ((170, 10, 20, 200, 200, 500), 0.41419424019607837, 0.37669886788897927, 0.45168961150417747),
        ((12, 8, 9, 21, 90, 200), 0.40697180633871277, 0.27606938039187073, 0.5378742322855548),
        ((45, 1, 2, 2, 300, 320), 0.9186980278160632, 0.8538611670170004, 0.9835348886151261),
    ],
)
def test_the_estimate_is_that_of_the_authors_package(counts, value, low, high):
    found = prediction_powered_mean(*counted(*counts))
    assert found.value == pytest.approx(value, abs=1e-12)
    # a score interval, and room for the mistakes that few labels do not show
    labels = sum(counts[:4])
    assert found.high - found.low == pytest.approx(high - low, rel=10 / labels)
    assert found.n == labels + counts[5]


def test_graded_values_too():
    labels, predictions = [0, 0.25, 0.5, 0.75, 1] * 12, [0.25, 0.25, 0.5, 1, 0.75] * 12
    found = prediction_powered_mean(labels, predictions, [0.25, 0.5, 1, 0.75, 0.75, 0] * 30)
    assert found.value == pytest.approx(0.49485737, abs=1e-8)
    assert (found.low, found.high) == pytest.approx((0.43099505, 0.55871969), abs=0.003)


def test_predictions_that_tell_nothing_leave_the_mean_of_the_labels():
    labels = [1, 1, 1, 0] * 20
    constant = prediction_powered_mean(labels, [1] * 80, [1] * 900)
    opposed = prediction_powered_mean(labels, [0, 0, 0, 1] * 20, [0, 1] * 450)
    wilson = proportion(labels)
    for found in (constant, opposed):
        assert found.value == wilson.value == 0.75
        assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), abs=0.003)


def test_good_predictions_are_worth_many_labels():
    few, many = counted(45, 2, 2, 51, 450, 900), counted(45, 2, 2, 51, 0, 0)
    with_judge, without = prediction_powered_mean(*few), prediction_powered_mean(*many)
    assert with_judge.high - with_judge.low < 0.6 * (without.high - without.low)


def test_correlated_answers_carry_less():
    labels, predictions, others = counted(30, 4, 4, 42, 400, 800)
    loose = prediction_powered_mean(labels, predictions, others)
    # each conversation holds four answers, all equal
    four = prediction_powered_mean(
        np.repeat(labels, 4), np.repeat(predictions, 4), np.repeat(others, 4),
        np.repeat(np.arange(80), 4), np.repeat(np.arange(80, 880), 4),
    )  # fmt: skip
    assert four.value == pytest.approx(loose.value, abs=1e-4)
    assert (four.low, four.high) == pytest.approx((loose.low, loose.high), abs=0.002)


def test_labels_without_a_mistake_do_not_make_the_judge_perfect():
    found = prediction_powered_mean(*counted(25, 0, 0, 25, 600, 1200))
    assert found.value == pytest.approx(0.5)
    assert found.high - found.low > 0.07  # the answers alone would give 0.055
    every = prediction_powered_mean([1] * 50, [1] * 50, [1] * 500)
    assert (every.value, every.high) == (1.0, 1.0)
    assert every.low == pytest.approx(proportion([1] * 50).low, abs=0.005)


def test_what_cannot_be_estimated_is_missing():
    assert prediction_powered_mean([], [], [1, 0]).reason == "no answer is labelled"
    one = prediction_powered_mean([1, 0], [1, 0], [1, 1], ["a", "a"], ["b", "c"])
    assert (one.low, one.high) == (None, None)
    assert "one cluster" in one.reason


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 0], [1], [1]), "equally many"),
        (([1, 2], [1, 0], [1]), "from 0 to 1"),
        (([1, 0], [1, 0], [-1]), "from 0 to 1"),
        (([1, 0], [1, float("nan")], [1]), "NaN"),
        (([1, 0], [1, 0], [1], ["a", "b"]), "for neither"),
        (([1, 0], [1, 0], [1], ["a"], ["b"]), "1 and 1 cluster labels"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        prediction_powered_mean(*arguments)


counts = st.integers(0, 30)


@given(st.tuples(counts, counts, counts, counts), counts, counts)
def test_the_interval_holds_the_estimate_and_swapping_right_and_wrong_mirrors_it(cells, passed, failed):
    found = prediction_powered_mean(*counted(*cells, passed, passed + failed))
    a, b, c, d = cells
    mirrored = prediction_powered_mean(*counted(d, c, b, a, failed, passed + failed))
    if found.low is None:
        assert sum(cells) < 2
        return
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert mirrored.value == pytest.approx(1 - found.value, abs=1e-9)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - found.high, 1 - found.low), abs=1e-9)


@pytest.mark.parametrize(("tpr", "tnr"), [(0.6, 0.6), (0.95, 0.95), (0.6, 0.95)])
def test_the_interval_contains_the_true_mean_as_often_as_it_says(tpr, tnr):
    draw, rate, inside = np.random.default_rng(3), 0.8, 0
    cells = [rate * tpr, rate * (1 - tpr), (1 - rate) * (1 - tnr), (1 - rate) * tnr]
    for _ in range(1_000):
        passed = int(draw.binomial(500, cells[0] + cells[2]))
        found = prediction_powered_mean(*counted(*draw.multinomial(50, cells), passed, 500))
        inside += found.low <= rate <= found.high
    assert 0.93 <= inside / 1_000 <= 0.98
