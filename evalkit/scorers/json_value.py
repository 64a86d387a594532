"""Scorers of data: json and tool_call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson

from evalkit.conversation import ToolCall
from evalkit.record import Answer
from evalkit.scorers.json_equality import difference, same
from evalkit.scorers.registry import Problem, Verdict, cut, need, register, shown
from evalkit.scorers.tool_calls import Undecided, call_difference, each_rule, expected_calls, matched, rule_problem

_FENCE = re.compile(r"\s*```[\w+-]*[ \t\r]*\n(.*?)\n?[ \t]*```\s*", re.DOTALL)
_NO_SCHEMA: Mapping[str, Any] = MappingProxyType({})


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


@register("tool_call", check=_tool_call_check)
def tool_call(answer: Answer, target: Any, *, order: bool = False) -> Verdict:
    """The model called these functions with these arguments, in any order or with ``order`` in this, and no others.

    A target without ``arguments`` takes any, and ``[]`` wants no call at all. Arguments are compared as JSON values: 1
    is 1.0, but neither "1" nor true. In place of a value may stand a rule, a scorer with its own target:
    ``{"$scorer": "number", "target": 3, "abs_tol": 0.1}``.
    """
    expected = expected_calls(target) or []
    calls = [{"name": call.name, "arguments": _arguments(call)} for call in answer.tool_calls]
    extracted = calls[0] if len(calls) == 1 else calls or None
    try:
        reason = _why_other_order(expected, calls) if order else _why_other_calls(expected, calls)
    except Undecided as undecided:
        return Verdict(None, str(undecided), extracted)
    return Verdict(reason is None, reason, extracted)


def _why_other_calls(expected: list[Mapping[str, Any]], calls: list[dict[str, Any]]) -> str | None:
    """How the calls differ from those expected; None: each has its own."""
    if len(expected) == len(calls) == 1:
        return call_difference(calls[0], expected[0])
    if not expected and calls:
        return f"{calls[0]['name']} was called, and no call was expected"
    missed, unmatched = matched(expected, calls)
    if missed:
        wanted = missed[0]
        if not unmatched:
            return f"{wanted['name']} was not called"
        same_name = next((call for call in unmatched if call["name"] == wanted["name"]), unmatched[0])
        return call_difference(same_name, wanted)
    return f"{unmatched[0]['name']} was called beside what was expected" if unmatched else None


def _why_other_order(expected: list[Mapping[str, Any]], calls: list[dict[str, Any]]) -> str | None:
    """How the calls, one by one, differ from those expected; None: they do not."""
    for number, (wanted, call) in enumerate(zip(expected, calls, strict=False), start=1):
        why = call_difference(call, wanted)
        if why is not None:
            return f"call {number}: {why}"
    if len(calls) < len(expected):
        return f"{expected[len(calls)]['name']} was not called"
    return _why_other_calls(expected, calls) if len(calls) > len(expected) else None


def _arguments(call: ToolCall) -> Any:
    """The arguments as a JSON value; as the text that came when it is no JSON."""
    try:
        return orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError:
        return call.arguments


def _json_check(target: Any, *, schema: Mapping[str, Any], only_fields: bool) -> Problem | None:
    if schema:
        need("jsonschema", "the option schema of the scorer json")
        from evalkit.scorers.safe_json_schema import why_no_schema

        why = why_no_schema(schema)
        if why is not None:
            return Problem("scorer", f"the option schema of the scorer json cannot be used: {cut(why)}")
    elif target is None:
        return Problem("target", "there is none, and the scorer json needs one, or a schema as its option")
    if only_fields and not isinstance(target, dict):
        return Problem("target", f"the target is {shown(target)}: with only_fields it must be an object")
    return None


@register("json", check=_json_check, targetless=True)
def json(answer: Answer, target: Any, *, schema: Mapping[str, Any] = _NO_SCHEMA, only_fields: bool = False) -> Verdict:
    """The answer, without a code fence around it, is JSON equal to the target; target true: it is any JSON.

    With ``only_fields`` an object may have other fields than the target's, at any depth. With ``schema``, a JSON Schema
    (``schemas``), the answer must keep to it as well, and the target may be missing.
    """
    fence = _FENCE.fullmatch(answer.text)
    try:
        value = orjson.loads(fence[1] if fence else answer.text)
    except orjson.JSONDecodeError as error:
        return Verdict(0, f"the answer is not JSON: {error}")
    if schema:
        from evalkit.scorers.safe_json_schema import TooMuchWork, first_error

        try:
            broken = first_error(schema, value)
        except TooMuchWork as error:
            return Verdict(None, str(error))
        if broken is not None:
            return Verdict(
                0, f"the JSON breaks the schema: {broken if len(broken) < 400 else _shortened(broken)}", value
            )
    if target is None or target is True:
        return Verdict(1, extracted=value)
    if only_fields:
        reason = difference(value, target)
        return Verdict(reason is None, reason, value)
    right = same(value, target)
    return Verdict(right, None if right else "the JSON is not the target", value)


def _shortened(message: str) -> str:
    """What is said of a long value stands behind it."""
    return f"{message[:200]} … {message[-150:]}"
