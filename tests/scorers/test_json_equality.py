"""JSON values compared: in whole, and by the fields of objects."""

import pytest

from evalkit.scorers.json_equality import difference, same


def test_true_is_not_1_and_1_is_1_0():
    assert same([1, {"a": [None]}], [1.0, {"a": [None]}])
    assert not same([1], [True])
    assert not same({"a": 0}, {"a": False})
    assert not same({"a": None}, {})


@pytest.mark.parametrize(
    ("value", "wanted", "why"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, None),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, None),
        ({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 1}]}, None),
        ({}, {}, None),
        ({"b": 2}, {"a": None}, "the field a is missing"),
        ({"a": {"b": 1}}, {"a": {"c": 1}}, "the field a.c is missing"),
        ({"a": [{"b": True}]}, {"a": [{"b": 1}]}, "the field a[0].b is true, not 1"),
        ({"a": [1, 2]}, {"a": [1]}, "the field a is [1,2], not [1]"),
        ({"a": "x" * 200}, {"a": 1}, f'the field a is "{"x" * 98}…, not 1'),
        ([1], {"a": 1}, "it is [1]"),
    ],
)
def test_what_a_value_lacks(value, wanted, why):
    assert difference(value, wanted) == why
