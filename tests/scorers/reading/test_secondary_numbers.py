"""Numbers beside the answer in its own sentence."""

import time

import pytest

from evalkit.scorers.reading.final_number import final_number


@pytest.mark.parametrize(
    ("text", "question", "number"),
    [
        ("She will be 30 in 5 years.", "Ann is 25. How old in 5 years?", 30),
        ("Now he has 8, and later 5.", "He had 5.", 5),
        ("It takes 2 hours (120 minutes).", "How many minutes?", 120),
        ("It takes 2 hours (120 minutes).", "How long?", 2),
        ("He has 8, because 20 - 12 is 7.", "", 8),
        ("The total = 15 for 3 of them", "", 15),
        ("**42** for 6 at 7", "", 42),
    ],
)
def test_the_answer_comes_before_what_refers_to_the_question(text, question, number):
    assert final_number(text, question=question).to_json() == number


@pytest.mark.parametrize("part", ["1 for 2 ", "(1 (2 ", "**1** 2 ", "1 = 2 where 3 ", "because 1 ", "wait, 1 no, "])
def test_hostile_text_is_read_in_bounded_time(part):
    began = time.process_time()
    final_number("The answer is 3. " + part * (20_000 // len(part)), question="1 2 3 " * 800)
    assert time.process_time() - began < 3
