"""Patterns from strangers: what they capture, and that none runs away."""

import re

import pytest

from evalkit.scorers import safe_regex

ANSWER = r"answer is (\w+)|final: (\w+)"


@pytest.mark.parametrize(
    ("pattern", "text", "captured"),
    [
        (r"is (\w+) or (\w+)", "it is a or b", "a"),
        (r"\d+", "no 12 or 13", "12"),
        (r"\d", "none", None),
        (ANSWER, "the answer is Paris", "Paris"),
        (ANSWER, "final: Paris", "Paris"),
        (r"yes|no: (\w+)", "yes, or no: never", "never"),
        (r"(a*)b", "b", ""),
        (r"(?i)größe (\pL+)", "die GRÖSSE, die Größe Übermaß 😀", "Übermaß"),
        (r"^b$", "a\nb", None),
        (r"(?m)^b$", "a\nb", "b"),
        (r"a.b", "a\nb", None),
        (r"(?s)a.b", "a\nb", "a\nb"),
        (r"\Qa.b", "a.b", "a.b"),
        (r"\C", "ü", "\N{REPLACEMENT CHARACTER}"),  # half of a character
        ("\x00", "a\x00", "\x00"),
    ],
)
def test_the_first_group_of_the_match_is_captured_or_the_whole_match(pattern, text, captured):
    assert safe_regex.pattern_problem(pattern) is None
    assert safe_regex.search(pattern, text) == captured
    assert safe_regex.matches(pattern, text) is (captured is not None)


def test_a_pattern_that_would_run_away_matches_in_time():
    assert not safe_regex.matches(r"^(a+)+$", "a" * 100_000 + "!")


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(?=a)", "invalid perl operator '(?=' at character 1"),
        ("é(?=a)", "invalid perl operator '(?=' at character 2"),
        ("(?=a)|(?=b)", "invalid perl operator '(?='"),
        (r"(a)\1", r"invalid escape sequence '\\1' at character 4"),
        ("a**b", "bad repetition operator '**' at character 2"),
        ("x{2000}", "invalid repetition size '{2000}' at character 2"),
        ("[z-a]", "invalid character class range 'z-a' at character 2"),
        ("(", "missing )"),
        ("[", "missing ]"),
        ("(" * 300, "missing )"),
        ("a\\", "trailing \\"),
        (r"\pL{1000}", "pattern too large - compile failed"),
        ("\ud800", "it is not valid Unicode"),
    ],
)
def test_an_unusable_pattern_is_named_with_what_is_wrong_and_where(pattern, why, capfd):
    assert safe_regex.pattern_problem(pattern) == why
    with pytest.raises(ValueError, match="^" + re.escape(why) + "$"):
        safe_regex.search(pattern, "a")
    assert capfd.readouterr() == ("", "")  # RE2 logs to standard error


def test_a_long_pattern_is_usable():
    assert safe_regex.pattern_problem("a" * 300) is None


def test_few_compiled_patterns_are_kept():
    for number in range(200):
        assert safe_regex.matches(f"^{number}$", str(number))
    assert safe_regex._compiled.cache_info().currsize == 32
    assert safe_regex.re2._Regexp._make.cache_info().currsize == 0


def test_a_pattern_may_match_without_its_groups():
    assert safe_regex.search(r"yes|no: (\w+)", "yes") is None
    assert safe_regex.matches(r"yes|no: (\w+)", "yes")
