"""Marks of an answer."""

import re
import string
import sys

import pytest

from evalkit.scorers.reading.answer_marks import lowered, marked


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("nothing here", []),
        (r"a \boxed{1} b \boxed{{2}x} c", ["{2}x", "1"]),
        (r"\boxed{never closed", []),
        ("#### 5\n#### 6 ", ["6 ", "5"]),
        ("The answer is 1. The answer: 2! More", ["2", "1"]),
        ("answer is 3\n#### 4\n\\boxed{5}", ["5", "4", "3"]),
        ("The answers are many", []),
        ("An answer is neither 1 nor 2", []),
        ("THE ANSWER IS 5", ["5"]),
        ("Die Anſwer: 5", ["5"]),
    ],
)
def test_pieces_come_surest_first(text, pieces):
    assert marked(text) == pieces


def test_small_letters_find_what_patterns_without_case_find_in_the_text():
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, sys.maxunicode + 1)]))
    low = lowered(every)
    assert len(low) == len(every)
    for letter in string.ascii_lowercase:
        found = [match.start() for match in re.finditer(letter, every, re.IGNORECASE)]
        assert found == [match.start() for match in re.finditer(letter, low)], letter
    for kind in (r"\d", r"\w", r"\s"):
        assert [m.start() for m in re.finditer(kind, every)] == [m.start() for m in re.finditer(kind, low)], kind
