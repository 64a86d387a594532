"""The version of a user's own function: a hash of its code, so that a changed function counts as another one."""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

_DIGITS = 12  # hex
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_DEEPEST = 4


def code_version(function: Any) -> str:
    """The first digits of a SHA-256 of a function's source and of the plain values bound to it.

    These are its defaults, its closure and the arguments of a ``functools.partial``: two functions made by one factory
    differ only in them.

    Returns
    -------
    str
        12 hexadecimal digits; ``unknown`` if the source cannot be read.
    """
    named = inspect.unwrap(getattr(function, "func", function))
    try:
        source = inspect.getsource(named if hasattr(named, "__qualname__") else type(named))
    except (OSError, TypeError):
        return "unknown"
    bound = _bound(function, named)
    digest = hashlib.sha256(source.encode())
    if bound:
        digest.update(repr(bound).encode("utf-8", "replace"))
    return digest.hexdigest()[:_DIGITS]


def _bound(function: Any, named: Any) -> list[Any]:
    bound: list[Any] = []
    for values in (getattr(function, "args", ()), sorted(getattr(function, "keywords", {}).items())):
        bound += values
    bound += [value for value in getattr(named, "__defaults__", None) or () if value is not None]
    bound += sorted((getattr(named, "__kwdefaults__", None) or {}).items())
    for cell in getattr(named, "__closure__", None) or ():
        try:
            bound.append(cell.cell_contents)
        except ValueError:  # not filled yet
            continue
    if not hasattr(named, "__qualname__"):  # a callable object
        bound += sorted(getattr(named, "__dict__", {}).items())
    return [_plain(value, 0) for value in bound]


def _plain(value: Any, depth: int) -> Any:
    """A value whose ``repr`` is the same in every process: plain values, and the type names of all others."""
    if type(value) in _PLAIN:
        return value
    if depth < _DEEPEST and type(value) in (tuple, list):
        return [_plain(item, depth + 1) for item in value]
    if depth < _DEEPEST and type(value) is dict:
        return [(_plain(name, depth + 1), _plain(item, depth + 1)) for name, item in value.items()]
    return type(value).__qualname__
