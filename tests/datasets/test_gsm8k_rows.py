"""GSM8K: the number after the mark, and the steps of the socratic form as turns."""

import pytest

from evalkit.conversation import ScorerSpec, Turn
from evalkit.datasets.row_formats import format_of, parse
from evalkit.errors import DatasetError

NUMBER = ScorerSpec("number")
SOCRATIC = (
    "How many in May? ** She sold 48/2 = <<48/2=24>>24 in May.\nHow many in all? ** 48+24 = <<48+24=72>>72.\n#### 72"
)
COLUMNS = {"steps": "answer"}


def steps(answer):
    row = {"question": "Natalia sold 48.", "answer": answer}
    return parse(row, format_of(row, COLUMNS), columns=COLUMNS)


def test_each_step_is_a_turn_with_its_own_number():
    assert steps(SOCRATIC).turns == (
        Turn("Natalia sold 48.\n\nHow many in May?", 24, NUMBER, "She sold 48/2 = 24 in May."),
        Turn("How many in all?", 72, NUMBER, "48+24 = 72."),
    )


def test_a_step_without_a_calculation_has_no_target_but_the_last_has_the_answer():
    turns = steps("Who? ** Natalia.\n\nHow many? ** \n#### 1,072").turns
    assert [(turn.target, turn.assistant) for turn in turns] == [(None, "Natalia."), (1072, None)]


def test_without_the_flag_it_is_one_turn():
    row = {"question": "Natalia sold 48.", "answer": SOCRATIC}
    assert format_of(row) == "gsm8k"
    assert [turn.target for turn in parse(row, "gsm8k").turns] == [72]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("She sold 24.\n#### 24", "has no ' ** ' in step 1: only the socratic form has its steps"),
        ("#### 24", "has no step before ####"),
        ("How? ** So.", "must end with #### and a number"),
    ],
)
def test_the_main_form_has_no_steps(answer, problem):
    with pytest.raises(DatasetError) as caught:
        steps(answer)
    assert caught.value.field == "answer"
    assert caught.value.problem.startswith(problem)
