"""JSON Schemas from datasets, Draft 2020-12: nothing is fetched for them, and none of them can hold up a run.

``format`` is not checked. A schema may refer to its own parts only. Its patterns are RE2's; ``patternProperties`` is
refused, for the library matches it by an engine that can run away.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

import orjson

from evalkit.scorers.safe_regex import HINT, matches, why_unusable

MOST_STEPS = 50_000  # a second at the most
_PATTERN_STEPS = 20  # matching takes so many times as long as most keywords
_REFERENCES = ("$ref", "$dynamicRef")
_spent = threading.local()


class TooMuchWork(Exception):
    """Checking an answer against its schema was given up."""


def why_no_schema(schema: Mapping[str, Any]) -> str | None:
    """What is wrong with a schema; None: nothing."""
    try:
        return _fault_of(orjson.dumps(schema))
    except (RecursionError, orjson.JSONEncodeError):
        return "it is nested too deeply"


def first_error(schema: Mapping[str, Any], value: Any) -> str | None:
    """How a JSON value breaks a schema that ``why_no_schema`` has nothing against; None: it does not.

    Raises
    ------
    TooMuchWork
        It would take more than ``MOST_STEPS``, or nests too deeply.
    """
    _spent.steps = 0
    try:
        for error in _validator(orjson.dumps(schema)).iter_errors(value):
            return f"{error.message} (at {error.json_path})"
    except RecursionError:
        raise TooMuchWork("it nests too deeply to be checked against the schema") from None
    return None


@lru_cache(maxsize=64)
def _fault_of(schema: bytes) -> str | None:
    from jsonschema import Draft202012Validator, SchemaError

    root = orjson.loads(schema)
    if not str(root.get("$schema", "2020-12")).rstrip("#").endswith(("2020-12", "2020-12/schema")):
        return f"it is written for {root['$schema']}, and what is read here is Draft 2020-12"
    root = _without_name(root)
    fault = next(filter(None, map(_fault_at, _objects(root))), None)
    if fault is None:
        try:
            Draft202012Validator.check_schema(root, format_checker=None)
        except SchemaError as error:
            return f"{error.message} (at {error.json_path})"
        fault = _dangling(root)
    return fault


def _dangling(root: dict[str, Any]) -> str | None:
    """The first reference that leads nowhere."""
    from referencing import Registry, exceptions
    from referencing.jsonschema import DRAFT202012

    resolver = Registry().resolver_with_root(DRAFT202012.create_resource(root))
    for reference in (part[name] for part in _objects(root) for name in _REFERENCES if name in part):
        try:
            resolver.lookup(reference)
        except exceptions.Unresolvable:
            return f"it refers to {reference!r}, which is not in it"
    return None


def _fault_at(part: Mapping[str, Any]) -> str | None:
    for name in ("patternProperties", "$schema", "$id"):
        if name in part:
            return f"{name} {'cannot be used' if name[0] == 'p' else 'can stand only at its top'}"
    for name in _REFERENCES:
        if not str(part.get(name, "#")).startswith("#"):
            return f"it refers to {part[name]!r}: only references into itself, such as '#/$defs/item', are followed"
    pattern = part.get("pattern")
    if isinstance(pattern, str) and (why := why_unusable(pattern)):
        return f"its pattern {pattern!r} cannot be used: {why} ({HINT})"
    return None


def _objects(part: Any) -> Iterator[Mapping[str, Any]]:
    """Every object in a JSON value, itself included."""
    if isinstance(part, dict):
        yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _objects(inner)


def _without_name(root: dict[str, Any]) -> dict[str, Any]:
    """A schema without what names it: the library would change over to its own keywords where it says ``$schema``."""
    return {key: value for key, value in root.items() if key not in ("$schema", "$id")}


@lru_cache(maxsize=64)
def _validator(schema: bytes) -> Any:
    from referencing import Registry

    return _bounded_class()(_without_name(orjson.loads(schema)), registry=Registry())


@cache
def _bounded_class() -> Any:
    """The library's validator, whose every keyword counts its steps."""
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
    quadratic = name.startswith("unevaluated")  # the library looks every field up in a list

    def check(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
        _spend(1 + (len(instance) ** 2 // 1000 if quadratic and isinstance(instance, dict | list) else 0))
        for error in keyword(validator, wanted, instance, schema) or ():
            _spend(len(error.message) // 100)  # it holds the whole value, written out
            yield error

    return check


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if isinstance(instance, str):
        _spend(_PATTERN_STEPS + len(instance) // 1000)
        if not matches(pattern, instance):
            yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _unique_items(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
    """In one pass: the library compares every item with every other."""
    from jsonschema import ValidationError

    if wanted and isinstance(instance, list) and len({_key(item) for item in instance}) < len(instance):
        yield ValidationError(f"{instance!r} has non-unique elements")


def _key(value: Any) -> Any:
    """What equal JSON values have in common, and others have not: 1 and 1.0 are equal, true is not 1."""
    _spend(1)
    if isinstance(value, dict):
        return "object", frozenset((name, _key(part)) for name, part in value.items())
    if isinstance(value, list):
        return "list", *map(_key, value)
    return isinstance(value, bool), value
