"""Patterns from strangers: what they take, and that none runs away."""

import pytest

from evalkit.scorers import safe_regex


def test_the_first_group_is_taken_or_the_whole_match():
    assert safe_regex.search(r"is (\w+) or (\w+)", "it is a or b") == "a"
    assert safe_regex.search(r"\d+", "no 12 or 13") == "12"
    assert safe_regex.search(r"\d", "none") is None


def test_a_pattern_that_would_run_away_matches_in_time():
    assert not safe_regex.matches(r"^(a+)+$", "a" * 100_000 + "!")


@pytest.mark.parametrize("pattern", ["(?=a)", r"(a)\1", "(", "[", "(" * 300, r"\Qa"])
def test_what_re2_does_not_know_is_told(pattern):
    assert safe_regex.why_unusable(pattern)
    assert safe_regex.why_unusable("a" * 300) is None
