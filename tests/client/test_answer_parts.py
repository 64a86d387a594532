"""Deltas and messages folded into an answer: above all, which piece belongs to which tool call."""

import sys

import pytest
from streams import piece

from evalkit.client.answer_parts import HIDDEN, NOTHING, VISIBLE, AnswerParts, NotAnAnswer
from evalkit.conversation import ToolCall


def fold(*lists):
    """The calls that come of lists of pieces, one list a delta."""
    parts = AnswerParts()
    for pieces in lists:
        parts.add({"choices": [{"delta": {"tool_calls": pieces}}]}, "delta")
    answer = parts.answer()
    return [(call.id, call.name, call.arguments) for call in answer.tool_calls] if answer else []


def brought(delta):
    return AnswerParts().add({"choices": [{"delta": delta}]}, "delta")


def test_pieces_of_one_index_fold_when_the_id_is_null_later():
    first = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    later = [{"index": 0, "id": None, "function": {"name": None, "arguments": part}} for part in ('{"x"', ": 1", "}")]
    assert fold([first], *[[part] for part in later]) == [("a", "f", '{"x": 1}')]


def test_two_calls_by_index_may_come_in_turns():
    assert fold(
        [piece(0, "a", "f", "1")], [piece(1, "b", "g", "2")], [piece(0, arguments="3")], [piece(1, arguments="4")]
    ) == [("a", "f", "13"), ("b", "g", "24")]


def test_two_calls_with_index_0_in_one_list_are_told_apart_by_id():
    calls = [("a", "f", "{}"), ("b", "g", "{}")]
    assert fold([piece(0, "a", "f", "{}"), piece(0, "b", "g", "{}")]) == calls


def test_two_calls_with_index_0_in_two_deltas_are_told_apart_by_id():
    assert fold([piece(0, "a", "f", "{}")], [piece(0, "b", "g", "{}")]) == [("a", "f", "{}"), ("b", "g", "{}")]


def test_pieces_after_two_calls_with_index_0_go_by_id_else_to_the_call_named_last():
    opening = [piece(0, "a", "f")], [piece(0, "b", "g")]
    assert fold(*opening, [piece(0, arguments="1")]) == [("a", "f", ""), ("b", "g", "1")]
    assert fold(*opening, [piece(0, "a", arguments="1")]) == [("a", "f", "1"), ("b", "g", "")]
    assert fold(*opening, [piece(0, "a")], [piece(0, arguments="1")]) == [("a", "f", "1"), ("b", "g", "")]


def test_two_calls_without_id_in_one_list_are_told_apart_by_position():
    assert fold([piece(0, None, "f", ""), piece(0, None, "f", "{}")]) == [(None, "f", ""), (None, "f", "{}")]
    assert fold([piece(None, None, "f", "{}"), piece(None, None, "g", "{}")]) == [(None, "f", "{}"), (None, "g", "{}")]


def test_call_without_id_or_index_begins_with_a_name_after_arguments():
    assert fold([piece(None, "", "f", "1")], [piece(None, "", "", "2")], [piece(None, "", "f", "3")]) == [
        (None, "f", "12"),
        (None, "f", "3"),
    ]


def test_name_repeated_with_every_piece_is_not_glued():
    assert fold([piece(0, "a", "f", "1")], [piece(0, "a", "f", "2")]) == [("a", "f", "12")]


def test_name_in_pieces_is_put_together():
    assert fold([piece(0, "a", "get_")], [piece(0, None, "weather")], [piece(0, None, None, "{}")]) == [
        ("a", "get_weather", "{}")
    ]


def test_new_id_with_every_piece_makes_no_new_call():
    assert fold([piece(0, "a", "f", "1")], [piece(0, "b", None, "2")], [piece(0, "c", None, "3")]) == [
        ("a", "f", "123")
    ]


def test_same_id_under_two_indices_is_two_calls():
    assert fold([piece(0, "a", "f", "1"), piece(1, "a", "g", "2")]) == [("a", "f", "1"), ("a", "g", "2")]


def test_id_that_comes_late_is_kept():
    assert fold([piece(0, None, "f")], [piece(0, "a", None, "1")]) == [("a", "f", "1")]


def test_pieces_that_say_nothing_make_no_call():
    nothing = {"name": None, "arguments": ""}
    parts = AnswerParts()
    for delta in ({"tool_calls": [{"index": 0, "id": None, "function": nothing}]}, {"function_call": nothing}):
        assert parts.add({"choices": [{"delta": delta}]}, "delta") == NOTHING
    assert (parts.empty, parts.answer()) == (True, None)


def test_arguments_given_as_an_object_become_json_text():
    assert fold([piece(0, "a", "f", {"city": "Paris"})]) == [("a", "f", '{"city":"Paris"}')]


def test_calls_of_a_whole_message_are_told_apart_by_position():
    calls = [{"id": "a", "function": {"name": "f", "arguments": "1"}}] * 2
    parts = AnswerParts()
    parts.add({"choices": [{"message": {"content": None, "tool_calls": calls}}]}, "message")
    assert parts.answer().tool_calls == (ToolCall("f", "1", "a"),) * 2


def test_content_given_as_a_list_of_parts_is_joined():
    parts = AnswerParts()
    content = [{"type": "text", "text": "one"}, {"type": "image"}, {"type": "text", "text": " two"}]
    assert parts.add({"choices": [{"message": {"content": content}}]}, "message") == VISIBLE
    assert parts.answer().text == "one two"


@pytest.mark.parametrize(
    ("delta", "weight"),
    [
        ({"content": "a"}, VISIBLE),
        ({"role": "assistant", "content": "a"}, VISIBLE),
        ({"content": "a", "tool_calls": None, "reasoning": None}, VISIBLE),
        ({"refusal": "No."}, VISIBLE),
        ({"tool_calls": [piece(0, "a")]}, VISIBLE),
        ({"tool_calls": [piece(0, None, "f")]}, VISIBLE),
        ({"tool_calls": [piece(0, None, None, "{")]}, VISIBLE),
        ({"function_call": {"name": "f"}}, VISIBLE),
        ({"function_call": {"arguments": "{"}}, VISIBLE),
        ({"reasoning_content": "a"}, HIDDEN),
        ({"reasoning": "a"}, HIDDEN),
        ({"content": "", "reasoning": "a"}, HIDDEN),
        ({"content": "b", "reasoning": "a"}, VISIBLE),
        ({"role": "assistant"}, NOTHING),
        ({"role": "assistant", "content": ""}, NOTHING),
        ({"role": "assistant", "content": None, "refusal": None, "tool_calls": [], "function_call": None}, NOTHING),
        ({"content": "", "reasoning_content": "", "reasoning": None, "refusal": ""}, NOTHING),
        ({"tool_calls": [{"index": 0, "type": "function", "id": None, "function": {"arguments": ""}}]}, NOTHING),
        ({}, NOTHING),
        (None, NOTHING),
    ],
)
def test_what_bears_a_token(delta, weight):
    assert brought(delta) == weight


@pytest.mark.parametrize(
    ("choices", "clause"),
    [
        ("x", "whose choices are not a list of objects"),
        ([1], "whose choices are not a list of objects"),
        ([{"delta": "x"}], "whose delta is text"),
        ([{"delta": {"content": 35}}], "whose content is a number"),
        ([{"delta": {"tool_calls": {"0": 1}}}], "whose tool_calls are an object"),
        ([{"delta": {"tool_calls": [None]}}], "with null for a tool call"),
        ([{"delta": {"tool_calls": [{"function": True}]}}], "with a truth value for a function"),
    ],
)
def test_part_of_a_wrong_type_is_named(choices, clause):
    with pytest.raises(NotAnAnswer, match=f"^{clause}$"):
        AnswerParts().add({"choices": choices}, "delta")


@pytest.mark.parametrize(
    ("delta", "most"),
    [
        ({"content": "a", "reasoning_content": None}, 3),
        ({"content": "a", "reasoning": "", "tool_calls": []}, 3),
        ({"role": "assistant", "content": "a", "tool_calls": None, "function_call": None, "refusal": None}, 3),
        ({"content": None, "reasoning_content": "a"}, 5),
        ({"content": "", "reasoning": "a"}, 5),
        ({"role": "assistant", "reasoning_text": "a"}, 5),
        ({"reasoning": "a", "reasoning_content": "a"}, 6),
    ],
)
def test_a_delta_with_one_text_is_read_in_few_calls(delta, most):
    parts, calls = AnswerParts(), []
    parts.add({"choices": [{"delta": delta}]}, "delta")
    sys.setprofile(lambda frame, event, _: calls.append(frame.f_code.co_name) if event == "call" else None)
    try:
        parts.add({"choices": [{"delta": delta}]}, "delta")
    finally:
        sys.setprofile(None)
    assert len(calls) <= most, calls
    assert (parts.text or parts.reasoning) == ["a", "a"]
