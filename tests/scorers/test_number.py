"""The scorer number: the answer that breaks off in a calculation. Its verdicts are in ``test_text``."""

import time

import pytest

from evalkit.conversation import ScorerSpec, Turn
from evalkit.record import Answer
from evalkit.scorers import scoring


@pytest.mark.parametrize("part", ["12 + ", "12+", "12 × ", "12 of ", "12 and "])
def test_a_calculation_without_end_is_read_in_bounded_time(part):
    began = time.process_time()
    score = scoring.score(Turn("?", 35, ScorerSpec("number")), Answer(part * (30_000 // len(part))))
    assert time.process_time() - began < 2  # every operand in the whole text takes 20 s
    assert score.value == 0


@pytest.mark.parametrize("operands", [1, 5, 100])
def test_no_operand_of_a_calculation_that_breaks_off_is_the_answer(operands):
    score = scoring.score(Turn("?", 5, ScorerSpec("number")), Answer("We add: " + "12 + " * operands + "5 ="))
    assert (score.value, score.extracted) == (None, None)
    assert "cut off at its last number, 5" in score.reason


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("It is 7. So 35", None),
        ("It is 7. Now, $35", None),
        ("It is 7\nso 35", None),
        ("It is 7. Done 35", 1),
        ("It is 7. **35", 1),
        ("It is 7. So ** 35", 1),
        ("It is 7. ſo 35", None),
    ],
)
def test_a_text_without_finish_reason_breaks_off_only_after_words_that_go_on(text, value):
    assert scoring.score(Turn("?", 35, ScorerSpec("number")), Answer(text)).value == value
