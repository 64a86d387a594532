"""Function calls, beside those expected: names, arguments, and rules for arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from evalkit.conversation import ScorerSpec
from evalkit.errors import SettingsError
from evalkit.record import Answer
from evalkit.scorers.json_equality import DEEP_VALUE, is_deeper, same
from evalkit.scorers.registry import find, shown, usable

RULE = "$scorer"
_NAME = re.compile(r"[A-Za-z]\w*")
_MOST_CALLS = 100  # of one answer, and of one target, that are matched with each other


class Undecided(Exception):
    """A rule could not judge an argument."""


def expected_calls(target: Any) -> list[Mapping[str, Any]] | None:
    """A target of tool_call as a list, empty for no call; None: it is none."""
    calls = target if isinstance(target, list) else [target]
    fits = len(calls) <= _MOST_CALLS and all(
        isinstance(call, Mapping)
        and isinstance(call.get("name"), str)
        and isinstance(call.get("arguments", {}), Mapping)
        and call.keys() <= {"name", "arguments"}
        for call in calls
    )
    return calls if fits else None


def matched(
    expected: list[Mapping[str, Any]], calls: list[dict[str, Any]]
) -> tuple[list[Mapping[str, Any]], list[dict[str, Any]]]:
    """What is left over when as many calls as can be are each given to one that was expected.

    Returns
    -------
    (list, list)
        Expected calls that were not made; calls that were not expected.
    """
    calls_left = calls[:_MOST_CALLS]
    # the choosy ones take theirs first; where that does not come out even, they change over (augmenting paths)
    wanted = sorted(expected, key=lambda call: "arguments" not in call)
    fits = [[at for at, call in enumerate(calls_left) if call_difference(call, one) is None] for one in wanted]
    taken: dict[int, int] = {}

    def find_one(number: int, tried: set[int]) -> bool:
        for at in fits[number]:
            if at not in tried:
                tried.add(at)
                if at not in taken or find_one(taken[at], tried):
                    taken[at] = number
                    return True
        return False

    missed = [wanted[number] for number in range(len(wanted)) if not find_one(number, set())]
    return missed, [call for at, call in enumerate(calls) if at not in taken]


def call_difference(call: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """How a call differs from the one wanted; None: it does not.

    Raises
    ------
    Undecided
        A rule could not judge.
    """
    name, arguments = call["name"], call["arguments"]
    if name != wanted["name"]:
        return f"{name} was called, not {wanted['name']}"
    if "arguments" not in wanted:
        return None
    if not isinstance(arguments, Mapping):
        return f"the arguments of {name} are not a JSON object: {shown(arguments)}"
    for key, value in wanted["arguments"].items():
        if key not in arguments:
            return f"{name} was called without {key}"
        why = _value_difference(arguments[key], value)
        if why is not None:
            return f"{name} was called with {key} {shown(arguments[key])}{why}"
    extra = [key for key in arguments if key not in wanted["arguments"]]
    return f"{name} was called with {', '.join(extra)} beside what was expected" if extra else None


def each_rule(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every rule in an object or list of a target's arguments, at any depth."""
    if isinstance(value, Mapping) and RULE in value:
        yield value
        return
    for part in value.values() if isinstance(value, Mapping) else value:
        if isinstance(part, Mapping | list):
            yield from each_rule(part)


def rule_problem(rule: Mapping[str, Any]) -> str | None:
    """What is wrong with a rule for an argument; None: nothing."""
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


def _value_difference(value: Any, wanted: Any) -> str | None:
    """What is to be said behind a value that is not the one wanted, or breaks its rule; None: nothing."""
    if not isinstance(wanted, Mapping | list) or next(each_rule(wanted), None) is None:
        return None if same(value, wanted) else f", not {shown(wanted)}"
    if isinstance(wanted, Mapping):
        if RULE in wanted:
            return _judged(value, wanted)
        alike = isinstance(value, Mapping) and value.keys() == wanted.keys()
        pairs = [(value[key], wanted[key]) for key in wanted] if alike else []
    else:
        alike = isinstance(value, list) and len(value) == len(wanted)
        pairs = list(zip(value, wanted, strict=True)) if alike else []
    return next(filter(None, (_value_difference(*pair) for pair in pairs)), None) if alike else f", not {shown(wanted)}"


def _judged(value: Any, rule: Mapping[str, Any]) -> str | None:
    if is_deeper(value):
        return f": it is {DEEP_VALUE}"
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    spec, target = _spec_of(rule)
    verdict = find(spec.name).judge(Answer(text), target, **spec.options)
    if verdict.value is None:
        raise Undecided(f"the rule {shown(rule)} could not judge {shown(value)}: {verdict.reason}")
    return None if verdict.value == 1 else f": {verdict.reason or 'it breaks its rule'}"
