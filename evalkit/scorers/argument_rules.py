"""What the target of tool_call can have in place of an argument's value.

``{"$optional": value}`` may be left out, ``{"$one_of": [value, …]}`` is any of these, and ``{"$scorer": "number",
"target": 3, "abs_tol": 0.1}`` is judged by a scorer. They can be inside each other and at any depth.
"""

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

RULE, OPTIONAL, ONE_OF = "$scorer", "$optional", "$one_of"
_COMMA = re.compile(r" *, *")
_NAME = re.compile(r"[A-Za-z]\w*")


class Undecided(Exception):
    """A rule could not judge an argument."""


def is_optional(value: Any) -> bool:
    """Whether an argument may be left out."""
    return isinstance(value, Mapping) and OPTIONAL in value


def each_rule(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every rule in the arguments of a target, at any depth, and in other rules."""
    if isinstance(value, Mapping):
        if value.keys() & {RULE, OPTIONAL, ONE_OF}:
            yield value
        if RULE in value:  # its target is for the scorer
            return
    for part in value.values() if isinstance(value, Mapping) else value:
        if isinstance(part, Mapping | list):
            yield from each_rule(part)


def rule_problem(rule: Mapping[str, Any]) -> str | None:
    """What is wrong with a rule for an argument; None if it is usable."""
    for mark in (OPTIONAL, ONE_OF):
        if mark in rule and len(rule) > 1:
            return f"beside {mark} it can have no other key"
    if OPTIONAL in rule:
        return None
    if ONE_OF in rule:
        values = rule[ONE_OF]
        return None if isinstance(values, list) and values else f"{ONE_OF} needs a list of values"
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


def value_difference(value: Any, expected: Any, loose_text: bool = False) -> str | None:
    """The rest of the reason for a value that is not the one expected, or breaks its rule; None if it is right.

    Raises
    ------
    Undecided
        A scorer could not judge.
    """
    if not isinstance(expected, Mapping | list) or next(each_rule(expected), None) is None:
        equal = same(value, expected) or same(*(_compared(each, loose_text) for each in (value, expected)))
        return None if equal else f", not {shown(expected)}"
    if isinstance(expected, Mapping):
        if RULE in expected:
            return _judged(value, expected)
        if OPTIONAL in expected:
            return value_difference(value, expected[OPTIONAL], loose_text)
        if ONE_OF in expected:
            return _none_of(value, expected[ONE_OF], loose_text)
        pairs = _pairs(value, expected)
    else:
        comparable = isinstance(value, list) and len(value) == len(expected)
        pairs = list(zip(value, expected, strict=True)) if comparable else None
    if pairs is None:
        return f", not {shown(expected)}"
    return next(filter(None, (value_difference(*pair, loose_text) for pair in pairs)), None)


def _pairs(value: Any, expected: Mapping[str, Any]) -> list[tuple[Any, Any]] | None:
    """The fields of an object with those expected, without optional ones that it lacks; None if others differ."""
    if not isinstance(value, Mapping) or value.keys() - expected.keys():
        return None
    missing = expected.keys() - value.keys()
    if not all(is_optional(expected[key]) for key in missing):
        return None
    return [(part, expected[key]) for key, part in value.items() if not (part is None and is_optional(expected[key]))]


def _none_of(value: Any, values: list[Any], loose_text: bool) -> str | None:
    undecided = None
    for each in values:
        try:
            if value_difference(value, each, loose_text) is None:
                return None
        except Undecided as error:
            undecided = error
    if undecided is not None:
        raise undecided
    return f", not one of {shown(values)}"


def _compared(value: Any, loose_text: bool) -> Any:
    """A value whose texts have no spaces beside commas; with ``loose_text`` one case and no spaces at all."""
    if isinstance(value, str):
        return "".join(value.casefold().split()) if loose_text else _COMMA.sub(",", value)
    if is_deeper(value):
        return value
    if isinstance(value, Mapping):
        return {key: _compared(part, loose_text) for key, part in value.items()}
    return [_compared(part, loose_text) for part in value] if isinstance(value, list) else value


def _spec_of(rule: Mapping[str, Any]) -> tuple[ScorerSpec, Any]:
    options = {key: value for key, value in rule.items() if key not in (RULE, "target")}
    return ScorerSpec(rule[RULE], options), rule.get("target")


def _judged(value: Any, rule: Mapping[str, Any]) -> str | None:
    if is_deeper(value):
        return f": it is {DEEP_VALUE}"
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    spec, target = _spec_of(rule)
    verdict = find(spec.name).judge(Answer(text), target, **spec.options)
    if verdict.value is None:
        raise Undecided(f"the rule {shown(rule)} could not judge {shown(value)}: {verdict.reason}")
    return None if verdict.value == 1 else f": {verdict.reason or 'it breaks its rule'}"
