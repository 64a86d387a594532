import numpy as np
import pytest

from evalkit.stats.estimate import Estimate, independent_difference
from evalkit.stats.proportions import proportion
from evalkit.stats.quantiles import quantile


def ones(right: int, n: int) -> np.ndarray:
    return np.repeat([1.0, 0.0], [right, n - right])


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((48, 80), (56, 70), 0.0524, 0.3339),
        ((3, 10), (9, 10), 0.1705, 0.8090),
        ((0, 29), (5, 56), -0.0381, 0.1926),
        ((0, 20), (0, 10), -0.1611, 0.2775),
        ((0, 20), (10, 10), 0.6791, 1.0),
    ],
)
def test_difference_gives_the_published_limits(first: tuple, second: tuple, low: float, high: float) -> None:
    # R. G. Newcombe, Statistics in Medicine 17 (1998) 873–890, table II, method 10
    result = independent_difference(proportion(ones(*first)), proportion(ones(*second)))
    assert result.value == pytest.approx(second[0] / second[1] - first[0] / first[1])
    assert (result.low, result.high) == pytest.approx((low, high), abs=5e-5)
    assert result.n == min(first[1], second[1])


def test_difference_is_missing_where_one_side_is() -> None:
    whole, open_ended, none = Estimate(0.5, 0.4, 0.6, 9), Estimate(0.7, 0.6, None, 5, "open"), quantile([], 0.5)
    assert independent_difference(whole, none) == Estimate(None, None, None, 0, "no samples")
    result = independent_difference(open_ended, whole)
    assert result == Estimate(pytest.approx(-0.2), None, None, 5, "open")
