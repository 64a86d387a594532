"""A recorded stream as a whole answer, and a recorded whole answer as a stream."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from evalkit.recorded.exchange import EVENT_STREAM, Exchange, Piece

_DONE = b"data: [DONE]\n\n"
_OF_MESSAGE = ("index", "finish_reason", "message")
_MERGED = ("index", "message", "delta", "logprobs")


def in_form(exchange: Exchange, *, stream: bool) -> Exchange:
    """The exchange in the form that is requested; as it is, if it already has that form, failed or cannot be read.

    A whole answer as a stream has one piece of text, at the time of the body. A stream as a whole answer comes at the
    time of its end.
    """
    if exchange.status != 200 or exchange.streamed == stream or exchange.ending != "complete":
        return exchange
    try:
        return _as_stream(exchange) if stream else _as_whole(exchange)
    except RecursionError:  # no endpoint nests values so deeply
        return exchange


def event(value: Any) -> bytes:
    """A JSON value as an event of a stream."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n"


def chunk(head: Mapping[str, Any], delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    """A chunk of a streamed answer."""
    choice = {"index": 0, "delta": dict(delta), "finish_reason": finish_reason}
    return {**head, "object": "chat.completion.chunk", "choices": [choice]}


def ending(head: Mapping[str, Any], finish_reason: str | None, usage: Mapping[str, Any] | None) -> bytes:
    """The events at the end of a stream: finish reason, usage, and the mark of the end."""
    finish = event(chunk(head, {}, finish_reason)) if finish_reason else b""
    counted = {**head, "object": "chat.completion.chunk", "choices": [], "usage": usage}
    return finish + (event(counted) if usage else b"") + _DONE


def _as_whole(exchange: Exchange) -> Exchange:
    chunks = list(_chunks(exchange.body))
    if not chunks or any("error" in each for each in chunks):
        return exchange
    answer: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for each in chunks:
        answer |= {name: value for name, value in each.items() if name != "choices" and value is not None}
        for part in _objects(each.get("choices")):
            index = part["index"] if type(part.get("index")) is int else 0
            choice = choices.setdefault(index, {"index": index, "message": {}})
            delta = part.get("delta")
            if isinstance(delta, dict):
                _merge(choice["message"], delta)
            logprobs = {"logprobs": part["logprobs"]} if isinstance(part.get("logprobs"), dict) else {}
            _merge(choice, logprobs)
            choice |= {name: value for name, value in part.items() if name not in _MERGED and value}
    for choice in choices.values():
        choice["message"] = {"role": "assistant", "content": None, **choice["message"]}
        for call in _objects(choice["message"].get("tool_calls")):
            call.pop("index", None)
    answer |= {"object": "chat.completion", "choices": list(choices.values())}
    return _with_body(exchange, "application/json", json.dumps(answer).encode())


def _as_stream(exchange: Exchange) -> Exchange:
    try:
        answer = json.loads(exchange.body)
    except (ValueError, RecursionError):
        return exchange
    choices = list(_objects(answer.get("choices"))) if isinstance(answer, dict) else []
    if not choices:
        return exchange
    head = {name: answer[name] for name in ("id", "created", "model", "system_fingerprint") if name in answer}
    body = b""
    for choice in choices:
        message = {**choice["message"]} if isinstance(choice.get("message"), dict) else {}
        if message.get("tool_calls"):
            calls = enumerate(_objects(message["tool_calls"]))
            message["tool_calls"] = [{"index": number, **call} for number, call in calls]
        more = {name: value for name, value in choice.items() if name not in _OF_MESSAGE}
        places = {"index": choice.get("index", 0)}
        for delta, reason in ((message, None), ({}, choice.get("finish_reason") or "stop")):
            part = chunk(head, delta, reason)
            part["choices"][0] |= places | (more if delta else {})
            body += event(part)
    usage = answer.get("usage")
    return _with_body(exchange, EVENT_STREAM, body + ending(head, None, usage if isinstance(usage, dict) else None))


def _with_body(exchange: Exchange, kind: str, body: bytes) -> Exchange:
    last = exchange.pieces[-1].at_ms if exchange.pieces else 0.0
    piece = Piece(exchange.end_ms if exchange.end_ms is not None else last, body)
    return exchange._replace(headers={**exchange.headers, "content-type": kind}, pieces=(piece,))


def _chunks(body: bytes) -> Iterable[dict[str, Any]]:
    """The events of a stream that are JSON objects."""
    for line in body.replace(b"\r\n", b"\n").split(b"\n"):
        if line.startswith(b"data:"):
            try:
                value = json.loads(line[5:])
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                yield value


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _merge(whole: dict[str, Any], part: Mapping[str, Any]) -> None:
    """Add a delta: texts are joined, lists by the index of their objects, anything else is replaced."""
    for name, value in part.items():
        old = whole.get(name)
        if isinstance(value, str) and isinstance(old, str) and name not in ("role", "id", "type", "name"):
            whole[name] = old + value
        elif isinstance(value, dict) and isinstance(old, dict):
            _merge(old, value)
        elif isinstance(value, list):
            whole[name] = _merged_lists(old if isinstance(old, list) else [], value)
        elif value is not None or name not in whole:
            whole[name] = value


def _merged_lists(old: list[Any], new: list[Any]) -> list[Any]:
    merged = list(old)
    for item in new:
        index = item.get("index") if isinstance(item, dict) else None
        same = next((each for each in _objects(merged) if index is not None and each.get("index") == index), None)
        if same is None:
            merged.append(dict(item) if isinstance(item, dict) else item)
        else:
            _merge(same, item)
    return merged
