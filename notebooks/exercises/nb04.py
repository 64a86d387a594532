"""The exercises of notebook 04."""

import copy
from typing import Any

from checks import Function, Value

_ONE = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}],
}
_TWO = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"id": "c7", "type": "function", "function": {"name": "get_mark", "arguments": '{"pupil": "Leo"}'}},
        {"id": "c8", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}},
    ],
}


class _Messages(Function):
    """A function that returns messages: the hint names the part of a message that is wrong."""

    def hint(self, number: str, value: Any) -> str | None:
        hint = super().hint(number, value)
        for arguments, expected, said in self.cases:
            if hint == said:
                return _wrong_part(value(*copy.deepcopy(arguments)), expected) or hint
        return hint


def _wrong_part(messages: Any, expected: list[dict[str, Any]]) -> str | None:
    """What is wrong with the first wrong message of a list that has the right length."""
    if not isinstance(messages, list) or len(messages) != len(expected):
        return None
    for number, (message, wanted) in enumerate(zip(messages, expected, strict=True), 1):
        if not isinstance(message, dict):
            return f"message {number} of the list must be a dict, and it is a {type(message).__name__}."
        for key in [*wanted, *message]:
            if key not in message:
                return f"message {number} lacks the key {key}."
            if key not in wanted:
                return f"message {number} has the key {key}, which a tool message does not need."
            if type(message[key]) is not type(wanted[key]):
                return f"look at the key {key} of message {number}: it must be a text. Is `json.dumps` missing?"
            if message[key] != wanted[key]:
                return f"look at the key {key} of message {number}: its value is not the right one."
    return None


_MARK = {"points": 34, "of": 40}

EXERCISES = {
    "04.1": _Messages(
        [
            (
                (_ONE, {"add": 3}),
                [{"role": "tool", "tool_call_id": "c1", "content": "3"}],
                "one call makes one message: role, call id, result as JSON text. Its name is in call['function'].",
            ),
            (
                (_TWO, {"add": 3, "get_mark": _MARK}),
                [
                    {"role": "tool", "tool_call_id": "c7", "content": '{"points": 34, "of": 40}'},
                    {"role": "tool", "tool_call_id": "c8", "content": "3"},
                ],
                "two calls make two messages, in the order of the calls, each with the result of its own function.",
            ),
            (
                ({"role": "assistant", "content": "Hello!"}, {"add": 3}),
                [],
                "a message without the key tool_calls asks for nothing: the list is empty.",
            ),
            (
                ({"role": "assistant", "content": "Hello!", "tool_calls": None}, {"add": 3}),
                [],
                "endpoints also send null for tool_calls, which is None here: the list is empty then, too.",
            ),
        ]
    ),
    "04.2": Function(
        [
            (('{"a": 12, "b": 23}',), {"a": 12, "b": 23}, "a JSON object becomes a dict."),
            (("{'a': 12}",), None, "that is Python, and no JSON, which has double quotes: None. Is there an eval?"),
            (('{\n    "b": 23,\n    "a": 12\n}',), {"a": 12, "b": 23}, "line breaks and order do not matter in JSON."),
            (('{"pass": true, "note": null}',), {"pass": True, "note": None}, "JSON writes true, false and null."),
            (("{}",), {}, "an object without arguments is an object: a function may need none."),
            (('{"a": 12, "b"',), None, "text that was cut off is no JSON: catch the error, return None."),
            (("",), None, "an empty text is no JSON either."),
            (("[12, 23]",), None, "a list is JSON, but it names no arguments: look at the type of what you have read."),
            (("12",), None, "a number is JSON, but no object."),
            (("null",), None, "null is JSON, but no object."),
            (("dict(a=12)",), None, "that is Python code from a stranger, and it must not be run."),
        ]
    ),
    "04.3": Value(
        int,
        "44adae435052cb2f",
        "each target becomes a list of dicts with only a name, [{'name': …}, …]; count planted errors that score 0.",
        hints={
            "3d3780b219576a36": "that is the count with the whole target: remove `arguments` from each of its calls.",
            "bebb6d26796be771": "those are the planted errors that it does not find.",
            "336e64b0a9d293a3": "leave `arguments` out; an empty one expects no arguments. Or is that the scores of 1?",
            "b5e1cdb594ee2e60": "one too many: does an empty target stay an empty list?",
            "183b43b8867d9cd0": "those are all messages: count those with a planted error and a score of 0.",
        },
    ),
    "04.4": Value(
        str,
        "3759747cb63252e2",
        "go call by call, and for each call through the questions in their order; use one of the five names.",
        hints={
            "2766f1bfa5b7aa2c": "there is such a failure, but an earlier call fails already. What did the pupil ask?",
            "25458b1b3ee6bfba": "start with the first call, and stop at the first question that is answered with no.",
            "c65301abb93e7a0c": "all three functions are in `tools` of this record: look there.",
            "009361002b6a30f4": "the numbers are those of the question. Does the question need each function?",
        },
    ),
}
