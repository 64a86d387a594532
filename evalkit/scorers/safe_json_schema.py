"""JSON Schemas from datasets, Draft 2020-12: nothing is downloaded for them, and none can hold up a run.

``format`` is not checked. A schema can refer to its own parts only. Patterns are in RE2 syntax; ``patternProperties``
is refused, because the library matches it with Python's engine, which cannot be stopped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

import orjson

from evalkit.scorers.safe_regex import HINT, matches, pattern_problem

MOST_STEPS = 50_000  # a second at most
_PATTERN_STEPS = 20  # matching takes this many times as long as most keywords
_REFERENCES = ("$ref", "$dynamicRef")
_spent = threading.local()


class TooMuchWork(Exception):
    """The check of an answer against its schema takes too long."""


def schema_problem(schema: Mapping[str, Any]) -> str | None:
    """What is wrong with a schema; None if it is usable."""
    try:
        return _problem_of(orjson.dumps(schema))
    except (RecursionError, orjson.JSONEncodeError):
        return "it is nested too deeply"


def first_error(schema: Mapping[str, Any], value: Any) -> str | None:
    """How a JSON value breaks a usable schema; None if it is valid.

    Raises
    ------
    TooMuchWork
        The check takes more than ``MOST_STEPS``, or the value nests too deeply.
    """
    _spent.steps = 0
    try:
        for error in _validator(orjson.dumps(schema)).iter_errors(value):
            return f"{error.message} (at {error.json_path})"
    except RecursionError:
        raise TooMuchWork("it nests too deeply to be checked against the schema") from None
    return None


@lru_cache(maxsize=64)
def _problem_of(schema: bytes) -> str | None:
    from jsonschema import Draft202012Validator, SchemaError

    root = orjson.loads(schema)
    if not str(root.get("$schema", "2020-12")).rstrip("#").endswith(("2020-12", "2020-12/schema")):
        return f"it is written for {root['$schema']}, and only Draft 2020-12 is supported"
    root = _without_name(root)
    problem = next(filter(None, map(_problem_at, _objects(root))), None)
    if problem is None:
        try:
            Draft202012Validator.check_schema(root, format_checker=None)
        except SchemaError as error:
            return f"{error.message} (at {error.json_path})"
        problem = _unresolved_reference(root)
    return problem


def _unresolved_reference(root: dict[str, Any]) -> str | None:
    """The problem of the first reference to something that is not in the schema."""
    from referencing import Registry, exceptions
    from referencing.jsonschema import DRAFT202012

    resolver = Registry().resolver_with_root(DRAFT202012.create_resource(root))
    for reference in (part[name] for part in _objects(root) for name in _REFERENCES if name in part):
        try:
            resolver.lookup(reference)
        except exceptions.Unresolvable:
            return f"it refers to {reference!r}, which is not in it"
    return None


def _problem_at(part: Mapping[str, Any]) -> str | None:
    for name in ("patternProperties", "$schema", "$id"):
        if name in part:
            return f"{name} {'is not supported' if name[0] == 'p' else 'is allowed only at the top level'}"
    for name in _REFERENCES:
        if not str(part.get(name, "#")).startswith("#"):
            return f"it refers to {part[name]!r}: only references into itself, such as '#/$defs/item', are followed"
    pattern = part.get("pattern")
    if isinstance(pattern, str) and (reason := pattern_problem(pattern)):
        return f"its pattern {pattern!r} cannot be used: {reason} ({HINT})"
    return None


def _objects(part: Any) -> Iterator[Mapping[str, Any]]:
    """Every object in a JSON value, itself included."""
    if isinstance(part, dict):
        yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _objects(inner)


def _without_name(root: dict[str, Any]) -> dict[str, Any]:
    """A schema without its name: at ``$schema`` the library would use its own keywords instead of the counted ones."""
    return {key: value for key, value in root.items() if key not in ("$schema", "$id")}


@lru_cache(maxsize=64)
def _validator(schema: bytes) -> Any:
    from referencing import Registry

    return _bounded_class()(_without_name(orjson.loads(schema)), registry=Registry())


@cache
def _bounded_class() -> Any:
    """The library's validator, with keywords that count their steps."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    keywords = {**Draft202012Validator.VALIDATORS, "pattern": _pattern, "uniqueItems": _unique_items}
    counted = {name: _counted(name, keyword) for name, keyword in keywords.items()}
    return extend(Draft202012Validator, validators=counted)


def _spend(steps: int) -> None:
    _spent.steps += steps
    if _spent.steps > MOST_STEPS:
        raise TooMuchWork(f"checking it against the schema takes more than {MOST_STEPS:,} steps")


def _counted(name: str, keyword: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    quadratic = name.startswith("unevaluated")  # the library searches a list for every field

    def check(validator: Any, argument: Any, instance: Any, schema: Any) -> Iterator[Any]:
        _spend(1 + (len(instance) ** 2 // 1000 if quadratic and isinstance(instance, dict | list) else 0))
        for error in keyword(validator, argument, instance, schema) or ():
            _spend(len(error.message) // 100)  # it contains the whole value as text
            yield error

    return check


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if isinstance(instance, str):
        _spend(_PATTERN_STEPS + len(instance) // 1000)
        if not matches(pattern, instance):
            yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _unique_items(validator: Any, argument: Any, instance: Any, schema: Any) -> Iterator[Any]:
    """Check ``uniqueItems`` in one pass: the library compares every item with every other."""
    from jsonschema import ValidationError

    if argument and isinstance(instance, list) and len({_key(item) for item in instance}) < len(instance):
        yield ValidationError(f"{instance!r} has non-unique elements")


def _key(value: Any) -> Any:
    """A key that is the same for equal JSON values only: 1 equals 1.0, true does not equal 1."""
    _spend(1)
    if isinstance(value, dict):
        return "object", frozenset((name, _key(part)) for name, part in value.items())
    if isinstance(value, list):
        return "list", *map(_key, value)
    return isinstance(value, bool), value
