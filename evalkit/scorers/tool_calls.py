"""The scorer tool_call: function calls compared with those expected, by name, arguments and rules for arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from evalkit.conversation import ToolCall
from evalkit.record import Answer
from evalkit.scorers.argument_rules import Undecided, each_rule, is_optional, rule_problem, value_difference
from evalkit.scorers.registry import Problem, Verdict, register, shown

_MOST_CALLS = 100  # calls of an answer, and of a target, that are matched with each other


class Comparison(NamedTuple):
    """How arguments are compared: with the schemas of the functions, and texts with or without regard to case."""

    tools: Sequence[Mapping[str, Any]] = ()
    loose_text: bool = False

    def may_be_left_out(self, name: str, key: str, value: Any, sent: bool) -> bool:
        """Whether an argument that was null or left out is what the target expects."""
        if is_optional(value):
            return not sent or self.null_is_absent(name, key)
        return value is None and (sent or self.null_is_absent(name, key, sent=False))

    def null_is_absent(self, name: str, key: str, *, sent: bool = True) -> bool:
        """Whether null and nothing mean the same for a parameter; without a schema of the function they do.

        ``sent``: null was sent, so it must be allowed, by its type or because the parameter may be left out; else
        nothing was, so the parameter must not be required.
        """
        schema = next((found for tool in self.tools if (found := _parameters(tool, name)) is not None), None)
        if schema is None:
            return True
        properties, required = schema.get("properties"), schema.get("required")
        parameter = properties.get(key) if isinstance(properties, Mapping) else None
        if parameter is None:
            return False
        optional = not isinstance(required, list) or key not in required
        return optional or (sent and _accepts_null(parameter))


DEFAULT = Comparison()


def _parameters(tool: Any, name: str) -> Mapping[str, Any] | None:
    """The schema of a function's parameters, if the tool is that function and has one."""
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or function.get("name") != name:
        return None
    parameters = function.get("parameters")
    return parameters if isinstance(parameters, Mapping) else None


def _accepts_null(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    kind, values = schema.get("type"), schema.get("enum")
    choices = schema.get("anyOf") or schema.get("oneOf")
    return (
        kind == "null"
        or (isinstance(kind, list) and "null" in kind)
        or (isinstance(values, list) and None in values)
        or schema.get("nullable") is True
        or (isinstance(choices, list) and any(map(_accepts_null, choices)))
    )


def _tool_call_check(target: Any, **_options: bool) -> Problem | None:
    expected = expected_calls(target)
    if expected is None:
        form = '{"name": …, "arguments": {…}}, a list of such, or [] for no call'
        return Problem("target", f"the target is {shown(target)}: the scorer tool_call needs {form}")
    for call in expected:
        for rule in each_rule(call.get("arguments", {})):
            problem = rule_problem(rule)
            if problem is not None:
                return Problem("target", f"the rule {shown(rule)} cannot be used: {problem}")
    return None


@register("tool_call", check=_tool_call_check, version=2)
def tool_call(
    answer: Answer,
    target: Any,
    tools: Sequence[Mapping[str, Any]] = (),
    *,
    order: bool = False,
    loose_text: bool = False,
) -> Verdict:
    """The model called these functions with these arguments, in any order or with ``order`` in this, and no others.

    A target without ``arguments`` accepts any, and ``[]`` expects no call. Arguments are compared as JSON values: 1
    equals 1.0, but neither "1" nor true. A space beside a comma in a text makes no difference; with ``loose_text``
    neither case nor any space does. An argument that is null is as if left out, unless the function's schema forbids
    one of both. In place of a value the target can have ``{"$optional": value}``, which may be left out, ``{"$one_of":
    [value, …]}``, or a rule, a scorer with its own target: ``{"$scorer": "number", "target": 3, "abs_tol": 0.1}``.
    """
    way = Comparison(tools, loose_text)
    expected = expected_calls(target) or []
    calls = [{"name": call.name, "arguments": _arguments(call)} for call in answer.tool_calls]
    extracted = calls[0] if len(calls) == 1 else calls or None
    try:
        reason = _ordered_difference(expected, calls, way) if order else _difference(expected, calls, way)
    except Undecided as undecided:
        return Verdict(None, str(undecided), extracted)
    return Verdict(reason is None, reason, extracted)


def _difference(expected: list[Mapping[str, Any]], calls: list[dict[str, Any]], way: Comparison) -> str | None:
    """How the calls differ from those expected, in any order; None if they do not."""
    if len(expected) == len(calls) == 1:
        return call_difference(calls[0], expected[0], way)
    if not expected and calls:
        return f"{calls[0]['name']} was called, and no call was expected"
    missed, unexpected = match(expected, calls, way)
    if missed:
        first = missed[0]
        if not unexpected:
            return f"{first['name']} was not called"
        same_name = next((call for call in unexpected if call["name"] == first["name"]), unexpected[0])
        return call_difference(same_name, first, way)
    return f"{unexpected[0]['name']} was called in addition to what was expected" if unexpected else None


def _ordered_difference(expected: list[Mapping[str, Any]], calls: list[dict[str, Any]], way: Comparison) -> str | None:
    """How the calls differ from those expected, in this order; None if they do not."""
    for number, (one, call) in enumerate(zip(expected, calls, strict=False), start=1):
        reason = call_difference(call, one, way)
        if reason is not None:
            return f"call {number}: {reason}"
    if len(calls) < len(expected):
        return f"{expected[len(calls)]['name']} was not called"
    return _difference(expected, calls, way) if len(calls) > len(expected) else None


def _arguments(call: ToolCall) -> Any:
    """The arguments as a JSON value, or as text if they are not JSON."""
    try:
        return orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError:
        return call.arguments


def expected_calls(target: Any) -> list[Mapping[str, Any]] | None:
    """A target of tool_call as a list, empty for no call; None if it is not such a target."""
    calls = target if isinstance(target, list) else [target]
    fits = len(calls) <= _MOST_CALLS and all(
        isinstance(call, Mapping)
        and isinstance(call.get("name"), str)
        and isinstance(call.get("arguments", {}), Mapping)
        and call.keys() <= {"name", "arguments"}
        for call in calls
    )
    return calls if fits else None


def match(
    expected: list[Mapping[str, Any]], calls: list[dict[str, Any]], way: Comparison = DEFAULT
) -> tuple[list[Mapping[str, Any]], list[dict[str, Any]]]:
    """The calls that are left over when as many as possible are matched one to one with those expected.

    Returns
    -------
    (list, list)
        Expected calls that were not made; calls that were not expected.
    """
    calls_left = calls[:_MOST_CALLS]
    # those with arguments choose first; conflicts are resolved by augmenting paths
    ordered = sorted(expected, key=lambda call: "arguments" not in call)
    candidates = [
        [at for at, call in enumerate(calls_left) if call_difference(call, one, way) is None] for one in ordered
    ]
    matched_to: dict[int, int] = {}

    def find_one(number: int, tried: set[int]) -> bool:
        for at in candidates[number]:
            if at not in tried:
                tried.add(at)
                if at not in matched_to or find_one(matched_to[at], tried):
                    matched_to[at] = number
                    return True
        return False

    missed = [ordered[number] for number in range(len(ordered)) if not find_one(number, set())]
    return missed, [call for at, call in enumerate(calls) if at not in matched_to]


def call_difference(call: Mapping[str, Any], expected: Mapping[str, Any], way: Comparison = DEFAULT) -> str | None:
    """How a call differs from the one expected; None if it does not.

    Raises
    ------
    Undecided
        A rule could not judge.
    """
    name, arguments = call["name"], call["arguments"]
    if name != expected["name"]:
        return f"{name} was called, not {expected['name']}"
    if "arguments" not in expected:
        return None
    if not isinstance(arguments, Mapping):
        return f"the arguments of {name} are not a JSON object: {shown(arguments)}"
    for key, value in expected["arguments"].items():
        if arguments.get(key) is None and way.may_be_left_out(name, key, value, key in arguments):
            continue
        if key not in arguments:
            return f"{name} was called without {key}"
        why = value_difference(arguments[key], value, way.loose_text)
        if why is not None:
            return f"{name} was called with {key} {shown(arguments[key])}{why}"
    extra = [
        key
        for key, value in arguments.items()
        if key not in expected["arguments"] and not (value is None and way.null_is_absent(name, key))
    ]
    return f"{name} was called with {', '.join(extra)} in addition to what was expected" if extra else None
