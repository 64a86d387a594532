"""The keys of a row besides those that make its format: sent, refused or stored, but never lost.

``system``, ``context``, ``tools``, ``tool_results``, ``params`` and request parameters such as ``temperature`` are
sent. A key that would change what is asked and cannot be sent is refused by name. Any other goes into ``meta``, unless
it looks like a typing error.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from evalkit.datasets.answers import EXPECTED, is_answer, read_answer
from evalkit.datasets.choices import listed_apart
from evalkit.datasets.field_checks import object_in
from evalkit.datasets.native_rows import REQUEST_KEYS
from evalkit.datasets.row_format import Row, read_as
from evalkit.datasets.unsent_keys import MATERIAL, all_asked, is_harmless, refuse_unsent
from evalkit.errors import DatasetError
from evalkit.inputs.suggestions import nearest_name

KEPT = ("id", "tags", "group")
SCORED = ("target", "scorer")
SENT = ("system", "context", "tools", "tool_results", "params")
ALL = (*KEPT, *SCORED, *SENT)

_ALIKE = 0.8  # of a key to another that is read: a slip in one of four letters is another word
_OF_NUMBERS = ("id", "target", "group", "answer", "ideal")
_LIKENESS = 0.88  # of a key to a request parameter, to count as a typing error: most unknown keys are something else
_LONGEST_NAME = 60  # characters of a key that are compared
_OBJECTS = ("thinking", "reasoning")  # request parameters if they are objects; as text they are something else


def with_rest(native: Row, row: Row, own: tuple[str, ...] = ALL, *, others: tuple[str, ...] = ()) -> Row:
    """Add the rest of a row: known keys as they are, ``target`` and ``scorer`` to the last turn, others to ``meta``.

    Parameters
    ----------
    native, row : dict
        The native row so far, and what is left of the row.
    own : tuple of str
        Keys that are read here.
    others : tuple of str
        Keys that were read before, for "did you mean".

    Raises
    ------
    DatasetError
        A key changes what is asked and cannot be sent, or looks like a typing error; ``field`` names it.
    """
    meta = read_as(object_in, row.pop("meta", None) or {}, "meta")
    if not row:  # usual in batch files, and there may be millions
        return {**native, "meta": {**native.get("meta", {}), **meta}} if meta else native
    rest, parameters = {}, {}
    expected = tuple(name for name in (*own, *others) if name != "context" and name not in row)
    for key, value in row.items():
        if key in SCORED and key in own:
            if value is not None:
                native["turns"][-1][key] = value
                _drop_scorer_of_calls(native["turns"][-1], row)
        elif key in own:
            native[key] = _without_conflict(native, key, value)
        elif key in REQUEST_KEYS or (key in _OBJECTS and isinstance(value, dict)):
            parameters[key] = value
        else:
            rest[key] = value
    for key, value in rest.items():
        refuse_unsent(native, key, value)
        if is_harmless(key) and (suggestion := _meant(key[:_LONGEST_NAME], _expected(expected, value))):
            raise DatasetError(f"unknown key; did you mean {suggestion!r}?", field=key)
    _refuse_choices(native, rest)
    if "target" in own and native["turns"]:
        _add_answer(native["turns"][-1], rest)
    _add_parameters(native, parameters)
    return {**native, "meta": {**rest, **native.get("meta", {}), **meta}}


def _expected(names: tuple[str, ...], value: Any) -> tuple[str, ...]:
    """The names of which a key with this value may be a slip: a number is no scorer."""
    return tuple(name for name in names if name in _OF_NUMBERS) if isinstance(value, int | float) else names


@lru_cache(4096)
def _meant(key: str, expected: tuple[str, ...]) -> str | None:
    """The key that a mistyped one stands for; ``prompt_id``, ``answer_type`` and ``uid`` are keys of their own."""
    names = [name for name in expected if not key.startswith(f"{name}_") and not key.endswith(name)]
    parameters = [name for name in REQUEST_KEYS if not key.startswith(f"{name}_")]
    return nearest_name(key, names, _ALIKE) or nearest_name(key, parameters, _LIKENESS)


def _refuse_choices(native: Row, rest: Row) -> None:
    """Raise if choices under keys of their own, such as ``option_a``, are not among the messages."""
    for key, text in listed_apart(rest).values():
        if not all_asked(native, str(text)):
            raise DatasetError(MATERIAL, field=key)


def _add_answer(turn: Row, rest: Row) -> None:
    """Make an answer under another name the target of a turn that has none, if it can only be one."""
    if turn.get("target") is not None:
        return
    name = next((key for key in EXPECTED if is_answer(rest.get(key))), None)
    if name is not None:
        turn["target"] = read_answer(rest.pop(name))


def _drop_scorer_of_calls(turn: Row, row: Mapping[str, Any]) -> None:
    """A row's own target replaces the calls of the messages, whose scorer it cannot be used with."""
    if turn.get("scorer") == "tool_call" and row.get("target") is not None and row.get("scorer") is None:
        del turn["scorer"]


def _without_conflict(native: Row, key: str, value: Any) -> Any:
    """The value of a key that the messages may give as well: both must be the same."""
    if key == "context" and value and not isinstance(value, list):
        raise DatasetError(MATERIAL.replace(",", ", or as a list of messages,", 1), field=key)
    given = native.get(key)
    if given is None or value is None or given == value:
        return given if value is None else value
    raise DatasetError(f"differs from the {key} that the messages give: remove one of them", field=key)


def _add_parameters(native: Row, parameters: Mapping[str, Any]) -> None:
    given = {key: value for key, value in parameters.items() if value is not None}
    params = native.get("params") or {}
    if not given or not isinstance(params, dict):  # another kind is refused when the row is read
        return
    for key, value in given.items():
        if params.get(key, value) != value:
            raise DatasetError(f"differs from params.{key}: remove one of them", field=key)
    native["params"] = {**params, **given}
