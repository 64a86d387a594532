"""JSON values, compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson


def same(one: Any, other: Any) -> bool:
    """Equality of JSON values, in which 1 is 1.0 and true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def difference(value: Any, wanted: Any, place: str = "") -> str | None:
    """What a value lacks of the one wanted, whose objects need not be all of it; None: nothing.

    Lists must have the same length.
    """
    if isinstance(wanted, Mapping) and isinstance(value, Mapping):
        for key, part in wanted.items():
            here = f"{place}.{key}" if place else key
            if key not in value:
                return f"the field {here} is missing"
            if (why := difference(value[key], part, here)) is not None:
                return why
        return None
    if isinstance(wanted, list) and isinstance(value, list) and len(wanted) == len(value):
        parts = enumerate(zip(value, wanted, strict=True))
        return next(filter(None, (difference(*pair, f"{place}[{number}]") for number, pair in parts)), None)
    if same(value, wanted):
        return None
    return f"the field {place} is {_short(value)}, not {_short(wanted)}" if place else f"it is {_short(value)}"


def _short(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 100 else text[:99] + "…"
