"""Sums over clusters beside the long way in exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.stats.clusters import ClusterSums
from evalkit.stats.proportions import clustered_proportion, proportion


def added(labels: np.ndarray, values: np.ndarray, cuts: list[int]) -> ClusterSums:
    sums = ClusterSums()
    for part in np.split(np.arange(len(labels)), sorted(cuts)):
        sums.add(labels[part], values[part])
    sums.close()
    return sums


def exact_spread(labels: np.ndarray, thousandths: np.ndarray) -> Fraction:
    size = np.bincount(labels).astype(object)
    total = np.bincount(labels, weights=thousandths).astype(np.int64).astype(object)
    mean = Fraction(int(thousandths.sum()), len(labels))
    squares, products, sizes = (total * total).sum(), (total * size).sum(), (size * size).sum()
    return (squares - 2 * mean * products + mean * mean * sizes) / 10**6


@given(st.data())
def test_parts_of_any_size_add_up_to_the_whole(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=20))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    thousandths = np.array(data.draw(st.lists(st.integers(0, 1000), min_size=len(labels), max_size=len(labels))))
    cuts = data.draw(st.lists(st.integers(0, len(labels)), max_size=6))
    sums = added(labels, thousandths / 1000, cuts)
    assert (sums.n, sums.clusters) == (len(labels), len(sizes))
    assert (sums.total, sums.complement) == pytest.approx((thousandths.sum() / 1e3, (1000 - thousandths).sum() / 1e3))
    assert sums.squared_deviations() == pytest.approx(float(exact_spread(labels, thousandths)), rel=1e-9, abs=1e-9)
    assert sums.partial == pytest.approx((thousandths * (1000 - thousandths)).sum() / 1e6)
    graded = (thousandths > 0) & (thousandths < 1000)
    assert sums.partial_clusters == len(set(labels[graded]))
    result, whole = clustered_proportion(sums), proportion(thousandths / 1000, labels)
    assert result.n == whole.n
    assert result.value == pytest.approx(whole.value, rel=1e-12)
    assert (result.low is None) == (whole.low is None)


@pytest.mark.parametrize("wrong", [1, 50, 500_000, 999_950, 999_999])
@pytest.mark.parametrize("size", [1, 50])
def test_a_million_values_near_0_and_1_lose_no_digits(wrong: int, size: int) -> None:
    values = np.where(np.arange(1_000_000) < wrong, 0, 1000)
    labels = np.arange(1_000_000) // size
    sums = added(labels, values / 1000, list(range(0, 1_000_000, 4096)))
    assert sums.squared_deviations() == pytest.approx(float(exact_spread(labels, values)), rel=1e-12)


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan, np.inf])
def test_what_is_no_share_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        ClusterSums().add(np.array([1]), np.array([value]))
