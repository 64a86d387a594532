"""Agreement of raters against published examples and independent implementations."""

import krippendorff
import numpy as np
import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from evalkit.stats.agreement import LEVELS, alpha, cohen_kappa, raw_agreement

NAN = np.nan
# Krippendorff, Computing Krippendorff's alpha-reliability (2011), section C: four observers, twelve units
PUBLISHED = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
)


def noisy(raters=3, units=60, values=4, missing=0.2, seed=0):
    """Ratings that agree more or less, with holes."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(values, size=units)
    said = np.where(draw.random((raters, units)) < 0.6, truth, draw.integers(values, size=(raters, units)))
    return np.where(draw.random((raters, units)) < missing, NAN, said.astype(float))


@pytest.mark.parametrize(("level", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_the_published_example(level, value):
    found = alpha(PUBLISHED, level)
    assert found.value == pytest.approx(value, abs=0.0005)
    assert found.n == 11  # the unit that one observer alone rated does not count


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("seed", range(4))
def test_alpha_is_that_of_the_krippendorff_package(level, seed):
    ratings = noisy(raters=2 + seed, seed=seed)
    expected = krippendorff.alpha(reliability_data=ratings, level_of_measurement=level)
    assert alpha(ratings, level).value == pytest.approx(expected, abs=1e-12)


def test_kappa_of_cohens_own_kind_of_table():
    # 45 of 70 on the diagonal by hand: p_o = 0.7, p_e = 0.5, kappa = 0.4
    first, second = [1] * 25 + [0] * 25, [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    assert cohen_kappa(first, second).value == pytest.approx(0.4)


@pytest.mark.parametrize("seed", range(3))
def test_kappa_is_that_of_statsmodels(seed):
    first, second = noisy(raters=2, missing=0, seed=seed).astype(int)
    table = np.zeros((4, 4), dtype=int)
    np.add.at(table, (first, second), 1)
    assert cohen_kappa(first, second).value == pytest.approx(cohens_kappa(table).kappa, abs=1e-12)


def test_a_unit_that_one_of_two_left_out_counts_for_neither_kappa_nor_raw_agreement():
    first, second = [1, 1, 0, 0, NAN, 1], [1, 0, 0, 0, 1, NAN]
    assert raw_agreement(first, second).n == 4
    assert raw_agreement(first, second).value == 0.75
    assert cohen_kappa(first, second).value == cohen_kappa(first[:4], second[:4]).value


def test_the_interval_is_that_of_resampling_whole_clusters():
    ratings = noisy(units=80, missing=0, seed=5)
    clusters = np.repeat(np.arange(20), 4)
    found = alpha(ratings, "nominal", clusters, draws=400)
    # the same by drawing rows of the data again, one resample at a time
    draw, drawn = np.random.default_rng(1), []
    for _ in range(400):
        units = np.concatenate([np.flatnonzero(clusters == own) for own in draw.integers(20, size=20)])
        drawn.append(krippendorff.alpha(reliability_data=ratings[:, units], level_of_measurement="nominal"))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.03)
    assert found.high == pytest.approx(high, abs=0.03)


def test_turns_that_repeat_each_other_widen_the_interval():
    once = noisy(units=40, missing=0)
    often = np.repeat(once, 6, axis=1)
    whole, single = alpha(often, "nominal", np.repeat(np.arange(40), 6)), alpha(often)
    assert whole.value == single.value
    assert whole.high - whole.low > 1.8 * (single.high - single.low)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    ratings = noisy()
    assert alpha(ratings, seed=3) == alpha(ratings, seed=3)
    assert alpha(ratings, seed=3).low != alpha(ratings, seed=4).low


@pytest.mark.parametrize(
    ("ratings", "value", "reason"),
    [
        ([[1, NAN, 0], [NAN, 1, NAN]], None, "no unit was rated twice"),
        ([[1.0] * 20, [1.0] * 20], None, "all ratings are the same: agreement cannot be distinguished from chance"),
        ([[0.0, 1.0] * 10, [0.0, 1.0] * 10], 1.0, "no two ratings differ: resampling gives no interval"),
        ([[0, 1, 1, 0], [0, 1, 0, 0]], 8 / 15, "a bootstrap interval needs 10 clusters, there are 4"),
        ([[0.0] * 29 + [1], [0.0] * 30], 0.0, "ratings hardly vary: too many resamples contain only one value"),
    ],
)  # fmt: skip
def test_what_is_not_available_is_missing_with_the_reason(ratings, value, reason):
    found = alpha(ratings)
    assert (found.value, found.low, found.high, found.reason) == (
        None if value is None else pytest.approx(value), None, None, reason,
    )  # fmt: skip


def test_a_judge_that_always_says_the_same_has_kappa_zero_whatever_its_raw_agreement():
    people = [1] * 45 + [0] * 5
    assert raw_agreement(people, [1] * 50).value == 0.9
    assert cohen_kappa(people, [1] * 50).value == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: alpha([[1, 2]], "ratio"), "level is 'ratio'"),
        (lambda: alpha([1, 2]), "raters by units"),
        (lambda: alpha([[1, np.inf], [1, 2]]), "a rating is infinite"),
        (lambda: alpha([[1, 2], [1, 2]], "nominal", [1]), "1 cluster labels were given for 2 values"),
        (lambda: cohen_kappa([1, 2], [1]), "one rater has 2 ratings, the other 1"),
        (lambda: alpha([[1, 0], [1, 2]], confidence=1), "confidence is 1"),
    ],
)
def test_what_cannot_be_used_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
