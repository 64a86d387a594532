"""What every format of another tool gives: how much was written, and what of the run is not in the file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(slots=True)
class Exported:
    """The result of an export.

    Parameters
    ----------
    kind : str
        What was written, in the plural: ``examples``, ``samples``, ``spans``, ``requests``.
    rows : int
        How many.
    left_out : Counter
        What of the run or dataset is not in the file, in words, with how often.
    """

    kind: str
    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def json_line(value: Any) -> bytes:
    """A line of JSON; half of a surrogate pair, which no text can have, becomes a question mark."""
    try:
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    except (TypeError, orjson.JSONEncodeError):
        return orjson.dumps(_storable(value), option=orjson.OPT_APPEND_NEWLINE)


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_storable(key): _storable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(part) for part in value]
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        return float(value)  # more digits than JSON readers keep
    return value
