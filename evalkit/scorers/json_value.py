"""The scorer json: the answer is a JSON value, equal to the target or valid by a schema."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from evalkit.record import Answer
from evalkit.scorers.json_equality import difference, same, storable
from evalkit.scorers.reading.json_text import LONG_NUMBER, json_in_prose, read_json
from evalkit.scorers.registry import Problem, Verdict, cut, need, register, shown

_ROUNDED = (
    "numbers of more than 19 digits agree in the first 16 only: a dataset can hold no more, so write them as text"
)
_NO_SCHEMA: Mapping[str, Any] = MappingProxyType({})


def _json_check(target: Any, *, schema: Mapping[str, Any], only_fields: bool, in_prose: bool) -> Problem | None:
    if schema:
        need("jsonschema", "the option schema of the scorer json")
        from evalkit.scorers.safe_json_schema import schema_problem

        problem = schema_problem(schema)
        if problem is not None:
            return Problem("scorer", f"the option schema of the scorer json cannot be used: {cut(problem)}")
    elif target is None:
        return Problem("target", "the target is missing: the scorer json needs one, or a schema as its option")
    if only_fields and not isinstance(target, dict):
        return Problem("target", f"the target is {shown(target)}: with only_fields it must be an object")
    return None


@register("json", check=_json_check, targetless=True, version=2)
def json(
    answer: Answer,
    target: Any,
    *,
    schema: Mapping[str, Any] = _NO_SCHEMA,
    only_fields: bool = False,
    in_prose: bool = False,
) -> Verdict:
    """The answer, without a code fence around it, is JSON equal to the target; a target of true accepts any JSON.

    With ``only_fields`` an object may have other fields than the target's, at any depth. With ``schema``, a JSON Schema
    (``safe_json_schema``), the answer must also be valid by it, and the target may be missing. With ``in_prose`` the
    last JSON of the answer counts, whatever is written around it.
    """
    try:
        value = json_in_prose(answer.text) if in_prose else read_json(answer.text)
    except ValueError as error:
        return Verdict(0, f"the answer is not JSON: {error}")
    stored = storable(value) if LONG_NUMBER.search(answer.text) else value
    if schema:
        from evalkit.scorers.safe_json_schema import TooMuchWork, first_error

        try:
            broken = first_error(schema, value)
        except TooMuchWork as error:
            return Verdict(None, str(error))
        if broken is not None:
            return Verdict(
                0, f"the JSON breaks the schema: {broken if len(broken) < 400 else _shortened(broken)}", stored
            )
    if target is None or target is True:
        return Verdict(1, extracted=stored)
    if only_fields:
        reason = difference(value, target)
        return Verdict(reason is None, reason, stored)
    equal = same(value, target)
    if not equal and stored is not value and same(_rounded(value), target):
        return Verdict(None, _ROUNDED, stored)
    return Verdict(equal, None if equal else "the JSON is not the target", stored)


def _rounded(value: Any) -> Any:
    """A value with integers beyond 64 bits as floats, which is how a target is read from a file."""
    if isinstance(value, int) and 2**63 <= abs(value) < 10**300:
        return float(value)
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list) else value


def _shortened(message: str) -> str:
    """The beginning and the end of a message: what it says follows a value that may be long."""
    return f"{message[:200]} … {message[-150:]}"
