"""JSON as servers send it: values with small faults, and streams with one value per line."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

import orjson

_LINES_TYPE = re.compile(r"ndjson|jsonl|json-?lines|json-seq|stream\+json")


def parsed(data: bytes) -> Any:
    """Parse JSON, also with NaN, invalid UTF-8 or an unpaired surrogate, as some servers send it.

    Raises
    ------
    ValueError, RecursionError
        It is not JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data.decode("utf-8", "replace"))


def is_object(data: bytes) -> bool:
    """Whether bytes are a JSON object."""
    try:
        return isinstance(parsed(data), dict)
    except (ValueError, RecursionError):
        return False


@lru_cache(maxsize=64)
def media_type(content_type: str) -> str:
    """A content type without its parameters; cached, since an endpoint repeats its headers."""
    return content_type.partition(";")[0].strip().lower()


def begins_stream(body: bytes | bytearray, content_type: str) -> bool:
    """Whether the first line of a JSON body is the first of several values, and the body not one whole answer."""
    line = bytes(body.partition(b"\n")[0]).strip()
    if not line.endswith(b"}"):
        return False
    try:
        value = parsed(line)
    except (ValueError, RecursionError):
        return False
    return _LINES_TYPE.search(content_type) is not None or _is_part_of_a_stream(value)


def _is_part_of_a_stream(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    choices = value.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    has_delta = isinstance(choice, dict) and "delta" in choice
    return has_delta or value.get("done") is False or str(value.get("object")).endswith("chunk")
