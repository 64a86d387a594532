import math
from types import MappingProxyType

import numpy as np
import pytest

from evalkit.errors import SettingsError
from evalkit.inputs.bounds import check_above_0, check_whole, not_json


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "t is 0: it must be a number of seconds above 0"),
        (-1.5, "t is -1.5: it must be a number of seconds above 0"),
        (math.nan, "t is nan: it must be a number of seconds above 0"),
        ("5", "t is '5': it must be a number of seconds above 0"),
        (True, "t is True: it must be a number of seconds above 0"),
        (math.inf, "t is inf: it must be 1,000 seconds at most"),
        (1001, "t is 1001: it must be 1,000 seconds at most"),
    ],
)
def test_what_is_no_limit_is_told(value, message):
    with pytest.raises(SettingsError) as caught:
        check_above_0("t", value, 1000, "seconds")
    assert str(caught.value) == message
    for good in (None, 1000, 0.001):
        check_above_0("t", good, 1000, "seconds")


@pytest.mark.parametrize("value", [True, 1.0, "1", 0, 10**13])
def test_what_is_no_count_is_told(value):
    with pytest.raises(SettingsError, match=r"^n is "):
        check_whole("n", value, 1)
    check_whole("n", None, 1)
    check_whole("n", 1, 1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, {"b": math.nan}]}, "a.1.b is nan"),
        (MappingProxyType({"a": (math.inf,)}), "a.0 is inf"),
        ({"a": np.array([1.0, np.inf])}, "a.1 is inf"),
        ({"a": np.float64("nan")}, "a is nan"),
        ({"a": [1, None, "nan", True, 1e308, 10**400]}, None),
    ],
)
def test_numbers_that_json_has_no_word_for_are_found(value, expected):
    assert not_json(value) == expected


def test_a_value_nested_deeper_than_python_recurses_is_read_all_the_same():
    value = [math.inf]
    for _ in range(5_000):
        value = [value]
    assert not_json(value).endswith("0.0 is inf")
