"""Equality and difference of JSON values, and how deeply they are nested."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

MOST_LEVELS = 100  # of nested lists and objects, which every parser, writer and recursion can process
DEEP_VALUE = f"a value nested in more than {MOST_LEVELS} levels"  # shown in place of its text
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


def same(one: Any, other: Any) -> bool:
    """Equality of JSON values: 1 equals 1.0, and true does not equal 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def difference(value: Any, target: Any, place: str = "") -> str | None:
    """How a value differs from a target, whose objects may have fewer fields; None if it does not.

    Lists must have the same length.
    """
    if isinstance(target, Mapping) and isinstance(value, Mapping):
        for key, part in target.items():
            here = f"{place}.{key}" if place else key
            if key not in value:
                return f"the field {here} is missing"
            if (reason := difference(value[key], part, here)) is not None:
                return reason
        return None
    if isinstance(target, list) and isinstance(value, list) and len(target) == len(value):
        parts = enumerate(zip(value, target, strict=True))
        return next(filter(None, (difference(*pair, f"{place}[{number}]") for number, pair in parts)), None)
    if same(value, target):
        return None
    return f"the field {place} is {_short(value)}, not {_short(target)}" if place else f"it is {_short(value)}"


def is_deeper(value: Any, most: int = MOST_LEVELS) -> bool:
    """Whether lists and objects are nested in more than ``most`` levels."""
    if not isinstance(value, (dict, list)):
        return False
    level = [value]
    for _ in range(most):
        level = [part for each in level for part in _parts(each)]
        if not level:
            return False
    return any(isinstance(each, dict | list) for each in level)


def _parts(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def is_deep_text(text: str) -> bool:
    """Whether a JSON text that parsers refuse is nested too deeply before any other error."""
    if text.count("[") + text.count("{") <= MOST_LEVELS:
        return False
    level = 0
    for mark in re.findall(r"[\[{\]}]", _QUOTED.sub("", text)):
        level += 1 if mark in "[{" else -1
        if level > MOST_LEVELS:
            return True
    return False


def storable(value: Any) -> Any:
    """A value without integers beyond 64 bits, which can be compared but not stored: these as text."""
    return value if is_deeper(value) else _storable(value)


def _storable(value: Any) -> Any:
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    if isinstance(value, dict):
        return {key: _storable(part) for key, part in value.items()}
    return [_storable(part) for part in value] if isinstance(value, list) else value


def _short(value: Any) -> str:
    if is_deeper(value):
        return DEEP_VALUE
    text = orjson.dumps(storable(value)).decode()
    return text if len(text) <= 100 else text[:99] + "…"
