"""What came back for one call, as it came, and its parts as the chat-completions reference names them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson

from evalkit.client.error_answers import failure_of
from evalkit.client.error_events import reported_error
from evalkit.client.quoting import one_line
from evalkit.client.sse import EventDecoder

DONE = b"[DONE]"
_GZIP_OR_ZLIB = 47  # window bits that let zlib detect the format
_INFLATED = 2**22  # bytes that a compressed body may have
_NS_PER_MS = 1e6
_QUOTED = 160  # characters of the endpoint's own words


@dataclass
class Reply:
    """The reply to one call.

    Parameters
    ----------
    status : int or None
        None: no head of an answer came.
    http_version : str
    headers : list of (str, str)
        Names in lower case, in the order received.
    body : bytes
        Without framing, compressed as it came; of a longer body the first 4 MiB.
    reads : list of (int, int)
        For each read with a part of the body: its stamp of ``perf_counter_ns``, and the length of the body with it.
    sent, headers_at, end : int
        Stamps; ``headers_at`` is 0 if no head came.
    failure : str
        Why the reply is not complete; empty: it is.
    reused : bool
        Whether the connection was open before.
    left : bool
        The connection was closed by the probe, as the call asks.
    left_open : bool
        Nothing came after the end of the stream, and its connection stayed open.
    lenient : str
        What is wrong with the HTTP of the answer, which lenient parsers accept; empty: nothing.
    redirects : int
        Redirects within the origin that were followed.
    refused_before : list of Reply
        Earlier tries of the same call that were refused for the moment.
    """

    status: int | None = None
    http_version: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    reads: list[tuple[int, int]] = field(default_factory=list)
    sent: int = 0
    headers_at: int = 0
    end: int = 0
    failure: str = ""
    reused: bool = False
    left: bool = False
    left_open: bool = False
    lenient: str = ""
    redirects: int = 0
    refused_before: list[Reply] = field(default_factory=list)
    request: Mapping[str, Any] | None = None

    def header(self, name: str) -> str:
        """The value of a header; empty: it was not sent."""
        return next((value for each, value in self.headers if each == name), "")

    @property
    def ok(self) -> bool:
        """Whether an answer came: status 200, and not an error in place of it."""
        return self.status == 200 and not self.failure and self.reported is None

    @cached_property
    def reported(self) -> Any:
        """The error that a reply with status 200 reports in its body or in an event; None: there is none."""
        if self.status != 200:
            return None
        bodies = [chunk for _, chunk in self.chunks] if self.streamed else [mapping(self.json)]
        errors = [reported_error(body) for body in bodies if body and "choices" not in body and "data" not in body]
        return next((error for error in errors if error is not None), None)

    @property
    def wait_s(self) -> float | None:
        """The seconds to wait that the reply names; None: it names none."""
        return failure_of(self.status or 0, dict(self.headers), self.body).retry_after_s

    @cached_property
    def content(self) -> bytes:
        """The body without its compression."""
        if self.header("content-encoding").lower() not in ("gzip", "x-gzip", "deflate"):
            return self.body
        try:
            return zlib.decompressobj(_GZIP_OR_ZLIB).decompress(self.body, _INFLATED)
        except zlib.error:
            return self.body

    @property
    def streamed(self) -> bool:
        """Whether the body is a stream of events."""
        return "event-stream" in self.header("content-type").lower() or self.content.lstrip().startswith(b"data:")

    @cached_property
    def json(self) -> Any:
        """The body as JSON; None: it is not JSON."""
        return json_or_none(self.content)

    @cached_property
    def events(self) -> list[tuple[int, bytes]]:
        """The data of each event of a stream, with the stamp of the read that completed it."""
        decoder, at, found = EventDecoder(), 0, []
        parts = self.reads if self.content is self.body else [(self.end, len(self.content))]
        for stamp, end in parts:
            found += [(stamp, data) for data in decoder.feed(self.content[at:end])]
            at = end
        if rest := decoder.rest():
            found.append((self.end, rest))
        return found

    @cached_property
    def chunks(self) -> list[tuple[int, dict[str, Any]]]:
        """The events that are JSON objects, with their stamps."""
        parsed = [(stamp, json_or_none(data)) for stamp, data in self.events if data != DONE]
        return [(stamp, chunk) for stamp, chunk in parsed if isinstance(chunk, dict)]

    @cached_property
    def deltas(self) -> list[tuple[int, dict[str, Any]]]:
        """The delta of the first choice of each event that has one, with its stamp."""
        return [(at, mapping(choice.get("delta"))) for at, choice in self.stream_choices]

    @cached_property
    def stream_choices(self) -> list[tuple[int, dict[str, Any]]]:
        """The first choice of each event that has one, with its stamp."""
        firsts = [(at, first(chunk.get("choices"))) for at, chunk in self.chunks]
        return [(at, choice) for at, choice in firsts if choice]

    @property
    def choices(self) -> list[dict[str, Any]]:
        """The choices of a whole answer."""
        return mappings(mapping(self.json).get("choices"))

    @property
    def choice(self) -> dict[str, Any]:
        """The first choice of a whole answer; empty: there is none."""
        return first(self.choices)

    @property
    def message(self) -> dict[str, Any]:
        """The message of the first choice."""
        return mapping(self.choice.get("message"))

    @cached_property
    def text(self) -> str:
        """The text of the answer, whole or streamed; only text that is a plain string."""
        if self.streamed:
            pieces = [delta.get("content") for _, delta in self.deltas]
            return "".join(piece for piece in pieces if isinstance(piece, str))
        content = self.message.get("content")
        return content if isinstance(content, str) else ""

    @property
    def finish_reason(self) -> str | None:
        """The finish reason of the first choice; None: there is none."""
        if self.streamed:
            reasons = [choice.get("finish_reason") for _, choice in self.stream_choices]
            found = next((reason for reason in reversed(reasons) if reason), None)
        else:
            found = self.choice.get("finish_reason")
        return found if isinstance(found, str) else None

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """The tool calls of an answer, of a stream put together by their index."""
        if not self.streamed:
            return mappings(self.message.get("tool_calls"))
        by_index: dict[str, list[dict[str, Any]]] = {}
        for fragment in self.call_fragments:
            by_index.setdefault(str(fragment.get("index")), []).append(fragment)
        return [_joined(fragments) for fragments in by_index.values()]

    @property
    def call_fragments(self) -> list[dict[str, Any]]:
        """The pieces of tool calls in a stream."""
        return [fragment for _, delta in self.deltas for fragment in mappings(delta.get("tool_calls"))]

    @property
    def usage(self) -> dict[str, Any]:
        """The token counts, of a stream the last ones; empty: there are none."""
        if not self.streamed:
            return mapping(mapping(self.json).get("usage"))
        return next((chunk["usage"] for _, chunk in reversed(self.chunks) if mapping(chunk.get("usage"))), {})

    def count(self, name: str) -> int | None:
        """A token count of ``usage``; None: there is none that is a number above 0."""
        value = self.usage.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None

    @property
    def error(self) -> Any:
        """The error object of the body, wherever the reference puts it; None: there is none."""
        return mapping(self.json).get("error")

    @property
    def said(self) -> str:
        """The endpoint's own words for an error, on one line."""
        failure = failure_of(self.status or 0, dict(self.headers), self.content)
        own = " ".join(failure.message[begin:end] for begin, end in failure.sent or ())
        return one_line(own or self.content[: 4 * _QUOTED].decode("utf-8", "replace"), _QUOTED)

    @property
    def outcome(self) -> str:
        """How the call ended: ``HTTP 422: …``, or why no answer came."""
        if self.status == 200 and self.reported is not None:
            where = "an event" if self.streamed else "the body"
            return f"HTTP 200, and in {where} the error {one_line(str(self.reported), _QUOTED)}"
        if self.status is None or self.status == 200:
            return self.failure or "HTTP 200"
        return f"HTTP {self.status}: {self.said}" if self.body.strip() else f"HTTP {self.status} without a body"

    @property
    def token_stamps(self) -> list[int]:
        """The stamp of each event that brought text, reasoning or a part of a call."""
        names = ("content", "reasoning_content", "reasoning", "tool_calls")
        return [at for at, delta in self.deltas if any(delta.get(name) for name in names)]

    def ms(self, stamp: int) -> float:
        """A stamp in ms after the request was sent."""
        return (stamp - self.sent) / _NS_PER_MS


def _joined(fragments: list[dict[str, Any]]) -> dict[str, Any]:
    """The call of which these are the pieces: the first, with the arguments of all."""
    call = {name: value for name, value in fragments[0].items() if name != "index"}
    if len(fragments) > 1:
        functions = [mapping(fragment.get("function")) for fragment in fragments]
        arguments = "".join(str(function.get("arguments") or "") for function in functions)
        call["function"] = {**functions[0], "arguments": arguments}
    return call


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def mappings(value: Any) -> list[dict[str, Any]]:
    """The objects in a list; empty: it is none."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def first(values: Any) -> dict[str, Any]:
    """The first of a list of objects; empty: there is none."""
    return mapping(values[0]) if isinstance(values, list) and values else {}


def json_or_none(data: bytes | str) -> Any:
    """The value of a JSON text; None: it is no JSON."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
