"""MT-Bench: reference answers in the row or joined, and the form with ``prompt``."""

import pytest

from evalkit.conversation import Turn
from evalkit.datasets.row_formats import format_of, parse
from evalkit.errors import DatasetError

QUESTION = {"question_id": 81, "category": "math", "turns": ["a", "b"]}
JOINED = {"answer_id": "x", "model_id": "gpt-4", "choices": [{"index": 0, "turns": ["r", "s"]}], "tstamp": 1.5}


def read(row):
    return parse(row, format_of(row))


def test_joined_reference_answers_are_golden():
    conversation = read(QUESTION | JOINED)
    assert conversation.turns == (Turn("a", assistant="r"), Turn("b", assistant="s"))
    assert conversation.meta == {"answer_id": "x", "model_id": "gpt-4", "tstamp": 1.5}
    assert read(QUESTION | JOINED | {"reference": ["old"]}).turns == conversation.turns


def test_the_form_with_a_prompt():
    conversation = read({"prompt_id": 7, "category": "math", "prompt": ["a", "b"], "reference": ["r"]})
    assert (conversation.id, conversation.tags) == ("7", ("math",))
    assert conversation.turns == (Turn("a", assistant="r"), Turn("b"))


def test_a_question_id_alone_makes_no_mt_bench():
    assert format_of({"question_id": 1, "question": "q", "answer": "a"}) == "question-answer"


@pytest.mark.parametrize(
    ("choices", "field"),
    [
        ([{}, {}], "choices"),
        ([3], "choices[0]"),
        ([{}], "choices[0].turns"),
        ([{"turns": ["a", "b", "c"]}], "choices[0].turns"),
    ],
)
def test_answers_that_do_not_fit_are_refused(choices, field):
    with pytest.raises(DatasetError) as caught:
        read(QUESTION | {"choices": choices})
    assert caught.value.field == field
