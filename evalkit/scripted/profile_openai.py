"""The scripted server's profile ``openai``: answers that conform to the chat-completions reference.

Sampling parameters are accepted and have no effect. ``max_tokens``, ``max_completion_tokens`` and ``stop`` shorten the
answer; ``n`` and ``logprobs`` have an effect on whole answers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson

from evalkit.scripted.choices import MOST_CHOICES, before_stop, legacy_call, logprobs_of
from evalkit.scripted.http_messages import Piece, Reply, Request
from evalkit.scripted.script import Call, Script, prompt_tokens, tokens_of

CHAT = "/v1/chat/completions"
MODELS = "/v1/models"
ROLES = ("developer", "system", "user", "assistant", "tool", "function")
JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"

_NUMBER, _INTEGER, _OBJECT, _ARRAY = "a number", "an integer", "an object", "an array of objects"
_TYPES = {
    "messages": _ARRAY, "model": "a string", "stream": "a boolean", "stream_options": _OBJECT, "tools": _ARRAY,
    "functions": _ARRAY, "temperature": _NUMBER, "top_p": _NUMBER, "presence_penalty": _NUMBER,
    "frequency_penalty": _NUMBER, "max_tokens": _INTEGER, "max_completion_tokens": _INTEGER, "seed": _INTEGER,
    "n": _INTEGER, "response_format": _OBJECT, "user": "a string", "logprobs": "a boolean",
    "parallel_tool_calls": "a boolean",
}  # fmt: skip
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    _ARRAY: (list,), _OBJECT: (dict,), _INTEGER: (int,), _NUMBER: (int, float),
    "a string": (str,), "a boolean": (bool,),
}  # fmt: skip
_CALL_TOKEN = 8  # characters of a call's arguments per token


class ApiError(Exception):
    """Raised to answer a request with an error object."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"message": message, "type": kind, "param": param, "code": code}


def reply(script: Script, request: Request, number: int) -> Reply:
    """Answer request ``number`` (counted among the chat-completion requests, from 1)."""
    try:
        _check_key(script, request)
        if request.path != CHAT:
            return _models(script, request)
        if request.method != "POST":
            raise ApiError(405, f"{request.method} is not allowed on {CHAT}.", "method_not_supported")
        return _answer(script, _checked_body(script, request.body), number)
    except ApiError as error:
        return error_reply(error, number)


def error_reply(error: ApiError, number: int) -> Reply:
    """The reply with an error object and its status."""
    headers = _headers(JSON, number)
    if error.status == 405:
        headers["allow"] = "POST"
    return Reply(error.status, headers, [Piece(0, "other", orjson.dumps({"error": error.error}))])


def _headers(content_type: str, number: int) -> dict[str, str]:
    return {"content-type": content_type, "x-request-id": f"req_{number:08d}"}


def _check_key(script: Script, request: Request) -> None:
    if script.key is None:
        return
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise ApiError(401, "No API key was given: send it as 'Authorization: Bearer KEY'.")
    if key != script.key:
        raise ApiError(401, "The API key given is not correct.", "invalid_api_key")


def _models(script: Script, request: Request) -> Reply:
    names = script.models or (script.model,)
    rows = [{"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "evalkit"} for name in names]
    path, name = request.path[: len(MODELS)], request.path[len(MODELS) + 1 :]
    if path != MODELS or request.path[len(MODELS) : len(MODELS) + 1] not in ("", "/"):
        raise ApiError(404, f"There is nothing at {request.method} {request.path}.")
    if request.method != "GET":
        raise ApiError(405, f"{request.method} is not allowed on {request.path}.", "method_not_supported")
    body: Any = {"object": "list", "data": rows}
    if name:
        body = next((row for row in rows if row["id"] == name), None)
    if body is None:
        raise _no_model(name)
    return Reply(200, _headers(JSON, 0), [Piece(0, "other", orjson.dumps(body))])


def _no_model(name: str) -> ApiError:
    return ApiError(404, f"The model '{name}' does not exist, or you may not use it.", "model_not_found", "model")


def _checked_body(script: Script, raw: bytes) -> dict[str, Any]:
    """The body of a chat-completion request, checked; raises ``ApiError`` for one that is refused."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise ApiError(400, "The body of the request is not valid JSON.") from None
    if not isinstance(body, dict):
        raise ApiError(400, "The body of the request must be a JSON object.", "invalid_type")
    for name in ("model", "messages"):
        if body.get(name) is None:
            raise ApiError(400, f"Missing required parameter: '{name}'.", "missing_required_parameter", name)
    for name in body.keys() & _TYPES.keys():
        _check_type(name, body[name], _TYPES[name])
    if not body["messages"]:
        raise ApiError(400, "Invalid 'messages': at least one message is needed.", "empty_array", "messages")
    for i, message in enumerate(body["messages"]):
        _check_message(f"messages[{i}]", message)
    for name in ("max_tokens", "max_completion_tokens"):
        if body.get(name) is not None and body[name] < 1:
            raise ApiError(400, f"Invalid '{name}': at least 1 was expected.", "integer_below_min_value", name)
    if not 1 <= (body.get("n") or 1) <= (1 if body.get("stream") else MOST_CHOICES):
        problem = f"Unsupported value: 'n' must be 1 in a stream, and at most {MOST_CHOICES}."
        raise ApiError(400, problem, "unsupported_value", "n")
    if body.get("stream_options") is not None and not body.get("stream"):
        raise ApiError(400, "'stream_options' is only allowed when 'stream' is true.", None, "stream_options")
    if script.models and body["model"] not in script.models:
        raise _no_model(body["model"])
    return body


def _check_type(name: str, value: Any, expected: str) -> None:
    if value is None:
        return
    fits = isinstance(value, _PYTHON_TYPES[expected]) and (expected == "a boolean" or not isinstance(value, bool))
    if not fits or (expected == _ARRAY and not all(isinstance(item, dict) for item in value)):
        raise ApiError(400, f"Invalid type for '{name}': {expected} was expected.", "invalid_type", name)


def _check_message(where: str, message: dict[str, Any]) -> None:
    role, content = message.get("role"), message.get("content")
    if role is None:
        raise ApiError(400, f"Missing required parameter: '{where}.role'.", "missing_required_parameter", where)
    if role not in ROLES:
        raise ApiError(
            400, f"Invalid value: '{role}'. Known roles: {', '.join(ROLES)}.", "invalid_value", f"{where}.role"
        )
    if content is None and not (role == "assistant" and (message.get("tool_calls") or message.get("function_call"))):
        raise ApiError(400, f"Invalid value for 'content': {where} has none.", "invalid_type", f"{where}.content")
    if not isinstance(content, str | list | None):
        raise ApiError(
            400, f"Invalid type for '{where}.content': text was expected.", "invalid_type", f"{where}.content"
        )


def _answer(script: Script, body: dict[str, Any], number: int) -> Reply:
    answer = script.answer_to(body)
    if isinstance(answer, str):
        tokens, calls = tokens_of(answer), []
    else:
        tokens, calls = (), [(f"call_{number:08d}_{i}", call) for i, call in enumerate(answer)]
    if body.get("stop"):
        tokens = before_stop(tokens, body["stop"])
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    finish = "tool_calls" if calls else "length" if limit is not None and limit < len(tokens) else "stop"
    tokens = tokens[:limit]
    shared: dict[str, Any] = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "service_tier": "default",
        "system_fingerprint": "fp_scripted",
    }
    sent = len(tokens) or sum(len(_call_tokens(call)) for _, call in calls)
    prompt = prompt_tokens(body["messages"])
    usage = {"prompt_tokens": prompt, "completion_tokens": sent, "total_tokens": prompt + sent}
    times = script.law.offsets(number, max(sent, 1))
    if body.get("stream"):
        pieces = _stream(shared, tokens, calls, finish, usage if _wants_usage(body) else None, times)
        planned = Reply(200, _headers(SSE, number), pieces, streamed=True)
    else:
        message: dict[str, Any] = {"role": "assistant", "content": None if calls else "".join(tokens), "refusal": None}
        if calls:
            message["tool_calls"] = [_whole_call(name, call) for name, call in calls]
            finish = "function_call" if legacy_call(message, body) else finish
        choice = {"message": message, "logprobs": logprobs_of(tokens, body), "finish_reason": finish}
        choices = [{"index": i, **choice} for i in range(body.get("n") or 1)]
        if len(choices) > 1:
            usage["completion_tokens"] = sent * len(choices)
            usage["total_tokens"] = prompt + sent * len(choices)
        whole = orjson.dumps({**shared, "choices": choices, "usage": usage})
        planned = Reply(200, _headers(JSON, number), [Piece(times[-1], "body", whole)])
    planned.id, planned.tokens, planned.request_json = shared["id"], sent, body
    return planned


def _wants_usage(body: dict[str, Any]) -> bool:
    return bool((body.get("stream_options") or {}).get("include_usage"))


def _whole_call(name: str, call: Call) -> dict[str, Any]:
    return {"id": name, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _call_tokens(call: Call) -> list[str]:
    text = call.arguments
    return [text[i : i + _CALL_TOKEN] for i in range(0, len(text), _CALL_TOKEN)] or [""]


def _stream(
    shared: dict[str, Any],
    tokens: Sequence[str],
    calls: Sequence[tuple[str, Call]],
    finish: str,
    usage: dict[str, int] | None,
    times: Sequence[int],
) -> list[Piece]:
    """All events: the role is due with the first token, the end with the last."""
    # every event begins and ends with the same bytes; only the delta between them is serialised for each
    head = orjson.dumps({**shared, "object": "chat.completion.chunk"})[:-1]
    start = b"data: " + head + b',"choices":[{"index":0,"delta":'
    more = b',"usage":null' if usage else b""
    stop = b',"logprobs":null,"finish_reason":null}]' + more + b"}\n\n"
    opening = b'{"role":"assistant","content":null}' if calls else b'{"role":"assistant","content":"","refusal":null}'
    pieces = [Piece(times[0], "role", start + opening + stop)]
    if calls:
        deltas = [delta for i, (name, call) in enumerate(calls) for delta in _call_deltas(i, name, call)]
    else:
        deltas = [_text_delta(token) for token in tokens]
    pieces += [Piece(at, "token", start + delta + stop) for at, delta in zip(times, deltas, strict=False)]
    last = times[-1]
    ending = b'{},"logprobs":null,"finish_reason":"%b"}]%b}\n\n' % (finish.encode(), more)
    pieces.append(Piece(last, "finish", start + ending))
    if usage:
        pieces.append(
            Piece(last, "usage", b"data: " + head + b',"choices":[],"usage":' + orjson.dumps(usage) + b"}\n\n")
        )
    pieces.append(Piece(last, "done", DONE))
    return pieces


@lru_cache(maxsize=4096)
def _text_delta(token: str) -> bytes:
    return orjson.dumps({"content": token})


def _call_deltas(index: int, name: str, call: Call) -> list[bytes]:
    """The deltas of a call: its name with the first part of the arguments, then the other parts."""
    first, *others = _call_tokens(call)
    opening = {"index": index, **_whole_call(name, Call(call.name, first))}
    rest = [{"index": index, "function": {"arguments": text}} for text in others]
    return [orjson.dumps({"tool_calls": [part]}) for part in (opening, *rest)]
