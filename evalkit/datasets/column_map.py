"""The map of fields to columns of a file, or to keys of its JSON rows: ``user=prompt``, ``target=solution.value``.

A key of a JSON row can be a path: names joined by full stops, and numbers, from 0, for places in a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from evalkit.errors import DatasetError, SettingsError

CSV_FIELDS = ("id", "user", "target", "system", "assistant", "scorer", "tags", "group")
JSON_FIELDS = (*CSV_FIELDS, "choices", "context", "messages", "params", "steps", "tool_results", "tools", "turns")
_MISSING = object()


def check_fields(columns: Mapping[str, str] | None, fields: Iterable[str], kind: str = "column") -> None:
    """Raise ``SettingsError`` for a field that cannot be mapped."""
    known = tuple(fields)
    for name in columns or {}:
        if name not in known:
            raise SettingsError(f"no {kind} can be read as {name!r}: the fields are {', '.join(known)}")


def mapped(row: Mapping[str, Any], columns: Mapping[str, str], *, first: bool) -> dict[str, Any]:
    """A copy of a JSON row in which each field has the value at its path, and nothing else has it.

    Parameters
    ----------
    row : mapping
    columns : mapping
        Field to path.
    first : bool
        The row is the first of its file: a path that it lacks is an error. In later rows the field is missing.

    Raises
    ------
    DatasetError
        A path leads nowhere.
    """
    values = {name: _value_at(row, _steps(row, path)) for name, path in columns.items()}
    for name, value in values.items():
        if value is _MISSING and first:
            listed = ", ".join(map(str, row))[:200]
            problem = f"there is no key {columns[name]!r} to read as {name}: the row has {listed or 'no keys'}"
            raise DatasetError(problem)
    changed: dict[str, Any] = dict(row)
    for path in dict.fromkeys(columns.values()):
        changed = _without(changed, _steps(row, path))
    displaced = {key: changed.pop(key) for key in list(changed) if key in values}
    changed |= {name: value for name, value in values.items() if value is not _MISSING}
    if displaced:  # another key has the name of a field that is read from elsewhere
        meta = changed.get("meta")
        changed["meta"] = {**displaced, **(meta if isinstance(meta, dict) else {})}
    return changed


def field_as_mapped(field: str | None, columns: Mapping[str, str] | None) -> str | None:
    """The name that a field has in the row as it came."""
    for name, path in (columns or {}).items():
        if field is not None and (field == name or field.startswith((f"{name}.", f"{name}["))):
            return path + field[len(name) :]
    return field


def _steps(row: Mapping[str, Any], path: str) -> list[str]:
    return [path] if path in row else path.split(".")


def _value_at(value: Any, steps: list[str]) -> Any:
    for step in steps:
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return _MISSING
    return value


def _without(value: Any, steps: list[str]) -> Any:
    """A copy without what is at these steps, and without objects that it leaves empty; lists stay as they are."""
    step, *more = steps
    if not isinstance(value, Mapping) or step not in value:
        return value
    inner = _without(value[step], more) if more else None
    rest = {key: part for key, part in value.items() if key != step}
    keep = more and inner != {}
    return {key: inner if key == step else part for key, part in value.items()} if keep else rest
