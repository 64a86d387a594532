"""The checks of the course's exercises, and the file that keeps the progress."""

import math

import numpy as np
import pytest

import checks
from checks import Function, Rule, Value, check, digest, progress

CODE = {
    "99.1": Value(int, digest("99.1", 276), "multiply", hints={digest("99.1", 35): "that is the sum"}),
    "99.2": Function([((2, 3), 6, "it must multiply"), (([1],), [1], "a list stays a list")][:1]),
    "99.3": Rule(list, lambda value, most: None if len(value) <= most else "too long"),
    "99.4": Value(str, digest("99.4", "Length"), "look at finish_reason"),
}


@pytest.fixture(autouse=True)
def course(monkeypatch, tmp_path):
    """A course of one notebook, and a progress file of its own."""
    monkeypatch.setattr(checks, "exercises", lambda notebook: CODE if notebook == "99" else {})
    monkeypatch.setattr(checks, "FOLDER", tmp_path)
    monkeypatch.setattr(checks, "PROGRESS", tmp_path / ".progress.json")
    (tmp_path / "99-test.ipynb").write_text("{}")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("value", [276, 276.0, np.int64(276), np.float64(276.0000000001)])
def test_a_number_is_right_in_any_type_of_number(value):
    assert check("99.1", value).right


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (35, "that is the sum"),
        (277, "multiply"),
        (None, "is a `return` missing?"),
        ("276", "a number is expected, and this is a str"),
        (True, "a number is expected, and this is a bool"),
        (math.nan, "a number is expected"),
        ([276], "this is a list"),
        (lambda: 276, "this is a function"),
    ],
)
def test_a_wrong_value_gets_a_hint(value, hint):
    verdict = check("99.1", value)
    assert not verdict.right
    assert hint in repr(verdict)
    assert repr(verdict).startswith("Not yet: ")


def test_text_is_compared_without_case_and_outer_blanks():
    assert check("99.4", " length ").right
    assert not check("99.4", "stop").right


@pytest.mark.parametrize(
    ("function", "hint"),
    [
        (lambda a, b: None, "is a `return` missing?"),
        (lambda a, b: a + b, "it must multiply"),
        (lambda a, b: str(a * b), "it must multiply"),
        (lambda a, b: a / 0, "raised ZeroDivisionError"),
        (lambda a: a, "raised TypeError"),
        (6, "a function is expected, and this is an int"),
        (None, "a function is expected"),
    ],
)
def test_a_wrong_function_gets_a_hint(function, hint):
    assert hint in repr(check("99.2", function))


@pytest.mark.parametrize(
    ("function", "hint"),
    [
        (lambda value: None, "returned None when called with 'a': is a `return` missing?"),
        (lambda value: value or None, "returned None when called with '': an empty text is a text"),
        (lambda value: value if value == "a" else None, "returned None when called with '': an empty text is a text"),
    ],
)
def test_a_function_that_has_returned_something_lacks_no_return(function, hint):
    cases = [(("a",), "a", "the same again"), (("",), "", "an empty text is a text")]
    assert hint in Function(cases).hint("99.2", function)


@pytest.mark.parametrize("kind", [int, np.int64])
def test_a_whole_number_may_be_of_any_type(kind):
    assert Function([((6,), 6, "")]).hint("99.2", kind) is None


@pytest.mark.parametrize(
    ("returned", "expected", "hint"),
    [
        (6.0, 6, "your function returned 6.0, a float: a whole number is expected, an int."),
        (np.float64(6), 6, "a whole number is expected, an int."),
        (7.0, 6, "it must be six"),
        (True, 1, "it must be six"),
        ((6,), [6], "your function returned a tuple: a list is expected."),
        (map(int, "6"), [6], "your function returned a map: a list is expected."),
        ([7], [6], "it must be six"),
    ],
)
def test_a_returned_value_of_another_kind_is_named(returned, expected, hint):
    assert hint in Function([((), expected, "it must be six")]).hint("99.2", lambda: returned)


def test_a_function_cannot_change_what_the_next_case_sees():
    cases = [(([1, 2],), 1, "")] * 2
    assert Function(cases).hint("99.2", lambda values: values.pop(0)) is None


def test_a_rule_is_given_what_the_notebook_knows():
    assert check("99.3", [1], most=1).right
    assert repr(check("99.3", [1, 2], most=1)) == "Not yet: too long"
    assert "could not be checked (TypeError" in repr(check("99.3", [1]))


def test_an_exercise_that_does_not_exist_is_named():
    assert "there is no exercise '98.1'" in repr(check("98.1", 1))


def test_no_answer_can_be_read_from_a_hash():
    assert "276" not in repr(CODE["99.1"])
    assert digest("99.1", 276) != digest("99.2", 276)


def test_progress_is_remembered_and_shown():
    assert repr(progress()).endswith("0 of 4 exercises solved")
    check("99.1", 276)
    check("99.1", 1)
    assert "●○○○" in repr(progress())
    assert repr(progress()).endswith("1 of 4 exercises solved")


@pytest.mark.parametrize("content", ["", "{", "3", '["99.9", 4]', "\0"])
def test_a_damaged_progress_file_is_an_empty_one(content):
    checks.PROGRESS.write_text(content)
    assert "0 of 4" in repr(progress())
    assert check("99.1", 276).right
    assert "1 of 4" in repr(progress())


def test_solutions_do_not_count_as_progress(tmp_path, monkeypatch):
    (tmp_path / "solutions").mkdir()
    monkeypatch.chdir(tmp_path / "solutions")
    assert check("99.1", 276).right
    assert not checks.PROGRESS.exists()
