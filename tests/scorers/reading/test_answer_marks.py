"""Marks of an answer."""

import re
import string
import sys

import pytest

from evalkit.scorers.reading.answer_marks import lowered, marked
from evalkit.scorers.reading.think_block import without_think_block


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


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("<think>7?</think>\n35", "\n35"),
        (" <thinking>7</thinking>35", "35"),
        ("<think>never ends 35", ""),
        ("35 <think>late</think>", "35 <think>late</think>"),
        ("<think>a <thinking> b</THINK> 3 </think> 4", " 3 </think> 4"),
        ("", ""),
    ],
)
def test_reasoning_in_front_does_not_count(text, rest):
    assert without_think_block(text) == rest


def test_small_letters_find_what_patterns_without_case_find_in_the_text():
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, sys.maxunicode + 1)]))
    low = lowered(every)
    assert len(low) == len(every)
    for letter in string.ascii_lowercase:
        found = [match.start() for match in re.finditer(letter, every, re.IGNORECASE)]
        assert found == [match.start() for match in re.finditer(letter, low)], letter
    for kind in (r"\d", r"\w", r"\s"):
        assert [m.start() for m in re.finditer(kind, every)] == [m.start() for m in re.finditer(kind, low)], kind
