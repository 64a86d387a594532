"""BFCL: functions as tools, possible answers as targets, calls in Python; each target is checked with the scorer."""

import json

import pytest

from evalkit.conversation import ToolCall
from evalkit.datasets.row_formats import format_of, parse
from evalkit.errors import DatasetError
from evalkit.record import Answer
from evalkit.scorers import scoring

AREA = {
    "name": "geometry.area",
    "description": "Area of a triangle.",
    "parameters": {
        "type": "dict",
        "properties": {
            "base": {"type": "float"},
            "sides": {"type": "tuple", "items": {"type": "any"}},
            "where": {"type": "dict", "properties": {"city": {"type": "String"}}},
        },
        "required": ["base"],
    },
}
TRUTH = [
    {
        "geometry.area": {
            "base": [10, 10.5],
            "unit": ["cm", ""],
            "where": [{"city": ["Rome", "Roma"]}],
            "sides": [[3, 4]],
        }
    }
]


def row(*questions, **keys):
    asked = [[{"role": "user", "content": text}] if isinstance(text, str) else text for text in questions]
    return {"id": "simple_python_0", "question": asked, "function": [AREA], **keys}


def read(row):
    return parse(row, format_of(row))


def score(conversation, *calls, turn=0):
    made = tuple(ToolCall(name, json.dumps(arguments), "c") for name, arguments in calls)
    one = conversation.turns[turn]
    scoring.turn_checker()(one)
    return scoring.score(one, Answer(tool_calls=made), tools=conversation.tools).value


def test_functions_are_sent_as_the_leaderboard_sends_them():
    (tool,) = read(row("How large?")).tools
    function = tool["function"]
    assert (function["name"], function["description"]) == ("geometry_area", "Area of a triangle.")
    assert function["parameters"] == {
        "type": "object",
        "properties": {
            "base": {"type": "number"},
            "sides": {"type": "array", "items": {"type": "string"}},
            "where": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
        "required": ["base"],
    }


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({}, 1), ({"base": 10.5}, 1), ({"base": 11}, 0), ({"unit": "cm"}, 1), ({"unit": "CM"}, 1), ({"unit": "m"}, 0),
        ({"where": {"city": "Roma"}}, 1), ({"where": {"city": "Paris"}}, 0), ({"sides": [4, 3]}, 0), ({"other": 1}, 0),
    ],
)  # fmt: skip
def test_possible_answers_are_rules(changes, right):
    call = {"base": 10, "where": {"city": "Rome"}, "sides": [3, 4]} | changes
    assert score(read(row("How large?", ground_truth=TRUTH)), ("geometry_area", call)) == right


def test_where_no_function_helps_no_call_is_right():
    conversation = read(row("Who are you?") | {"id": "live_irrelevance_1-0-0"})
    assert score(conversation) == 1
    assert score(conversation, ("geometry_area", {})) == 0
    assert read(row("Who?") | {"id": "live_relevance_1"}).turns[0].target is None


def test_several_turns_have_calls_in_python():
    truth = [["geometry.area(base=2, sides=(3, 4))"], ["geometry.area(5)", "geometry.area(base=-6)"]]
    conversation = read(row("a", "b", ground_truth=truth, initial_config={}, path=["x"], involved_classes=["G"]))
    assert score(conversation, ("geometry_area", {"base": 2, "sides": [3, 4]})) == 1
    assert score(conversation, ("geometry_area", {"base": 5}), ("geometry_area", {"base": -6}), turn=1) == 1
    assert score(conversation, ("geometry_area", {"base": 5}), turn=1) == 0


def test_a_system_message_and_earlier_messages_are_sent():
    said = [{"role": role, "content": role} for role in ("system", "user", "assistant", "user")]
    conversation = read(row(said, ground_truth=TRUTH))
    assert conversation.system == "system"
    assert [turn.user for turn in conversation.turns] == ["user", "user"]
    assert [turn.target is None for turn in conversation.turns] == [True, False]


def test_excluded_functions_are_not_sent():
    other = {"name": "geometry.volume", "parameters": {"type": "dict"}}
    conversation = read(row("a", function=[AREA, other], excluded_function=["geometry.volume"]))
    assert [tool["function"]["name"] for tool in conversation.tools] == ["geometry_area"]


CALLS = "ground_truth[0][0]"
WRONG = [
    (row("a", missed_function={"1": ["x"]}), "missed_function", "changes the functions from turn to turn"),
    (row("a", function=None, involved_classes=["X"]), "involved_classes", "names classes whose functions are not in"),
    (row([]), "question", "hold no user message"),
    (row("a", function=[3]), "function[0]", "must be an object"),
    (row("a", function=[{}]), "function[0].name", "must be text, not null"),
    (row("a", ground_truth=[{}]), "ground_truth[0]", "must look like"),
    (row("a", ground_truth=[{"fly": {}}]), "ground_truth[0]", "calls fly, which is not among the functions"),
    (row("a", ground_truth=[{"geometry.area": 3}]), "ground_truth[0].geometry.area", "must be an object"),
    (row("a", "b", ground_truth=[["geometry.area()"]]), "ground_truth", "has calls for 1 turns, and there are 2"),
    *(
        (row("a", ground_truth=[[text]]), CALLS, f"is {text!r}: it must be a call in Python with plain values")
        for text in (
            "geometry.area(base=open('x'))", "geometry.area(**{})", "geometry.area(1, 2, 3, 4)", "1 + 1", "f(",
            "geometry.area(base=1e999)",
            "geometry.area(base=1j)", "geometry.area(base=b'x')", "geometry.area(base={1})",
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(("row", "field", "problem"), WRONG)
def test_what_cannot_be_asked_or_compared_is_refused(row, field, problem):
    with pytest.raises(DatasetError) as caught:
        read(row)
    assert caught.value.field == field
    assert caught.value.problem.startswith(problem)
