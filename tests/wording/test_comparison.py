import pytest

from evalkit.stats.estimate import Estimate
from evalkit.wording.comparison import ceiling, counted, effect, points, probability


def said(value, low, high, **more):
    return effect(["A", "B"], Estimate(value, low, high, 40), clusters="12 conversations", **more)


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        ((0.041, 0.012, 0.07), "B is better by 4.1 points, 95 % 1.2 to 7.0"),
        ((-0.041, -0.07, -0.012), "A is better by 4.1 points, 95 % 1.2 to 7.0"),
        ((0.1, -0.05, 0.25), "no difference shown: 12 conversations cannot decide a difference under 21 points"),
        ((0.1, 0.0, 0.2), "no difference shown: 12 conversations cannot decide a difference under 21 points"),
    ],
)
def test_the_effect_in_words(difference, words):
    assert said(*difference, smallest=0.2004) == words


def test_what_stands_out_among_many_comparisons_only_is_said_to_be_within_chance():
    assert said(0.1, 0.01, 0.19, corrected_p=0.12, family=5) == (
        "B is better by 10.0 points, 95 % 1.0 to 19.0; that is within chance among 5 comparisons (corrected p 0.12)"
    )
    assert "chance" not in said(0.1, 0.01, 0.19, corrected_p=0.049, family=5)
    assert "chance" not in said(0.1, 0.01, 0.19, corrected_p=0.12, family=1)


def test_equal_scores_do_not_show_that_runs_are_equal():
    assert said(0.0, -0.265, 0.265, equal=True) == (
        "no difference shown: all 40 pairs have equal scores, and 12 conversations cannot decide a difference "
        "under 27 points"
    )


def test_too_few_that_differ_are_counted():
    told = effect("AB", Estimate(0.02, -0.12, 0.17, 120), clusters="30 conversations", differing=1)
    assert (
        told
        == "no difference shown: only 1 of 30 conversations differs, too few to decide a difference under 17 points"
    )
    told = effect("AB", Estimate(0.02, -0.1, 0.21, 120), clusters="30 conversations", differing=3)
    assert (
        told == "no difference shown: only 3 of 30 conversations differ, too few to decide a difference under 21 points"
    )


def test_what_cannot_be_told_has_its_reason():
    assert effect(["A", "B"], Estimate(None, None, None, 0, "nothing there"), clusters="") == (
        "nothing to compare: nothing there"
    )
    one = Estimate(0.5, None, None, 2, "one conversation")
    assert effect(["A", "B"], one, clusters="") == "no difference can be shown: one conversation"


@pytest.mark.parametrize(("rate", "text"), [(0.0411, "4.1"), (-0.0001, "-0.01"), (0.0, "0.0"), (-0.25, "-25.0")])
def test_rates_as_points(rate, text):
    assert points(rate) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(0.0441, "4.5"), (0.05, "5.0"), (0.1, "10.0"), (0.1001, "11"), (0.25, "25")]
)
def test_what_cannot_be_decided_is_rounded_up(rate, text):
    assert ceiling(rate) == text


@pytest.mark.parametrize(
    ("p", "text"), [(None, "–"), (0.0, "<0.0001"), (0.00042, "0.0004"), (0.0123, "0.012"), (0.5, "0.50"), (1.0, "1.00")]
)
def test_a_p_is_never_shown_as_0(p, text):
    assert probability(p) == text


def test_one_of_a_thing_is_in_the_singular():
    assert (counted(1, "turn"), counted(1200, "turn")) == ("1 turn", "1,200 turns")
