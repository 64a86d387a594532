"""The scripted server's profile ``taskingai``: that service's chat-completion route, oddities and all.

A model of 8 characters is a model id, one of 24 an assistant id: they differ in system prompts and in how failures
show.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from functools import lru_cache
from typing import Any

import orjson

from evalkit.scripted.http_messages import Piece, Reply, Request, html_reply
from evalkit.scripted.script import Answer, Call, Script, prompt_tokens, tokens_of
from evalkit.scripted.taskingai_requests import ASSISTANT_ID, Order, Refusal, Unparsable, check, read

CHAT = "/v1/chat/completions"
DONE = b"data: [DONE]\n\n"
_JSON = "application/json"
_MAX_BODY = 20_000_000  # of the proxy in front
_MAX_LINE = 131_072  # of the service's own stream reader: a model id's text beyond it breaks the end of its stream


class Upstream(Exception):
    """What went wrong between the service and its model, as one half of the service tells the other."""

    def __init__(self, status: int, code: str, message: str, debug: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.detail = {"code": code, "message": message} | ({"debug": debug} if debug else {})


def reply(script: Script, request: Request, number: int) -> Reply:
    """Answer request ``number`` (counted among the chat-completion requests, from 1)."""
    try:
        planned = _route(script, request, number)
    except Refusal as refusal:
        planned = _json_reply(refusal.status, refusal.body)
    except Unparsable:
        planned = _json_reply(400, {"detail": "There was an error parsing the body"})
    if "origin" in request.headers:
        planned.headers |= {"access-control-allow-origin": "*", "access-control-allow-credentials": "true"}
    return planned


def _route(script: Script, request: Request, number: int) -> Reply:
    if request.path == CHAT + "/":
        moved = Reply(307, _headers())
        moved.headers["location"] = f"http://{request.headers.get('host', 'localhost')}{CHAT}"
        return moved
    if request.path != CHAT:
        return _json_reply(404, {"detail": "Not Found"})
    if request.method != "POST":
        refused = _json_reply(405, {"detail": "Method Not Allowed"})
        refused.headers["allow"] = "POST"
        return refused
    if len(request.body) > _MAX_BODY:
        return html_reply(413, "Request Entity Too Large")
    sent = read(request)
    _check_key(script, request.headers.get("authorization", ""))
    order = check(sent)
    if script.models and order.model not in script.models:
        kind = "assistant" if order.assistant else "model"
        raise Refusal(404, "OBJECT_NOT_FOUND", f"{kind} {order.model} not found")
    try:
        planned = _answer(script, order, number)
    except Upstream as failure:
        planned = _failed(order.assistant, order.streamed, failure)
    planned.id, planned.ask = _answer_id(number), sent
    return planned


def _check_key(script: Script, header: str) -> None:
    key = header.removeprefix("Bearer ") if header.startswith("Bearer ") else ""
    if not key:
        raise Refusal(401, "APIKEY_VALIDATION_FAILED", "API Key validation failed")
    if script.key is None or key == script.key:
        return
    if key[2:10] == script.key[2:10]:
        raise Refusal(401, "TOKEN_VALIDATION_FAILED", "Invalid apikey")
    raise Refusal(404, "OBJECT_NOT_FOUND", f"apikey {key[2:10]} not found")


def _headers(content_type: str = "", streamed: bool = False) -> dict[str, str]:
    headers = {"date": formatdate(usegmt=True), "server": "uvicorn"}
    if not streamed:
        headers["content-length"] = ""
    return headers | {"content-type": content_type} if content_type else headers


def _json_reply(status: int, body: Mapping[str, Any], at: int = 0) -> Reply:
    kind = "body" if status == 200 else "other"
    return Reply(status, _headers(_JSON), [Piece(at, kind, orjson.dumps(body))])


def _stream_reply(pieces: Sequence[Piece], ending: str = "keep") -> Reply:
    """A stream; its head comes at once, before the model is asked."""
    headers = _headers("text/event-stream; charset=utf-8", streamed=True)
    return Reply(200, headers, pieces, streamed=True, head_at=0, ending=ending)


def _answer_id(number: int) -> str:
    return f"chatcmpl-{number:029d}"


# ---- answers


def _answer(script: Script, order: Order, number: int) -> Reply:
    messages = _rewritten(order, script.system)
    asked: dict[str, Any] = {"model": order.model, "messages": messages, "stream": order.streamed}
    asked |= _offered(order)
    said = script.answer_to(asked)
    text, calls = (said, []) if isinstance(said, str) else ("", _calls(said, number))
    tokens = tokens_of(text)
    times = script.law.offsets(number, max(len(tokens), 1))
    if order.streamed:
        planned = _stream_reply([*_events(order, tokens, calls, times, number), Piece(times[-1], "done", DONE)])
        if not order.assistant and len(text.encode()) > _MAX_LINE:
            planned.pieces, planned.ending = list(planned.pieces)[:-1], "eof"
    else:
        sent = len(tokens) or sum(len(call["function"]["arguments"].split()) for call in calls)
        usage = {"completion_tokens": sent, "prompt_tokens": prompt_tokens(messages)}
        usage["total_tokens"] = sum(usage.values())
        planned = _json_reply(200, _whole(order, text.strip(), calls, usage, number, times[-1]), times[-1])
    planned.tokens = len(tokens) or len(calls)
    return planned


def _offered(order: Order) -> dict[str, Any]:
    """The tools as the model is offered them; a choice counts for a model id only."""
    functions, choice = order.functions, None if order.assistant else order.function_call
    if choice == "none" or not functions:
        return {}
    if choice in (None, "auto"):
        return {"tools": [{"type": "function", "function": function} for function in functions]}
    chosen = [{"type": "function", "function": function} for function in functions if function["name"] == choice]
    if not chosen:
        raise _unacceptable("body", f"{choice} is not a function name")
    return {"tools": chosen, "tool_choice": {"name": choice}}


def _calls(said: Answer, number: int) -> list[dict[str, Any]]:
    """Calls with the service's ids, the JSON of their arguments written anew."""
    return [
        {"id": f"P3lf{number:016d}{i:04d}", "function": {"arguments": _again(call.arguments), "name": call.name}}
        for i, call in enumerate(said)
        if isinstance(call, Call)
    ]


def _again(arguments: str) -> str:
    return json.dumps(json.loads(arguments))


def _whole(
    order: Order, text: str, calls: list[dict[str, Any]], usage: Mapping[str, int], number: int, at: int
) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None if calls else text}
    finish = "function_call" if order.legacy else "tool_calls" if calls else "stop"
    if calls and order.legacy:
        message["function_call"] = calls[0]["function"]
    elif calls:
        message["tool_calls"] = [{**call, "type": "function"} for call in calls]
    return {
        "id": _answer_id(number),
        "choices": [{"finish_reason": finish, "index": 0, "logprobs": None, "message": message}],
        "created": _created(at),
        "model": order.model,
        "object": "chat.completion",
        "system_fingerprint": None,
        "usage": usage,
    }


def _created(at: int) -> int:
    return int(time.time() + at / 1e9)


def _events(
    order: Order, tokens: Sequence[str], calls: list[dict[str, Any]], times: Sequence[int], number: int
) -> list[Piece]:
    """Text events, their index counting up; or the one event that holds all calls."""
    if calls:
        return [Piece(times[0], "token", _call_event(order, calls, number, times[0]))]
    start = b'data: {"id": "%b", "created": ' % _answer_id(number).encode()
    middle = (
        f', "model": {json.dumps(order.model)}, "object": "chat.completion.chunk", "system_fingerprint": null, '
        '"choices": [{"delta": {"content": '
    ).encode()
    ending = b', "role": "assistant"}, "finish_reason": null, "index": %d, "logprobs": null}]}\n\n'
    return [
        Piece(at, "token", b"%b%d%b%b%b" % (start, _created(at), middle, _escaped(token), ending % i))
        for i, (at, token) in enumerate(zip(times, tokens, strict=False))
    ]


@lru_cache(maxsize=4096)
def _escaped(token: str) -> bytes:
    return json.dumps(token).encode()


def _call_event(order: Order, calls: list[dict[str, Any]], number: int, at: int) -> bytes:
    functions = [{"name": call["function"]["name"], "arguments": call["function"]["arguments"]} for call in calls]
    delta: dict[str, Any] = {"content": None, "role": "assistant"}
    if order.legacy:
        delta["function_call"] = functions[0]
    else:
        delta["tool_calls"] = [
            {"index": 0, "id": call["id"], "function": function, "type": "function"}
            for call, function in zip(calls, functions, strict=True)
        ]
    finish = "function_call" if order.legacy else "tool_calls"
    event = {
        "id": _answer_id(number),
        "choices": [{"delta": delta, "finish_reason": finish, "index": 0, "logprobs": None}],
        "created": _created(at),
        "model": order.model,
        "object": "chat.completion.chunk",
        "system_fingerprint": None,
    }
    return f"data: {json.dumps(event)}\n\n".encode()


# ---- what the model is given


def _rewritten(order: Order, prompt: str) -> list[dict[str, Any]]:
    """The messages as they go to the model: system prompts merged, blank ones dropped, neighbours joined.

    Raises
    ------
    Upstream
        The model's side of the service does not take them.
    """
    messages = order.messages
    if order.assistant:
        messages = [_assistant_prompt(prompt, messages), *(m for m in messages if m["role"] != "system")]
    messages = [message for message in messages if message["content"] or message.get("function_calls")]
    _check_dialogue(messages)
    joined: list[dict[str, Any]] = []
    for message in messages:
        last = joined[-1] if joined else {}
        plain = message["role"] in ("user", "assistant") and not message.get("function_calls")
        if plain and message["role"] == last.get("role") and "tool_calls" not in last:
            joined[-1] = {**last, "content": f"{last['content']}\n\n{message['content']}"}
        else:
            joined.append(_outward(message))
    return joined


def _assistant_prompt(prompt: str, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    place = "{{user_system_prompt}}"
    first = next((message["content"] or "" for message in messages if message["role"] == "system"), None)
    if first is not None:
        prompt = prompt.replace(place, first) if place in prompt else f"{prompt}\n\n{first}"
    return {"role": "system", "content": prompt}


def _check_dialogue(messages: Sequence[Mapping[str, Any]]) -> None:
    if not messages:
        raise _unacceptable("body/messages", "messages cannot be empty.")
    systems = [i for i, message in enumerate(messages) if message["role"] == "system"]
    if len(systems) > 1:
        raise _unacceptable("body/messages", "more than one system message found.")
    if systems and systems[0] != 0:
        raise _unacceptable("body/messages", "system message is not at the first position.")
    # every call of a request has one and the same id, so that a second result is always one too many
    called, answered = False, False
    for message in messages:
        if message.get("function_calls"):
            if called and not answered:
                raise _unacceptable("body/messages", "Function_calls do not have a corresponding function message.")
            called = True
        elif message["role"] == "function":
            if answered:
                raise _unacceptable("body/messages", "function appears more than once.")
            if not called:
                raise _unacceptable("body/messages", "function message appears without a preceding function_call.")
            answered = True
        elif called and message["role"] != "system":
            problem = "user and assistant roles are not allowed after function role until all function_calls have"
            raise _unacceptable("body/messages", f"{problem} corresponding functions.")
    if called and not answered:
        raise _unacceptable("body/messages", "Function_calls do not have a corresponding function message.")


def _outward(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as the model's own interface wants it."""
    if message["role"] == "function":
        return {"role": "tool", "tool_call_id": "P3lf", "content": message["content"]}
    if calls := message.get("function_calls"):
        functions = [{"name": call["name"], "arguments": json.dumps(call["arguments"])} for call in calls]
        tool_calls = [{"id": "P3lf", "type": "function", "function": function} for function in functions]
        return {"role": "assistant", "content": message["content"], "tool_calls": tool_calls}
    return {"role": message["role"], "content": message["content"]}


def _unacceptable(where: str, problem: str) -> Upstream:
    message = f"{where}: Value error, {problem}"
    detail = {"type": "value_error", "loc": tuple(where.split("/")), "msg": f"Value error, {problem}"}
    return Upstream(422, "REQUEST_VALIDATION_ERROR", message, str(detail))


# ---- failures


def _failed(assistant: bool, streamed: bool, failure: Upstream, at: int = 0) -> Reply:
    """How a failure shows: a stream never tells, an assistant wraps it up, a model id passes it on."""
    if streamed:
        return _stream_reply([Piece(at, "done", DONE)]) if assistant else _stream_reply([], ending="eof")
    if not assistant:
        return _json_reply(failure.status, Refusal(0, failure.code, failure.message).body, at)
    message = "Error occurred in chat completion inference"
    if failure.message:
        message += f". {failure.detail}"
    return _json_reply(500, Refusal(0, "GENERATION_ERROR", message).body, at)


def _fail(planned: Reply, failure: Upstream, at: int = 0) -> Reply:
    """The planned answer's place taken by a failure."""
    model = str((planned.ask or {}).get("model"))
    failed = _failed(len(model) == ASSISTANT_ID, planned.streamed, failure, at)
    return replace(failed, id=planned.id, ask=planned.ask)


def upstream_error(planned: Reply, request: Request, status: int = 500, message: str = "stub says so") -> Reply:
    """The model answers with an error status; what it says of a 5xx is lost."""
    error = {"error": {"message": message, "type": "stub_error", "code": str(status)}}
    text = f"Error on calling provider model API: {error}" if status < 500 else "Provider's service is unavailable"
    return _fail(planned, Upstream(400, "PROVIDER_ERROR", text))


def upstream_down(planned: Reply, request: Request, host: str = "127.0.0.1", port: int = 18080) -> Reply:
    """Nothing listens where the model should be."""
    text = f"Cannot connect to host {host}:{port} ssl:default [Connect call failed ('{host}', {port})]"
    return _fail(planned, Upstream(422, "REQUEST_VALIDATION_ERROR", text))


def upstream_cut(planned: Reply, request: Request, after: int = 3) -> Reply:
    """The model's own answer is cut; of a stream what came before it is passed on and ended as if it were whole."""
    if not planned.streamed:
        return _fail(planned, Upstream(500, "INTERNAL_SERVER_ERROR", "Response payload is not completed"))
    tokens = [piece for piece in planned.pieces if piece.kind == "token"][:after]
    return replace(planned, pieces=[*tokens, Piece(tokens[-1].at if tokens else 0, "done", DONE)])


@dataclass(slots=True)
class Death:
    """When the model dies, in s after the first request, and how long it is away."""

    after_s: float
    seconds: float = 0.3
    _at: float | None = None

    def offset_s(self) -> float:
        """How many seconds from now."""
        now = time.monotonic()
        if self._at is None:
            self._at = now + self.after_s
        return self._at - now


def model_killed(planned: Reply, request: Request, death: Death) -> Reply | None:
    """The model dies: streams with text end as if they were whole, others fail, and so does what comes meanwhile."""
    offset = death.offset_s()
    if offset <= 0:
        return upstream_down(planned, request) if offset > -death.seconds else None
    at, pieces = round(offset * 1e9), list(planned.pieces)
    if pieces[-1].at < at:
        return None
    tokens = [piece for piece in pieces if piece.kind == "token" and piece.at < at]
    if tokens:
        return replace(planned, pieces=[*tokens, Piece(at, "done", DONE)])
    failed = _fail(planned, Upstream(500, "INTERNAL_SERVER_ERROR", "Response payload is not completed"), at)
    late = [] if failed.complete else [Piece(at, "other", b"", raw=True)]
    return replace(failed, pieces=[*failed.pieces, *late])


def upstream_empty(planned: Reply, request: Request) -> Reply:
    """The model answers nothing at all."""
    if planned.streamed:
        return replace(planned, pieces=[Piece(0, "done", DONE)])
    text = "Error on calling provider model API: The model response is empty."
    return _fail(planned, Upstream(400, "PROVIDER_ERROR", text))


def upstream_hang(planned: Reply, request: Request, seconds: float = 301.0) -> Reply:
    """The model says nothing until the service gives up."""
    failed = _fail(planned, Upstream(500, "INTERNAL_SERVER_ERROR", ""), round(seconds * 1e9))
    late = [] if failed.complete else [Piece(round(seconds * 1e9), "other", b"", raw=True)]
    return replace(failed, pieces=[*failed.pieces, *late])


def no_function_call(planned: Reply, request: Request) -> Reply | None:
    """The model knows no tools: a model id says so, an assistant passes them on all the same."""
    ask = planned.ask or {}
    model = str(ask.get("model"))
    if len(model) == ASSISTANT_ID or not (ask.get("tools") or ask.get("functions")):
        return None
    refusal = Refusal(422, "REQUEST_VALIDATION_ERROR", f"Model {model} does not support function calls.")
    return _json_reply(422, refusal.body)


def no_streaming(planned: Reply, request: Request) -> Reply | None:
    """The model cannot stream: a model id says so, an assistant's stream is empty."""
    model = str((planned.ask or {}).get("model"))
    if not planned.streamed:
        return None
    if len(model) == ASSISTANT_ID:
        return replace(planned, pieces=[Piece(0, "done", DONE)])
    refusal = Refusal(422, "REQUEST_VALIDATION_ERROR", f"Model {model} does not support streaming.")
    return _json_reply(422, refusal.body)


def own_tool(planned: Reply, request: Request, after: int = 3) -> Reply | None:
    """The assistant uses a tool of its own after some tokens: the events' index starts anew, nothing else shows."""
    if not planned.streamed:
        return None
    pieces = list(planned.pieces)
    for i, piece in enumerate(pieces):
        if piece.kind == "token" and i >= after:
            data = piece.data.replace(b'"index": %d,' % i, b'"index": %d,' % (i - after))
            pieces[i] = piece._replace(data=data)
    return replace(planned, pieces=pieces)


FAULTS: dict[str, Callable[..., Reply | None]] = {
    fault.__name__: fault
    for fault in (
        upstream_error, upstream_down, upstream_cut, model_killed, upstream_empty, upstream_hang, no_function_call,
        no_streaming, own_tool,
    )
}  # fmt: skip
