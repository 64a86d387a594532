from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.stats.groups import groups_of_equals, letters_of

PAIRS = list(combinations(range(6), 2))


@given(st.lists(st.sampled_from(PAIRS), unique=True))
def test_groups_are_the_largest_sets_without_a_pair_that_differs(different):
    sets = [set(each) for size in range(1, 7) for each in combinations(range(6), size)]
    equal = [each for each in sets if not any(set(pair) <= each for pair in different)]
    largest = sorted(tuple(sorted(each)) for each in equal if not any(each < other for other in equal))
    assert groups_of_equals(6, different) == largest


@pytest.mark.parametrize(
    ("count", "different", "groups"),
    [
        (0, [], []),
        (1, [], [(0,)]),
        (3, [], [(0, 1, 2)]),
        (3, [(0, 2)], [(0, 1), (1, 2)]),
        (3, [(0, 2), (1, 2)], [(0, 1), (2,)]),
        (2, [(0, 1)], [(0,), (1,)]),
    ],
)
def test_two_share_a_group_where_they_do_not_differ(count, different, groups):
    assert groups_of_equals(count, different) == groups


def test_letters_name_the_groups():
    assert letters_of(1, [(0, 1), (1, 2)]) == "ab"
    assert letters_of(27, [(number,) for number in range(30)]) == "ab"
    assert letters_of(26, [(number,) for number in range(30)]) == "aa"
