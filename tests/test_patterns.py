"""Patterns from strangers: what they take, and that none runs away."""

import pytest

from evalkit import patterns


def test_the_first_group_is_taken_or_the_whole_match():
    assert patterns.search(r"is (\w+) or (\w+)", "it is a or b") == "a"
    assert patterns.search(r"\d+", "no 12 or 13") == "12"
    assert patterns.search(r"\d", "none") is None


def test_a_pattern_that_would_run_away_matches_in_time():
    assert not patterns.matches(r"^(a+)+$", "a" * 100_000 + "!")


@pytest.mark.parametrize("pattern", ["(?=a)", r"(a)\1", "(", "[", "(" * 300, r"\Qa"])
def test_what_re2_does_not_know_is_told(pattern):
    assert patterns.why_unusable(pattern)
    assert patterns.why_unusable("a" * 300) is None
