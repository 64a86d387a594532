"""Which recording answers a request: by what the request means, not by how it is written.

Two requests are the same if their canonical forms are: ``stream`` does not count, nor do keys that change no answer,
null values, the order of keys, ids of calls (only which result belongs to which call), ``1.0`` for ``1``, and text as
one part. Of images and audio the hash counts.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from threading import Lock
from typing import Any, NamedTuple

from rapidfuzz import fuzz

from evalkit.datasets.content_parts import AUDIO, FILE_KINDS, FROM_FILE
from evalkit.recorded.exchange import Exchange

# how an answer is sent, and who asks
_NO_CONTENT = frozenset({"stream", "stream_options", "user", "metadata", "store", "safety_identifier"})
_MOST_COMPARED = 5_000  # recordings that are compared with a request that was not recorded
_MOST_PLACES = 5_000  # of one request
_LONGEST_COMPARED = 2_000  # characters
_SHOWN = 80
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,")


class Difference(NamedTuple):
    """A place where two requests differ: the values as JSON text; None: there is none."""

    place: str
    here: str | None
    recorded: str | None


class Nearest(NamedTuple):
    """The recorded request that is most like another one, and where the two differ."""

    exchange: Exchange
    differences: list[Difference]


class Recordings:
    """The exchanges of a recording by their requests.

    The k-th time that a request is sent, its k-th recording answers; after the last comes the first again, so that a
    cell that is run again gets what it got before. Recordings in the form that is requested, streamed or whole, come
    before those in the other form.
    """

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self._exchanges = exchanges
        self._lock = Lock()
        self._next: dict[tuple[str, bool], int] = {}
        self._by_request: dict[str, list[Exchange]] = {}
        for exchange in exchanges:
            self._by_request.setdefault(key(exchange.route, exchange.request), []).append(exchange)

    def next(self, route: str, request: Any) -> Exchange | None:
        """The recording that answers a request now; None: it was not recorded."""
        name, streamed = key(route, request), wants_stream(request)
        recorded = self._by_request.get(name)
        if recorded is None:
            return None
        recorded = [each for each in recorded if wants_stream(each.request) == streamed] or recorded
        with self._lock:
            number = self._next.get((name, streamed), 0)
            self._next[name, streamed] = number + 1
        return recorded[number % len(recorded)]

    def nearest(self, route: str, request: Any) -> Nearest | None:
        """The recorded request of the same route that differs least; None: the route has none."""
        wanted = _places(canonical(request))
        found: tuple[float, Exchange, list[Difference]] | None = None
        first_of_each = (exchanges[0] for exchanges in self._by_request.values())
        for exchange in islice((each for each in first_of_each if each.route == route), _MOST_COMPARED):
            differences = _differences(wanted, _places(canonical(exchange.request)))
            distance = sum(map(_distance, differences))
            if found is None or distance < found[0]:
                found = distance, exchange, differences
        return None if found is None else Nearest(*found[1:])


def wants_stream(request: Any) -> bool:
    """Whether a request asks for a stream."""
    return isinstance(request, Mapping) and request.get("stream") is True


def key(route: str, request: Any) -> str:
    """The name under which a request is found: equal for requests that mean the same."""
    text = json.dumps([route, canonical(request)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def canonical(request: Any) -> Any:
    """The canonical form of a request's body: JSON values."""
    try:
        value = _plain(request)
    except RecursionError:  # no client nests values so deeply
        return "nested too deeply"
    if not isinstance(value, dict):
        return value
    value = {name: part for name, part in value.items() if name not in _NO_CONTENT and (name, part) != ("n", 1)}
    messages = value.get("messages")
    if isinstance(messages, list):
        value["messages"] = _with_numbered_calls(messages)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        if _names_file(value):
            value = _sent_from_file(value)
        plain = {str(name): _plain(part) for name, part in value.items() if part is not None}
        if "data" in plain and "format" in plain and isinstance(plain["data"], str):
            plain = {"data": _hash(plain["data"])}
        if _is_text(plain.get("content")):
            plain["content"] = plain["content"][0]["text"]
        return plain
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.startswith("data:") and (start := _DATA_URL.match(value)):
        return _hash(value[start.end() :])
    return value


def _is_text(content: Any) -> bool:
    """Whether the content of a message is one part with nothing but text."""
    if not (isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict)):
        return False
    return content[0].keys() == {"type", "text"} and content[0]["type"] == "text"


def _names_file(value: Mapping[str, Any]) -> bool:
    """Whether an object is a part of a run file that names a file; others may have a key of that name too."""
    about, name = value.get(FROM_FILE), value.get("type")
    if not (isinstance(about, Mapping) and isinstance(about.get("sha256"), str)):
        return False
    return isinstance(name, str) and name in FILE_KINDS and isinstance(value.get(name), Mapping | str)


def _sent_from_file(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a run file that names a file, as the part that was sent, with the hash of its content."""
    name, digest = part["type"], f"sha256:{part[FROM_FILE]['sha256']}"
    inner = part[name]
    sent: Any = digest if isinstance(inner, str) else {**inner, "url": digest}
    return {
        **{key: value for key, value in part.items() if key != FROM_FILE},
        name: {"data": digest} if name == AUDIO else sent,
    }


def _hash(base64: str) -> str:
    try:
        content = b64decode(base64, validate=True)
    except (Base64Error, ValueError):
        content = base64.encode("utf-8", "replace")
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _with_numbered_calls(messages: list[Any]) -> list[Any]:
    """The messages with the ids of calls replaced by their numbers: an endpoint makes new ids every time."""
    numbers: dict[str, str] = {}

    def number(id: Any) -> str:
        return numbers.setdefault(json.dumps(id), f"call {len(numbers) + 1}")

    numbered = []
    for message in messages:
        if isinstance(message, dict):
            message = dict(message)
            calls = message.get("tool_calls")
            if isinstance(calls, list):
                message["tool_calls"] = [
                    {**call, "id": number(call["id"])} if isinstance(call, dict) and "id" in call else call
                    for call in calls
                ]
            if "tool_call_id" in message:
                message["tool_call_id"] = number(message["tool_call_id"])
            if calls and message.get("content") == "":  # the same as none
                del message["content"]
        numbered.append(message)
    return numbered


def _places(value: Any) -> dict[str, Any]:
    """The values in a canonical form by their places, such as ``messages[1].content``."""
    return dict(islice(_walk(value, ""), _MOST_PLACES))


def _walk(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _walk(part, f"{place}.{name}" if place else name)
    elif isinstance(value, list) and value:
        for number, part in enumerate(value):
            yield from _walk(part, f"{place}[{number}]")
    else:
        yield place or "the body", value


def _differences(here: dict[str, Any], recorded: dict[str, Any]) -> list[Difference]:
    places = [*here, *(place for place in recorded if place not in here)]
    return [
        Difference(place, *(json.dumps(side[place]) if place in side else None for side in (here, recorded)))
        for place in places
        if place not in here or place not in recorded or json.dumps(here[place]) != json.dumps(recorded[place])
    ]


def _distance(difference: Difference) -> float:
    """From 0.2 for nearly the same text to 1 for a value that only one request has."""
    if difference.here is None or difference.recorded is None:
        return 1.0
    texts = (text[:_LONGEST_COMPARED] for text in (difference.here, difference.recorded))
    return 1.0 - 0.8 * fuzz.ratio(*texts) / 100


def shown(value: str | None) -> str:
    """A value of a difference in a message; long ones are cut."""
    if value is None:
        return "nothing"
    return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…"
