"""Streams as endpoints write them, and a reader that has read one."""

import json
from collections.abc import Iterable
from typing import Any

from evalkit.client.answer_reader import AnswerReader

EVENT_STREAM = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"


def chunk(delta: Any = None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """One chunk of a stream, as the object it is."""
    choice = {"index": 0, "delta": {} if delta is None else delta, "logprobs": None, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "choices": [choice], **fields}


def sse(*events: Any) -> bytes:
    """Events as bytes; an event that is bytes already stays as it is."""
    return b"".join(
        event if isinstance(event, bytes) else b"data: " + json.dumps(event).encode() + b"\n\n" for event in events
    )


def text(*pieces: str) -> list[dict[str, Any]]:
    return [chunk({"content": piece}) for piece in pieces]


def tools(*pieces: dict[str, Any]) -> dict[str, Any]:
    return chunk({"tool_calls": list(pieces)})


def piece(
    index: int | None = 0, id: str | None = None, name: str | None = None, arguments: Any = None
) -> dict[str, Any]:
    """A piece of a tool call; what is None is left out."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    outer = {key: value for key, value in (("index", index), ("id", id)) if value is not None}
    return {**outer, "function": function}


def whole(message: dict[str, Any], finish: str | None = "stop", **fields: Any) -> bytes:
    """A whole answer."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return json.dumps({"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], **fields}).encode()


def read(
    *reads: bytes,
    status: int = 200,
    content_type: str | None = EVENT_STREAM,
    stream: bool = True,
    complete: bool = True,
    headers: dict[str, str] | None = None,
) -> AnswerReader:
    """A reader that was fed these reads, stamped 100, 200, …, and has finished."""
    reader = AnswerReader(status, content_type, stream_requested=stream, headers=headers or {})
    for number, data in enumerate(reads, start=1):
        reader.feed(data, number * 100)
    reader.finish(complete=complete)
    return reader


def each(*events: Any) -> list[bytes]:
    """Every event as a read of its own."""
    return [sse(event) for event in events]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The bytes, cut at these places."""
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False) if end > begin]


def outcome(reader: AnswerReader) -> tuple[Any, ...]:
    """All that must not depend on how the bytes were cut into reads."""
    flags = tuple(flag for flag in reader.flags if flag != "buffered")
    tokens = sum(reader.arrival_events)
    return reader.streamed, reader.done, reader.answer, reader.usage, reader.failure, flags, tokens
