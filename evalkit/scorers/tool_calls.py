"""The scorer tool_call: function calls compared with those expected, by name, arguments and rules for arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from evalkit.conversation import ScorerSpec, ToolCall
from evalkit.errors import SettingsError
from evalkit.record import Answer
from evalkit.scorers.json_equality import DEEP_VALUE, is_deeper, same
from evalkit.scorers.registry import Problem, Verdict, find, register, shown, usable

RULE = "$scorer"
_NAME = re.compile(r"[A-Za-z]\w*")
_MOST_CALLS = 100  # calls of an answer, and of a target, that are matched with each other


class Undecided(Exception):
    """A rule could not judge an argument."""


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

    A target without ``arguments`` accepts any, and ``[]`` expects no call. Arguments are compared as JSON values: 1
    equals 1.0, but neither "1" nor true. A rule can replace a value, a scorer with its own target:
    ``{"$scorer": "number", "target": 3, "abs_tol": 0.1}``.
    """
    expected = expected_calls(target) or []
    calls = [{"name": call.name, "arguments": _arguments(call)} for call in answer.tool_calls]
    extracted = calls[0] if len(calls) == 1 else calls or None
    try:
        reason = _ordered_difference(expected, calls) if order else _difference(expected, calls)
    except Undecided as undecided:
        return Verdict(None, str(undecided), extracted)
    return Verdict(reason is None, reason, extracted)


def _difference(expected: list[Mapping[str, Any]], calls: list[dict[str, Any]]) -> str | None:
    """How the calls differ from those expected, in any order; None if they do not."""
    if len(expected) == len(calls) == 1:
        return call_difference(calls[0], expected[0])
    if not expected and calls:
        return f"{calls[0]['name']} was called, and no call was expected"
    missed, unexpected = match(expected, calls)
    if missed:
        first = missed[0]
        if not unexpected:
            return f"{first['name']} was not called"
        same_name = next((call for call in unexpected if call["name"] == first["name"]), unexpected[0])
        return call_difference(same_name, first)
    return f"{unexpected[0]['name']} was called in addition to what was expected" if unexpected else None


def _ordered_difference(expected: list[Mapping[str, Any]], calls: list[dict[str, Any]]) -> str | None:
    """How the calls differ from those expected, in this order; None if they do not."""
    for number, (one, call) in enumerate(zip(expected, calls, strict=False), start=1):
        reason = call_difference(call, one)
        if reason is not None:
            return f"call {number}: {reason}"
    if len(calls) < len(expected):
        return f"{expected[len(calls)]['name']} was not called"
    return _difference(expected, calls) if len(calls) > len(expected) else None


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
    expected: list[Mapping[str, Any]], calls: list[dict[str, Any]]
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
    candidates = [[at for at, call in enumerate(calls_left) if call_difference(call, one) is None] for one in ordered]
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


def call_difference(call: Mapping[str, Any], expected: Mapping[str, Any]) -> str | None:
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
        if key not in arguments:
            return f"{name} was called without {key}"
        why = _value_difference(arguments[key], value)
        if why is not None:
            return f"{name} was called with {key} {shown(arguments[key])}{why}"
    extra = [key for key in arguments if key not in expected["arguments"]]
    return f"{name} was called with {', '.join(extra)} in addition to what was expected" if extra else None


def each_rule(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every rule in the arguments of a target, at any depth."""
    if isinstance(value, Mapping) and RULE in value:
        yield value
        return
    for part in value.values() if isinstance(value, Mapping) else value:
        if isinstance(part, Mapping | list):
            yield from each_rule(part)


def rule_problem(rule: Mapping[str, Any]) -> str | None:
    """What is wrong with a rule for an argument; None if it is usable."""
    name = rule[RULE]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"{shown(name)} is not the name of a scorer"
    spec, target = _spec_of(rule)
    try:
        scorer = usable(spec)
    except SettingsError as error:
        return str(error)
    if target is None and not scorer.targetless:
        return f"it has no target, and the scorer {name} needs one"
    problem = scorer.check(target, **{**scorer.options, **spec.options})
    return None if problem is None else problem.text


def _spec_of(rule: Mapping[str, Any]) -> tuple[ScorerSpec, Any]:
    options = {key: value for key, value in rule.items() if key not in (RULE, "target")}
    return ScorerSpec(rule[RULE], options), rule.get("target")


def _value_difference(value: Any, expected: Any) -> str | None:
    """The rest of the reason for a value that is not the one expected, or breaks its rule; None if it is right."""
    if not isinstance(expected, Mapping | list) or next(each_rule(expected), None) is None:
        return None if same(value, expected) else f", not {shown(expected)}"
    if isinstance(expected, Mapping):
        if RULE in expected:
            return _judged(value, expected)
        comparable = isinstance(value, Mapping) and value.keys() == expected.keys()
        pairs = [(value[key], expected[key]) for key in expected] if comparable else []
    else:
        comparable = isinstance(value, list) and len(value) == len(expected)
        pairs = list(zip(value, expected, strict=True)) if comparable else []
    return (
        next(filter(None, (_value_difference(*pair) for pair in pairs)), None)
        if comparable
        else f", not {shown(expected)}"
    )


def _judged(value: Any, rule: Mapping[str, Any]) -> str | None:
    if is_deeper(value):
        return f": it is {DEEP_VALUE}"
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    spec, target = _spec_of(rule)
    verdict = find(spec.name).judge(Answer(text), target, **spec.options)
    if verdict.value is None:
        raise Undecided(f"the rule {shown(rule)} could not judge {shown(value)}: {verdict.reason}")
    return None if verdict.value == 1 else f": {verdict.reason or 'it breaks its rule'}"
