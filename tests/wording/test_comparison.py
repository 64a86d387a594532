import pytest

from evalkit.comparing.conditions import ConditionDifference
from evalkit.stats.estimate import Estimate
from evalkit.wording.comparison import condition_values, effect


def sentence(value, low, high, **more):
    return effect(["A", "B"], Estimate(value, low, high, 40), clusters="12 conversations", **more)


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        ((0.041, 0.012, 0.07), "B is better by 4.1 points (95 % interval 1.2 to 7.0)"),
        ((-0.041, -0.07, -0.012), "A is better by 4.1 points (95 % interval 1.2 to 7.0)"),
        (
            (0.1, -0.05, 0.25),
            "no difference shown: 12 conversations are too few to detect a difference under 21 points",
        ),
        ((0.1, 0.0, 0.2), "no difference shown: 12 conversations are too few to detect a difference under 21 points"),
    ],
)
def test_the_effect_in_words(difference, words):
    assert sentence(*difference, smallest=0.2004) == words


def test_a_difference_that_correction_for_many_comparisons_removes_may_be_chance():
    assert sentence(0.1, 0.01, 0.19, corrected_p=0.12, family=5) == (
        "B is better by 10.0 points (95 % interval 1.0 to 19.0), which may be chance among 5 comparisons "
        "(corrected p 0.12)"
    )
    assert "chance" not in sentence(0.1, 0.01, 0.19, corrected_p=0.049, family=5)
    assert "chance" not in sentence(0.1, 0.01, 0.19, corrected_p=0.12, family=1)


def test_equal_scores_do_not_show_that_runs_are_equal():
    assert sentence(0.0, -0.265, 0.265, equal=True) == (
        "no difference shown: all 40 pairs have equal scores, and 12 conversations are too few to detect "
        "a difference under 27 points"
    )


def test_how_few_clusters_differ_is_reported():
    text = effect("AB", Estimate(0.02, -0.12, 0.17, 120), clusters="30 conversations", differing=1)
    assert (
        text
        == "no difference shown: only 1 of 30 conversations differs, too few to detect a difference under 17 points"
    )
    text = effect("AB", Estimate(0.02, -0.1, 0.21, 120), clusters="30 conversations", differing=3)
    assert (
        text == "no difference shown: only 3 of 30 conversations differ, too few to detect a difference under 21 points"
    )


def test_a_missing_difference_has_its_reason():
    assert effect(["A", "B"], Estimate(None, None, None, 0, "nothing there"), clusters="") == (
        "nothing to compare: nothing there"
    )
    one = Estimate(0.5, None, None, 2, "one conversation")
    assert effect(["A", "B"], one, clusters="") == "no difference can be shown: one conversation"


LONG = '"' + "You are a math teacher for primarry school students. " * 40


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        (None, 0.7, ("none", "0.7")),
        (None, "none", ("none", "none")),
        ({"type": "text"}, True, ('{"type": "text"}', "true")),
        ("the dataset's", LONG, ("the dataset's", LONG[:59] + "…")),
        (
            LONG + 'Be brief."', LONG + 'Explain."',
            ('…ry school students. Be brief."', '…ry school students. Explain."'),
        ),
        (LONG, LONG + "x" * 99, ("…ry school students. ", "…ry school students. " + "x" * 38 + "…")),
    ],
)  # fmt: skip
def test_both_values_of_a_condition_are_short_and_show_where_they_differ(first, second, shown):
    assert condition_values(ConditionDifference("system", first, second)) == shown
