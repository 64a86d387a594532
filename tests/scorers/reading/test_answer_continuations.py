"""What follows an answer: a correction, a check, the next question."""

import pytest

from evalkit.scorers.reading.answer_continuations import check_start, correction, next_question_start


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("it is 12. wait, it is 14", ", it is 14"),
        ("12. that's wrong: 14", ": 14"),
        ("12. wait, let me check: 3 * 4 = 12", None),
        ("12. wait, let me check. i forgot 2: 14", ", let me check. i forgot 2: 14"),
        ("it is 12, no doubt", None),
        ("it is 12", None),
    ],
)
def test_a_correction_begins_after_its_words(text, rest):
    begin = correction(text, 0)
    assert (None if begin is None else text[begin:]) == rest


@pytest.mark.parametrize(
    ("text", "found"),
    [("x = 4\ncheck: 13", True), ("x = 4. to verify, 13", True), ("check: 14, so it is wrong", False), ("4", False)],
)
def test_a_check_is_found_unless_it_finds_an_error(text, found):
    assert (check_start(text) is not None) is found


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("12\n\nquestion: what is 5?", "12\n"),
        ("12\n\nq: 5?\na: 6\nq: 7?", "12\n"),
        ("question 1:\nten\nquestion: 12", "question 1:\nten"),
        ("\nquestion: 12", None),
        ("12", None),
    ],
)
def test_a_question_of_the_model_s_own_ends_the_answer(text, answer):
    end = next_question_start(text)
    assert (None if end is None else text[:end]) == answer
