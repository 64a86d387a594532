"""How a stored answer is divided over its arrivals."""

import pytest

from evalkit.recorded import run_answers

DELTAS = [("content", character) for character in "abcdefghij"]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10])
def test_every_group_has_about_as_much(count):
    groups = run_answers._divided(DELTAS, count)
    assert [delta for group in groups for delta in group] == DELTAS
    sizes = [len(group) for group in groups]
    assert len(sizes) == count
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("count", [11, 12, 25, 1000])
def test_the_first_and_the_last_of_many_groups_are_never_empty(count):
    groups = run_answers._divided(DELTAS, count)
    assert [delta for group in groups for delta in group] == DELTAS
    assert (len(groups), len(groups[0]), len(groups[-1])) == (count, 1, 1)


def test_nothing_is_divided_into_nothing():
    assert run_answers._divided([], 2) == [(), ()] or run_answers._divided([], 2) == [[], []]
