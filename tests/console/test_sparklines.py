import io
import math

import pytest

from evalkit.console import sparklines
from evalkit.console.sparklines import ASCII, BLOCKS


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ((0, 1, 2, 4, 7), "▁▂▃▅█"),
        ((3,), "█"),
        ((None, 7.0), " █"),
        ((math.nan, 7.0, math.inf), " █ "),
        ((0, 0), "▁▁"),
        ((), ""),
    ],
)
def test_a_sparkline_has_a_bar_per_value_from_lowest_to_highest(values, bars):
    assert BLOCKS.sparkline(values) == bars


def test_one_of_a_thousand_is_visible_and_zero_is_blank():
    assert BLOCKS.counts([1, 0, 1000]) == "▂ █"
    assert ASCII.counts([1, 0, 1000]) == ". #"
    assert BLOCKS.counts([0, 0]) == "  "


@pytest.mark.parametrize(
    ("value", "low", "high", "bar"),
    [
        (0.5, 0.2, 0.8, "██▓▓▓░░░  "),
        (1.0, 0.8, 1.0, "████████▓▓"),
        (0.0, 0.0, 0.4, "░░░░      "),
        (0.5, None, None, "█████     "),
        (None, None, None, "          "),
    ],
)
def test_an_interval_lies_around_the_end_of_its_bar(value, low, high, bar):
    assert BLOCKS.interval(value, low, high, 10) == bar


@pytest.mark.parametrize(
    ("variables", "coerced", "drawn"),
    [
        ({"LANG": "de_DE.UTF-8"}, False, BLOCKS),
        ({"LANG": "C.utf8"}, False, BLOCKS),
        ({"LANG": "C"}, False, ASCII),
        ({"LANG": "en_US.ISO-8859-1"}, False, ASCII),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C"}, True, ASCII),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, True, ASCII),  # set by Python
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False, BLOCKS),  # set by the user
        ({}, True, ASCII),
    ],
)
def test_blocks_are_for_locales_that_have_them(variables, coerced, drawn):
    assert sparklines._is_utf8(variables, coerced=coerced) is (drawn is BLOCKS)


def test_a_stream_that_cannot_write_blocks_gets_none():
    assert sparklines.glyphs(io.TextIOWrapper(io.BytesIO(), encoding="iso8859-1")) is ASCII
