import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from evalkit.stats.estimate import Estimate
from evalkit.stats.proportions import proportion
from evalkit.stats.repeats import VarianceSplit, pass_at_k, pass_hat_k, variance_split


@pytest.mark.parametrize(("c", "n", "k"), [(0, 3, 2), (1, 5, 2), (3, 5, 3), (4, 6, 3), (6, 6, 1), (5, 6, 6)])
def test_pass_at_k_is_the_share_of_all_choices(c: int, n: int, k: int) -> None:
    choices = list(itertools.combinations([1] * c + [0] * (n - c), k))
    assert pass_at_k([c], [n], k).value == pytest.approx(np.mean([max(choice) for choice in choices]))
    assert pass_hat_k([c], [n], k).value == pytest.approx(np.mean([min(choice) for choice in choices]))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_both_are_unbiased_over_all_outcomes(share: float) -> None:
    n, k = 7, 3
    chances = scipy_stats.binom(n, share).pmf(range(n + 1))
    at = sum(chance * pass_at_k([c], [n], k).value for c, chance in enumerate(chances))
    hat = sum(chance * pass_hat_k([c], [n], k).value for c, chance in enumerate(chances))
    assert (at, hat) == pytest.approx((1 - (1 - share) ** k, share**k))
    # the trap: the plain estimate of the same is too low
    assert sum(chance * (1 - (1 - c / n) ** k) for c, chance in enumerate(chances)) < at - 0.004


def test_large_counts_lose_no_digit() -> None:
    # Chen et al. give the stable product 1 − Π (1 − k/i); C(2000, 100) alone is beyond a float
    for c in (1, 3, 900):
        expected = 1 - np.prod(1 - 100 / np.arange(2000 - c + 1, 2001))
        assert pass_at_k([c], [2000], 100).value == pytest.approx(expected)
    assert pass_hat_k([1999], [2000], 1000).value == pytest.approx(0.5)
    assert pass_hat_k([500], [100_000], 2).value == pytest.approx(500 * 499 / (100_000 * 99_999), rel=1e-14)


def test_one_value_an_item_whatever_its_repeats() -> None:
    assert pass_at_k([3, 0], [3, 300], 1).value == 0.5
    assert pass_at_k([3, 0], [3, 300], 1).n == 2


def test_pass_at_1_has_the_interval_of_the_accuracy_clustered_by_item() -> None:
    right = np.random.default_rng(1).binomial(5, np.random.default_rng(2).beta(2, 1, 40))
    turns = np.concatenate([[1] * c + [0] * (5 - c) for c in right])
    result, expected = pass_at_k(right, [5] * 40, 1), proportion(turns, np.repeat(np.arange(40), 5))
    assert (result.value, result.low, result.high) == pytest.approx(
        (expected.value, expected.low, expected.high), abs=2e-3
    )
    assert pass_hat_k(right, [5] * 40, 1) == result


def test_items_of_one_conversation_are_one_cluster() -> None:
    right, clusters = [3, 3, 3, 3, 0, 1, 0, 0, 2, 3, 3, 3] * 3, np.repeat(np.arange(9), 4)
    alone, result = pass_at_k(right, [3] * 36, 2), pass_at_k(right, [3] * 36, 2, clusters)
    assert result.value == alone.value
    assert result.high - result.low > 1.2 * (alone.high - alone.low)


def test_interval_of_pass_at_k_holds_the_truth() -> None:
    # items whose share right is uniform: pass@2 is E[1 − (1 − p)²] = 2/3, pass^2 is 1/3
    rng = np.random.default_rng(3)
    held = {pass_at_k: 0, pass_hat_k: 0}
    for right in rng.binomial(4, rng.random((500, 40))):
        for function, truth in ((pass_at_k, 2 / 3), (pass_hat_k, 1 / 3)):
            result = function(right, [4] * 40, 2)
            held[function] += result.low <= truth <= result.high
    assert all(460 <= count <= 494 for count in held.values())


def test_all_right_is_no_certainty() -> None:
    result = pass_at_k([4] * 20, [4] * 20, 2)
    assert result.high == 1.0
    assert result.low == pytest.approx(proportion([1] * 20).low, abs=0.02)


def test_pass_is_missing_where_it_is_not_available() -> None:
    for function in (pass_at_k, pass_hat_k):
        assert function([], [], 1) == Estimate(None, None, None, 0, "no items")
        assert function([1, 2], [2, 3], 3) == Estimate(None, None, None, 2, "1 of 2 items have fewer than 3 repeats")
        assert function([1, 1], [2, 2], 1, ["a", "a"]) == Estimate(
            0.5, None, None, 2, "all 2 samples are of one cluster: an interval needs two"
        )
        for right, n, k in (([3], [2], 1), ([-1], [2], 1), ([1], [2], 0)):
            with pytest.raises(
                ValueError, match="it must be at least 1, and each item must have from 0 to n right repeats"
            ):
                function(right, n, k)
        with pytest.raises(ValueError, match="shorter"):
            function([1, 1], [2], 1)


# --- variance_split


def test_calcium_in_turnip_leaves() -> None:
    # G. W. Snedecor, W. G. Cochran, Statistical Methods, 6th ed. (1967), table 10.13.1: 0.0724 and 0.0066
    leaves = [
        *(3.28, 3.09, 3.03, 3.03, 3.52, 3.48, 3.38, 3.38),
        *(2.88, 2.80, 2.81, 2.76, 3.34, 3.38, 3.23, 3.26),
    ]
    result = variance_split(leaves, np.repeat(list("abcd"), 4))
    assert (result.between, result.within) == pytest.approx((0.0724, 0.0066), abs=5e-5)
    assert (result.items, result.n, result.reason) == (4, 16, None)
    assert result.icc == pytest.approx(result.between / (result.between + result.within))


def test_split_has_the_variance_ratio_of_scipys_analysis_of_variance() -> None:
    rng = np.random.default_rng(4)
    groups = [rng.normal(rng.normal(), 1, size) + 1e6 for size in (3, 5, 2, 9)]
    result = variance_split(np.concatenate(groups), np.repeat(range(4), [3, 5, 2, 9]))
    n0 = (19 - (9 + 25 + 4 + 81) / 19) / 3
    assert 1 + n0 * result.between / result.within == pytest.approx(scipy_stats.f_oneway(*groups).statistic)
    assert result.within == pytest.approx(sum((len(g) - 1) * g.var(ddof=1) for g in groups) / 15)


def test_split_is_unbiased_over_all_outcomes_of_unequal_items() -> None:
    # every effect of ±2 between and ±1 within, items of 1, 2 and 3 repeats: 2⁹ outcomes, variances 4 and 1
    items = [0, 1, 1, 2, 2, 2]
    found = []
    for signs in itertools.product((-1, 1), repeat=9):
        result = variance_split(2 * np.array(signs)[items] + np.array(signs[3:]), items)
        found.append((result.between, result.within))
    assert np.mean(found, axis=0) == pytest.approx((4, 1))
    assert min(between for between, _ in found) < 0  # which cutting at 0 would bias


def test_split_is_missing_where_it_is_not_available() -> None:
    assert variance_split([], []) == VarianceSplit(None, None, None, 0, 0, "two items are needed, there are 0")
    assert variance_split([1, 2], ["a", "a"]) == VarianceSplit(
        None, None, None, 1, 2, "two items are needed, there is 1"
    )
    assert variance_split([1, 2], ["a", "b"]) == VarianceSplit(None, None, None, 2, 2, "no item has two values", 0.5)
    equal = variance_split([1.0] * 4, [0, 0, 1, 1])
    assert (equal.between, equal.within, equal.icc) == (0.0, 0.0, None)
    assert equal.reason is not None
    assert math.isclose(variance_split([0, 1, 0, 1], [0, 0, 1, 1]).icc, -1)
