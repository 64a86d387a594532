import pytest

from evalkit.stats.estimate import Estimate
from evalkit.wording.numbers import (
    MISSING,
    counted,
    duration,
    number,
    p_value,
    percent,
    points,
    points_rounded_up,
    signed,
    with_interval,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, MISSING), (0.04, "0.0 s"), (9.94, "9.9 s"), (12.3, "12 s"), (61, "1 min 01 s"), (3725, "1 h 02 min")],
)
def test_durations_as_people_say_them(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, MISSING), (0, "0"), (0.6321, "0.632"), (41.68, "41.7"), (1234.5, "1,234")]
)
def test_numbers_have_three_significant_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [
        (None, 1, MISSING), (0.0, 1, "0.0%"), (1.0, 1, "100.0%"), (0.5, 0, "50%"), (0.1234, 1, "12.3%"),
        (0.9996, 1, "99.96%"), (0.9994, 1, "99.9%"), (0.996, 0, "99.6%"), (0.99999, 0, "99.999%"),
        (0.0004, 1, "0.04%"), (0.004, 0, "0.4%"), (1e-6, 1, "0.0001%"), (1e-9, 1, "<0.00001%"),
        (1 - 1e-9, 1, ">99.99999%"), (1 - 1e-13, 1, "100.0%"), (0.1 + 0.2 + 0.7, 1, "100.0%"),
    ],
)  # fmt: skip
def test_only_exactly_0_and_1_are_shown_as_0_and_100_percent(share, digits, text):
    assert percent(share, digits) == text


@pytest.mark.parametrize(
    ("difference", "text"),
    [(0.0, "+0.0"), (-0.0, "+0.0"), (0.0003, "+0.03"), (-0.0003, "-0.03"), (0.05, "+5.0"), (-1.0, "-100.0"),
     (-0.9999, "-99.99"), (1.0, "+100.0"), (-0.12, "-12.0")],
)  # fmt: skip
def test_only_a_difference_of_exactly_0_is_shown_as_0(difference, text):
    assert points(difference) == text


@pytest.mark.parametrize(("rate", "text"), [(0.0411, "4.1"), (-0.0001, "-0.01"), (0.0, "0.0"), (-0.25, "-25.0")])
def test_rates_as_points(rate, text):
    assert points(rate, sign=False) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(0.0441, "4.5"), (0.05, "5.0"), (0.1, "10.0"), (0.1001, "11"), (0.25, "25")]
)
def test_a_difference_that_cannot_be_detected_is_rounded_up(rate, text):
    assert points_rounded_up(rate) == text


@pytest.mark.parametrize(
    ("p", "text"), [(None, "–"), (0.0, "<0.0001"), (0.00042, "0.0004"), (0.0123, "0.012"), (0.5, "0.50"), (1.0, "1.00")]
)
def test_a_p_is_never_shown_as_0(p, text):
    assert p_value(p) == text


def test_a_count_of_1_is_singular():
    assert (counted(1, "turn"), counted(1200, "turn")) == ("1 turn", "1,200 turns")


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        (Estimate(0.5, 0.4, 0.6, 9), "50 % (95 % interval 40 % to 60 %, n = 9)"),
        (Estimate(0.5, 0.4, None, 9), "50 % (95 % interval 40 % to no upper limit, n = 9)"),
        (Estimate(0.5, None, None, 9), "50 % (no interval, n = 9)"),
        (Estimate(None, None, None, 0, "no samples"), "missing (no samples)"),
    ],
)
def test_an_estimate_in_words_has_n_and_what_is_missing(estimate: Estimate, words: str) -> None:
    assert with_interval(estimate) == words


def test_changes_have_a_sign_and_counts_a_plural() -> None:
    assert [signed(value) for value in (-12.4, 0.5, 1234)] == ["−12", "+0.5", "+1,234"]
    assert [counted(number, "turn") for number in (0, 1, 2_000)] == ["0 turns", "1 turn", "2,000 turns"]
