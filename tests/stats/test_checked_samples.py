import numpy as np
import pytest

from evalkit.stats.checked_samples import cluster_numbers, cluster_totals, pairs, samples_needed


@pytest.mark.parametrize(
    ("labels", "numbers"),
    [
        ([-3, -3, 0, 7], [0, 0, 1, 2]),
        ([7, -3, 7, 0], [2, 0, 2, 1]),
        (["b", "a", "b"], [1, 0, 1]),
        (np.array([5, 5, 2], dtype=np.uint8), [1, 1, 0]),  # 2 - 5 is 253 in eight bits
        ([False, True, True], [0, 1, 1]),
        ([], []),
    ],
)
def test_labels_of_any_kind_become_numbers(labels: list, numbers: list) -> None:
    found, count = cluster_numbers(labels, len(labels))
    assert found.tolist() == numbers
    assert count == len(set(numbers))


def test_without_labels_each_value_is_its_own() -> None:
    found, count = cluster_numbers(None, 3)
    assert (found.tolist(), count) == ([0, 1, 2], 3)


def test_totals_are_sums_and_sizes() -> None:
    sums, sizes = cluster_totals(np.array([1.0, 2.0, 4.0]), np.array([1, 0, 1]), 2)
    assert (sums.tolist(), sizes.tolist()) == ([2.0, 5.0], [1.0, 2.0])


def test_pairs_need_both() -> None:
    with pytest.raises(ValueError, match="there are 2 first and 1 second values: pairs need equally many of both"):
        pairs([1, 2], [1])
    with pytest.raises(ValueError, match="NaN or infinity"):
        pairs([1.0], [float("nan")])


@pytest.mark.parametrize(("q", "least"), [(0.5, 1), (0.9, 10), (0.99, 100), (0.999, 1000)])
def test_tails_need_samples(q: float, least: int) -> None:
    assert samples_needed(q) == least
