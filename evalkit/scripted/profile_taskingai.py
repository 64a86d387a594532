"""The scripted server's profile ``taskingai``: that service's chat-completion route with its oddities.

A model name of 8 characters is a model id, one of 24 an assistant id. The two differ in system prompts and in how
failures are reported.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from evalkit.scripted.http_messages import Piece, Reply, Request, html_reply
from evalkit.scripted.script import Call, Script, ScriptedAnswer, prompt_tokens, tokens_of
from evalkit.scripted.taskingai_replies import (
    DONE,
    UpstreamError,
    failure_reply,
    json_reply,
    reply_headers,
    stream_reply,
)
from evalkit.scripted.taskingai_requests import ApiError, CheckedRequest, Unparsable, check, read

CHAT = "/v1/chat/completions"
_MAX_BODY = 20_000_000  # of the proxy in front
_MAX_LINE = 131_072  # bytes the service's stream reader accepts: a longer text of a model id breaks off its stream


def reply(script: Script, request: Request, number: int) -> Reply:
    """Answer request ``number`` (counted among the chat-completion requests, from 1)."""
    try:
        planned = _route(script, request, number)
    except ApiError as error:
        planned = json_reply(error.status, error.body)
    except Unparsable:
        planned = json_reply(400, {"detail": "There was an error parsing the body"})
    if "origin" in request.headers:
        planned.headers |= {"access-control-allow-origin": "*", "access-control-allow-credentials": "true"}
    return planned


def _route(script: Script, request: Request, number: int) -> Reply:
    if request.path == CHAT + "/":
        moved = Reply(307, reply_headers())
        moved.headers["location"] = f"http://{request.headers.get('host', 'localhost')}{CHAT}"
        return moved
    if request.path != CHAT:
        return json_reply(404, {"detail": "Not Found"})
    if request.method != "POST":
        refused = json_reply(405, {"detail": "Method Not Allowed"})
        refused.headers["allow"] = "POST"
        return refused
    if len(request.body) > _MAX_BODY:
        return html_reply(413, "Request Entity Too Large")
    sent = read(request)
    _check_key(script, request.headers.get("authorization", ""))
    checked = check(sent)
    if script.models and checked.model not in script.models:
        kind = "assistant" if checked.assistant else "model"
        raise ApiError(404, "OBJECT_NOT_FOUND", f"{kind} {checked.model} not found")
    try:
        planned = _answer(script, checked, number)
    except UpstreamError as failure:
        planned = failure_reply(checked.assistant, checked.streamed, failure)
    planned.id, planned.request_json = _answer_id(number), sent
    return planned


def _check_key(script: Script, header: str) -> None:
    key = header.removeprefix("Bearer ") if header.startswith("Bearer ") else ""
    if not key:
        raise ApiError(401, "APIKEY_VALIDATION_FAILED", "API Key validation failed")
    if script.key is None or key == script.key:
        return
    if key[2:10] == script.key[2:10]:
        raise ApiError(401, "TOKEN_VALIDATION_FAILED", "Invalid apikey")
    raise ApiError(404, "OBJECT_NOT_FOUND", f"apikey {key[2:10]} not found")


def _answer_id(number: int) -> str:
    return f"chatcmpl-{number:029d}"


# ---- answers


def _answer(script: Script, checked: CheckedRequest, number: int) -> Reply:
    messages = _model_messages(checked, script.system)
    model_request: dict[str, Any] = {"model": checked.model, "messages": messages, "stream": checked.streamed}
    model_request |= _offered_tools(checked)
    answer = script.answer_to(model_request)
    text, calls = (answer, []) if isinstance(answer, str) else ("", _calls(answer, number))
    tokens = tokens_of(text)
    times = script.law.offsets(number, max(len(tokens), 1))
    if checked.streamed:
        planned = stream_reply([*_events(checked, tokens, calls, times, number), Piece(times[-1], "done", DONE)])
        if not checked.assistant and len(text.encode()) > _MAX_LINE:
            planned.pieces, planned.ending = list(planned.pieces)[:-1], "eof"
    else:
        sent = len(tokens) or sum(len(call["function"]["arguments"].split()) for call in calls)
        usage = {"completion_tokens": sent, "prompt_tokens": prompt_tokens(messages)}
        usage["total_tokens"] = sum(usage.values())
        planned = json_reply(200, _whole_body(checked, text.strip(), calls, usage, number, times[-1]), times[-1])
    planned.tokens = len(tokens) or len(calls)
    return planned


def _offered_tools(checked: CheckedRequest) -> dict[str, Any]:
    """The tools offered to the model; a tool choice has an effect for a model id only."""
    functions, choice = checked.functions, None if checked.assistant else checked.function_call
    if choice == "none" or not functions:
        return {}
    if choice in (None, "auto"):
        return {"tools": [{"type": "function", "function": function} for function in functions]}
    chosen = [{"type": "function", "function": function} for function in functions if function["name"] == choice]
    if not chosen:
        raise _unacceptable("body", f"{choice} is not a function name")
    return {"tools": chosen, "tool_choice": {"name": choice}}


def _calls(answer: ScriptedAnswer, number: int) -> list[dict[str, Any]]:
    """The calls with the service's ids and the JSON of their arguments serialised again."""
    return [
        {
            "id": f"P3lf{number:016d}{i:04d}",
            "function": {"arguments": _rewritten_json(call.arguments), "name": call.name},
        }
        for i, call in enumerate(answer)
        if isinstance(call, Call)
    ]


def _rewritten_json(arguments: str) -> str:
    return json.dumps(json.loads(arguments))


def _whole_body(
    checked: CheckedRequest, text: str, calls: list[dict[str, Any]], usage: Mapping[str, int], number: int, at: int
) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None if calls else text}
    finish = "function_call" if checked.legacy else "tool_calls" if calls else "stop"
    if calls and checked.legacy:
        message["function_call"] = calls[0]["function"]
    elif calls:
        message["tool_calls"] = [{**call, "type": "function"} for call in calls]
    return {
        "id": _answer_id(number),
        "choices": [{"finish_reason": finish, "index": 0, "logprobs": None, "message": message}],
        "created": _created(at),
        "model": checked.model,
        "object": "chat.completion",
        "system_fingerprint": None,
        "usage": usage,
    }


def _created(at: int) -> int:
    return int(time.time() + at / 1e9)


def _events(
    checked: CheckedRequest, tokens: Sequence[str], calls: list[dict[str, Any]], times: Sequence[int], number: int
) -> list[Piece]:
    """The text events, with an ascending index; or the one event that holds all calls."""
    if calls:
        return [Piece(times[0], "token", _call_event(checked, calls, number, times[0]))]
    start = b'data: {"id": "%b", "created": ' % _answer_id(number).encode()
    middle = (
        f', "model": {json.dumps(checked.model)}, "object": "chat.completion.chunk", "system_fingerprint": null, '
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


def _call_event(checked: CheckedRequest, calls: list[dict[str, Any]], number: int, at: int) -> bytes:
    functions = [{"name": call["function"]["name"], "arguments": call["function"]["arguments"]} for call in calls]
    delta: dict[str, Any] = {"content": None, "role": "assistant"}
    if checked.legacy:
        delta["function_call"] = functions[0]
    else:
        delta["tool_calls"] = [
            {"index": 0, "id": call["id"], "function": function, "type": "function"}
            for call, function in zip(calls, functions, strict=True)
        ]
    finish = "function_call" if checked.legacy else "tool_calls"
    event = {
        "id": _answer_id(number),
        "choices": [{"delta": delta, "finish_reason": finish, "index": 0, "logprobs": None}],
        "created": _created(at),
        "model": checked.model,
        "object": "chat.completion.chunk",
        "system_fingerprint": None,
    }
    return f"data: {json.dumps(event)}\n\n".encode()


# ---- the messages that the model receives


def _model_messages(checked: CheckedRequest, prompt: str) -> list[dict[str, Any]]:
    """The messages as the model receives them: system prompts merged, blank messages dropped, neighbours joined.

    Raises
    ------
    Upstream
        The service's interface to the model rejects them.
    """
    messages = checked.messages
    if checked.assistant:
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
            joined.append(_model_message(message))
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
    # all calls of a request have the same id, so a second result is always rejected
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


def _model_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message in the form of the model's own interface."""
    if message["role"] == "function":
        return {"role": "tool", "tool_call_id": "P3lf", "content": message["content"]}
    if calls := message.get("function_calls"):
        functions = [{"name": call["name"], "arguments": json.dumps(call["arguments"])} for call in calls]
        tool_calls = [{"id": "P3lf", "type": "function", "function": function} for function in functions]
        return {"role": "assistant", "content": message["content"], "tool_calls": tool_calls}
    return {"role": message["role"], "content": message["content"]}


def _unacceptable(where: str, problem: str) -> UpstreamError:
    message = f"{where}: Value error, {problem}"
    detail = {"type": "value_error", "loc": tuple(where.split("/")), "msg": f"Value error, {problem}"}
    return UpstreamError(422, "REQUEST_VALIDATION_ERROR", message, str(detail))
