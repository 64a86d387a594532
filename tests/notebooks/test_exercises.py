"""Every exercise: wrong answers get a hint and no traceback. That the solutions are right is for nbval to see."""

from importlib import import_module
from pathlib import Path

import pytest

from checks import check, exercises

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = [path.name[2:4] for path in sorted((FOLDER / "exercises").glob("nb*.py"))]
WRONG = {notebook: import_module(f"wrong_answers.nb{notebook}") for notebook in NOTEBOOKS}
CASES = [
    (number, at, value)
    for notebook in NOTEBOOKS
    for number, values in WRONG[notebook].WRONG.items()
    for at, value in enumerate(values)
]


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_every_exercise_is_tried_with_five_wrong_answers(notebook):
    assert list(WRONG[notebook].WRONG) == list(exercises(notebook))
    assert all(len(values) >= 5 for values in WRONG[notebook].WRONG.values())


@pytest.mark.parametrize(("number", "value"), [pytest.param(n, v, id=f"{n}-{at}") for n, at, v in CASES])
def test_a_wrong_answer_gets_a_hint(number, value):
    context = getattr(WRONG[number[:2]], "CONTEXT", {}).get(number, {})
    said = repr(check(number, value, **context))
    assert said.startswith("Not yet: ")
    assert len(said.split()) >= 6
    assert "could not be checked" not in said


@pytest.mark.parametrize("number", sorted({number for number, _, _ in CASES}))
@pytest.mark.parametrize("value", [None, "a text", ["a list"], lambda *_: None, object()], ids=type)
def test_a_value_of_the_wrong_type_gets_a_hint(number, value):
    context = getattr(WRONG[number[:2]], "CONTEXT", {}).get(number, {})
    assert repr(check(number, value, **context)).startswith("Not yet: ")


@pytest.mark.parametrize("number", sorted({number for number, _, _ in CASES}))
def test_mistakes_are_told_apart(number):
    context = getattr(WRONG[number[:2]], "CONTEXT", {}).get(number, {})
    hints = {repr(check(number, value, **context)) for value in WRONG[number[:2]].WRONG[number]}
    assert len(hints) >= 3
