"""Keys of a model's message and of its calls that the API does not define, and that go back in a tool round.

Some endpoints sign their function calls, or demand the reasoning of a call back (``thought_signature``,
``reasoning_content``, ``reasoning_details``, ``thinking_blocks``): a history without them is refused. A stream sends
them in pieces, which are put together here as those of text and calls are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from evalkit.client.message_parts import joined
from evalkit.conversation import FUNCTION
from evalkit.record import REASONING_TEXTS

CALL_KEYS = frozenset({"id", "type", "index", FUNCTION})
FUNCTION_KEYS = frozenset({"name", "arguments"})
MESSAGE_KEYS = frozenset({"role", "content", "refusal", "tool_calls", "function_call"})

# keys of a message that an endpoint may demand back; others (annotations, images, token ids) are only for readers
_GOES_BACK = re.compile(r"reason|think|thought|signature|extra_content|provider_specific", re.IGNORECASE)
# text that names something: a further piece replaces it
_LABELS = frozenset({"type", "id", "format", "index", "role", "name", "object"})
# text that an endpoint may send whole with every piece
_SEALED = re.compile(r"signature|opaque|encrypted|^data$", re.IGNORECASE)
_DEEPEST = 16  # levels that are put together; what is deeper is taken as it is
_VALUE_COST = 64  # bytes of a small value: the object and its place


class Extras:
    """Puts together the further keys of one message or call, piece by piece."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys = _Keys()

    def add(self, values: Mapping[str, Any]) -> int:
        """Add the keys of one piece; return an estimate of their memory in bytes."""
        self._keys.add(values, 0)
        # the text of the reasoning is the same object as in the answer's own list
        return sum(_VALUE_COST if key in REASONING_TEXTS else _size(value) for key, value in values.items())

    def add_reasoning(self, name: str, text: str) -> int:
        """Add a piece of one of ``REASONING_TEXTS``, as ``add`` does."""
        if type(part := self._keys._parts.get(name)) is _Text:
            part._pieces.append(text)  # neither a label nor a signature
        else:
            self._keys.add({name: text}, 0)
        return _VALUE_COST

    def value(self) -> dict[str, Any] | None:
        """The keys as JSON values; None: there are none, or they cannot be sent as JSON."""
        try:
            return orjson.loads(orjson.dumps(self._keys.value())) or None  # numbers become those that are sent
        except orjson.JSONEncodeError:  # nested too deep, or a number beyond 64 bits
            return None


def of_call(piece: Mapping[str, Any]) -> dict[str, Any]:
    """The further keys of a call, those inside its function included; empty values are left out."""
    extra = {key: value for key, value in piece.items() if key not in CALL_KEYS and not _is_empty(value)}
    function = piece.get(FUNCTION)
    if isinstance(function, dict) and not function.keys() <= FUNCTION_KEYS:
        inside = {key: value for key, value in function.items() if key not in FUNCTION_KEYS and not _is_empty(value)}
        if inside:
            extra[FUNCTION] = inside
    return extra


def of_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """The further keys of a message that go back; empty values are left out."""
    return {
        key: value
        for key, value in message.items()
        if key not in MESSAGE_KEYS and not _is_empty(value) and goes_back(key)
    }


@lru_cache(maxsize=256)
def goes_back(key: str) -> bool:
    """Whether an endpoint may demand this key of a message back."""
    return _GOES_BACK.search(key) is not None


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {})


class _Text:
    """Text that comes in pieces."""

    __slots__ = ("_label", "_pieces", "_sealed")

    def __init__(self, key: str) -> None:
        self._label = key in _LABELS
        self._sealed = _SEALED.search(key) is not None
        self._pieces: list[str] = []

    def add(self, text: str) -> None:
        if self._label:
            self._pieces[:] = [text]
        elif not (self._sealed and self._pieces == [text]):
            self._pieces.append(text)

    def value(self) -> str:
        return joined(self._pieces)


class _Keys:
    """An object whose values come in pieces."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: dict[str, Any] = {}

    def add(self, values: Mapping[str, Any], level: int) -> None:
        parts = self._parts
        for key, value in values.items():
            if value is None:
                continue
            part = parts.get(key)
            if isinstance(value, str):
                if not isinstance(part, _Text):
                    part = parts[key] = _Text(key)
                part.add(value)
            elif isinstance(value, dict) and level < _DEEPEST:
                if not isinstance(part, _Keys):
                    part = parts[key] = _Keys()
                part.add(value, level + 1)
            elif isinstance(value, list) and level < _DEEPEST:
                if not isinstance(part, _Items):
                    part = parts[key] = _Items()
                part.add(value, level + 1)
            else:
                parts[key] = value

    @property
    def sealed(self) -> bool:
        """Whether it has a signature: then it is complete."""
        return any(isinstance(part, _Text) and part._sealed for part in self._parts.values())

    def value(self) -> dict[str, Any]:
        parts = self._parts
        return {key: part.value() if isinstance(part, _PARTS) else part for key, part in parts.items()}


class _Items:
    """A list whose objects come in pieces: of one index, or else one after another."""

    __slots__ = ("_by_index", "_items", "_last_type")

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._by_index: dict[tuple[int, str], _Keys] = {}
        self._last_type: str | None = None  # of the last object, if it has no index and may go on

    def add(self, items: list[Any], level: int) -> None:
        for number, item in enumerate(items):
            if not isinstance(item, dict):
                self._items.append(item)
                self._last_type = None
                continue
            self._object(item, first=number == 0).add(item, level)

    def _object(self, item: dict[str, Any], *, first: bool) -> _Keys:
        """The object that this one continues, or a new one."""
        index, kind = item.get("index"), str(item.get("type"))
        if type(index) is int:
            self._last_type = None
            keys = self._by_index.get((index, kind))
            if keys is not None:
                return keys
        else:  # objects next to each other in one list are different ones
            last = self._items[-1] if first and self._items and self._last_type == kind else None
            if isinstance(last, _Keys) and not last.sealed:
                return last
            self._last_type = kind
        keys = _Keys()
        self._items.append(keys)
        if type(index) is int:
            self._by_index[index, kind] = keys
        return keys

    def value(self) -> list[Any]:
        return [item.value() if isinstance(item, _PARTS) else item for item in self._items]


_PARTS = (_Text, _Keys, _Items)


def _size(value: Any) -> int:
    """An estimate of a value's memory in bytes."""
    size, pending = 0, [value]
    while pending:
        value = pending.pop()
        size += _VALUE_COST
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, dict):
            size += sum(map(len, value))
            pending += value.values()
        elif isinstance(value, list):
            pending += value
    return size
