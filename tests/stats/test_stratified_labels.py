"""Means of labels from strata: against textbook formulas and other packages, and the coverage of their intervals."""

import numpy as np
import pytest
from statsmodels.stats.weightstats import DescrStatsW

from evalkit.stats.prediction_powered import prediction_powered_mean
from evalkit.stats.proportions import proportion, score_limits
from evalkit.stats.stratified_labels import strata_of, stratified_prediction_powered_mean, stratified_proportion


def drawn(draw, labels, answers=1_000, accuracy=0.7, tpr=0.8, tnr=0.7, scorer=0.85):
    """Right answers, a judge's verdicts, and which of them are labelled, half where judge and scorer differ."""
    right = draw.random(answers) < accuracy
    judge = np.where(right, draw.random(answers) < tpr, draw.random(answers) > tnr)
    differ = judge != np.where(draw.random(answers) < scorer, right, ~right)
    places = [np.flatnonzero(differ), np.flatnonzero(~differ)]
    first = min(len(places[0]), labels // 2)
    chosen = np.concatenate([places[0][:first], places[1][: labels - first]])
    names = ["differ"] * first + ["other"] * (labels - first)
    strata = strata_of(names, {"differ": len(places[0]), "other": len(places[1])})
    order = np.concatenate([chosen, np.setdiff1d(np.arange(answers), chosen)])
    return right[order].astype(float), judge[order].astype(float), strata, labels


def corrected(right, judge, strata, labels):
    return stratified_prediction_powered_mean(right[:labels], judge[:labels], strata, judge)


def test_weights_are_the_inverse_of_the_probability_to_be_labelled():
    strata = strata_of(["b", "a", "b", "b"], {"a": 10, "b": 30, "c": 5})
    assert strata.weights == pytest.approx([0.25] * 4)
    assert (list(strata.of), list(strata.shares), strata.total) == ([1, 0, 1, 1], [0.25, 0.75], 40)
    assert strata_of(["a", "a"], {"a": 1}).total == 2  # more labels than the file says there are answers


# by ppi-python 0.2.3: ppi_mean_pointestimate(…, lam=0.728876576368499, w=[120] * 30 + [880] * 30)
def test_the_estimate_is_that_of_the_authors_package_with_these_weights():
    labels = [1] * 20 + [0] * 10 + [1] * 21 + [0] * 9
    predictions = [1] * 3 + [0] * 17 + [1] * 8 + [0] * 2 + [1] * 19 + [0] * 2 + [1] + [0] * 8
    strata = strata_of(["differ"] * 30 + ["other"] * 30, {"differ": 120, "other": 880})
    found = stratified_prediction_powered_mean(labels, predictions, strata, predictions + [1] * 560 + [0] * 380)
    assert found.value == pytest.approx(0.6670879, abs=1e-7)


def test_a_proportion_is_the_weighted_mean_of_another_package():
    draw = np.random.default_rng(1)
    y, names = draw.random(60), np.repeat(["a", "b"], 30)
    strata = strata_of(names, {"a": 100, "b": 900})
    other = DescrStatsW(y, weights=np.repeat([100 / 30, 30], 30))
    assert stratified_proportion(y, strata).value == pytest.approx(other.mean)
    domain = np.where(np.arange(60) % 3 == 0, y, np.nan)
    part = DescrStatsW(y[::3], weights=np.repeat([100 / 30, 30], 30)[::3])
    found = stratified_proportion(domain, strata)
    assert (found.value, found.n) == (pytest.approx(part.mean), 20)


def test_labels_from_one_stratum_are_a_plain_sample():
    right, judge, _, labels = drawn(np.random.default_rng(2), 200)
    right, judge = right[-1:-801:-1], judge[-1:-801:-1]
    strata = strata_of(["all"] * labels, {"all": 800})
    found = stratified_prediction_powered_mean(right[:labels], judge[:labels], strata, judge)
    plain = prediction_powered_mean(right[:labels], judge[:labels], judge[labels:])
    assert found.value == pytest.approx(plain.value, abs=1e-3)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=3e-3)
    share, plain = stratified_proportion(right[:labels], strata), proportion(right[:labels])
    assert share.value == pytest.approx(plain.value)
    assert (share.low, share.high) == pytest.approx((plain.low, plain.high), abs=3e-3)


@pytest.mark.parametrize("labels", [100, 400])
def test_the_interval_is_that_of_sampling_in_two_phases(labels):
    """var(y) / N + Σ W² (1/n − 1/N) var(y − λ f), with the λ that makes it least, by a search."""
    right, judge, strata, labels = sample = drawn(np.random.default_rng(3), labels)
    y, f, total = right[:labels], judge[:labels], len(judge)

    def estimate(weight):
        return weight * judge.mean() + float(np.average(y - weight * f, weights=strata.weights))

    def variance(weight):
        mean = np.average(y, weights=strata.weights)
        whole = np.average((y - mean) ** 2, weights=strata.weights) / total
        for number, share in enumerate(strata.shares):
            errors = (y - weight * f)[strata.of == number]
            whole += share**2 * errors.var(ddof=1) * (1 / len(errors) - 1 / (share * total))
        return whole

    weights = np.linspace(0, 1, 2_001)
    best = weights[np.argmin([variance(weight) for weight in weights])]
    found = corrected(*sample)
    assert found.value == pytest.approx(estimate(best), abs=1e-3)
    value = found.value
    low, high = score_limits(value, value * (1 - value) / variance(best))
    assert found.high - found.low == pytest.approx(high - low, rel=6 / labels)  # room for mistakes not seen
    assert found.n == total


def test_conversations_of_equal_answers_carry_as_much_as_one_answer_each():
    right, judge, strata, labels = sample = drawn(np.random.default_rng(4), 100)
    loose, names = corrected(*sample), np.where(strata.of == 0, "differ", "other")
    sizes = {"differ": round(4_000 * strata.shares[0]), "other": round(4_000 * strata.shares[1])}
    groups = np.repeat(np.arange(1_000), 4)
    four = stratified_prediction_powered_mean(
        np.repeat(right[:labels], 4), np.repeat(judge[:labels], 4), strata_of(np.repeat(names, 4), sizes),
        np.repeat(judge, 4), groups[: 4 * labels], groups,
    )  # fmt: skip
    assert four.value == pytest.approx(loose.value, abs=1e-4)
    assert (four.low, four.high) == pytest.approx((loose.low, loose.high), abs=2e-3)
    share = stratified_proportion(right[:labels], strata)
    shares = stratified_proportion(
        np.repeat(right[:labels], 4), strata_of(np.repeat(names, 4), sizes), groups[: 4 * labels]
    )
    assert (shares.low, shares.high) == pytest.approx((share.low, share.high), abs=2e-3)


def test_labels_of_another_run_count_beside_this_one():
    right, judge, strata, labels = drawn(np.random.default_rng(5), 200)
    other = np.random.default_rng(6).random(500) < 0.6
    found = stratified_prediction_powered_mean(
        right[:labels], judge[:labels], strata, other, [f"a{n}" for n in range(labels)], [f"b{n}" for n in range(500)]
    )
    own = corrected(right, judge, strata, labels)
    assert found.high - found.low > own.high - own.low
    assert found.value < own.value  # this judge passes fewer answers of the other run
    assert found.n == 500


def test_what_cannot_be_estimated_is_missing():
    strata = strata_of(["a", "b"], {"a": 5, "b": 5})
    assert stratified_proportion([np.nan, np.nan], strata).value is None
    one = stratified_proportion([1, 0], strata, ["x", "x"])
    assert (one.value, one.low, "one cluster" in one.reason) == (0.5, None, True)
    one = stratified_prediction_powered_mean([1, 0], [1, 0], strata, [1, 0, 1], ["x", "x"], ["x", "x", "y"])
    assert (one.low, "one cluster" in one.reason) == (None, True)
    none = stratified_prediction_powered_mean([], [], strata_of([], {}), [1, 0])
    assert none.reason == "no answer is labelled"
    every = stratified_proportion([1, 1], strata)
    assert (every.value, every.high) == (1.0, 1.0)
    assert every.low < 0.5
    with pytest.raises(ValueError, match="from 0 to 1"):
        stratified_prediction_powered_mean([1, 2], [1, 0], strata, [1, 0])


def test_the_intervals_contain_the_truth_as_often_as_they_say():
    draw, inside, rates, plain = np.random.default_rng(7), 0, 0, 0  # half of the labels are where both differ
    for _ in range(400):
        right, judge, strata, labels = sample = drawn(draw, 100)
        found = corrected(*sample)
        inside += found.low <= 0.7 <= found.high
        rate = stratified_proportion(np.where(right[:labels] == 1, judge[:labels], np.nan), strata)
        rates += rate.low <= 0.8 <= rate.high
        unweighted = proportion(judge[:labels][right[:labels] == 1])
        plain += unweighted.low <= 0.8 <= unweighted.high
    assert 0.92 <= inside / 400 <= 0.98
    assert rates / 400 >= 0.92
    assert plain / 400 < 0.6
