"""Probes of tools: whether they are called, in which form, and what has to go back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from evalkit.checkup.probes.call import Body, Call, Replies, ask, streamed, user
from evalkit.checkup.probes.probe import (
    Judgement,
    Probe,
    conforms,
    differs,
    ignored,
    not_judged,
    shown,
    unsupported,
    without_faults,
)
from evalkit.checkup.probes.reply import Reply, json_or_none, mapping

SUBJECT = "tools"
_NAME = "get_weather"
_FUNCTION = {
    "name": _NAME,
    "description": "Get the weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "Name of the city"}},
        "required": ["city"],
    },
}
_TOOLS = [{"type": "function", "function": _FUNCTION}]
_QUESTION = "What is the weather in Paris? Call the tool."
_TWO_CITIES = "What is the weather in Paris, and what in Rome? Call the tool for both cities now."
_STANDARD = {"id", "type", "function", "index"}
_TOKENS = 48


def _forced(replies: Replies) -> dict[str, Any]:
    """The strongest demand for a call that the endpoint accepts."""
    return {"tool_choice": "required"} if replies[REQUIRED].ok else {}


def _two_body(replies: Replies) -> Body:
    return ask(_TWO_CITIES, tools=_TOOLS, **_forced(replies))


def _stream_body(replies: Replies) -> Body:
    return streamed(ask(_TWO_CITIES, tools=_TOOLS, **_forced(replies)))


def _made_call(replies: Replies) -> dict[str, Any]:
    """A call of the model if one came, else one that it could have made."""
    for reply in (replies[AUTO], replies[REQUIRED]):
        if reply.ok and reply.tool_calls:
            return reply.tool_calls[0]
    return _call("call_1", "Paris")


def _call(name: str, city: str) -> dict[str, Any]:
    return {"id": name, "type": "function", "function": {"name": _NAME, "arguments": f'{{"city": "{city}"}}'}}


def _plain(call: dict[str, Any]) -> dict[str, Any]:
    """A call with the fields of the reference only."""
    function = mapping(call.get("function"))
    kept = {"name": function.get("name"), "arguments": function.get("arguments")}
    return {"id": call.get("id"), "type": "function", "function": kept}


def _round(*calls: dict[str, Any], question: str = _QUESTION, **more: Any) -> list[dict[str, Any]]:
    """A question, the calls and their results; ``more``: keys of the results."""
    results = [
        {"role": "tool", "tool_call_id": call.get("id"), "content": f"It is {20 + i} °C and sunny.", **more}
        for i, call in enumerate(calls)
    ]
    return [user(question), {"role": "assistant", "content": None, "tool_calls": list(calls)}, *results]


def _result_body(replies: Replies) -> Body:
    return {"messages": _round(_plain(_made_call(replies))), "tools": _TOOLS}


def _whole_call_body(replies: Replies) -> Body | None:
    """The result of a call that goes back with every field that came; None: there are no others."""
    call = _made_call(replies)
    return None if replies[RESULT].ok or call.keys() <= _STANDARD else {"messages": _round(call), "tools": _TOOLS}


def _named_body(replies: Replies) -> Body | None:
    """The result with the name of its function; None: it was accepted without."""
    if replies[RESULT].ok:
        return None
    return {"messages": _round(_plain(_made_call(replies)), name=_NAME), "tools": _TOOLS}


AUTO = Call("tool offered", ask(_QUESTION, tools=_TOOLS), tokens=_TOKENS, tokens_sent=120)
TOOLLESS = Call("the same without the tool", ask(_QUESTION), tokens=1)
REQUIRED = Call("tool required", ask(_QUESTION, tools=_TOOLS, tool_choice="required"), tokens=_TOKENS, tokens_sent=120)
NAMED_CHOICE = Call(
    "tool named",
    ask("Hello.", tools=_TOOLS, tool_choice={"type": "function", "function": {"name": _NAME}}),
    tokens=_TOKENS, tokens_sent=120,
)  # fmt: skip
NO_TOOL = Call("tool choice none", ask(_QUESTION, tools=_TOOLS, tool_choice="none"), tokens_sent=120)
TWO = Call("two calls", _two_body, after=(REQUIRED,), tokens=2 * _TOKENS, tokens_sent=120)
STREAMED = Call("streamed call", _stream_body, after=(REQUIRED,), tokens=2 * _TOKENS, tokens_sent=120)
RESULT = Call("tool result", _result_body, after=(AUTO, REQUIRED), tokens_sent=160)
WHOLE_CALL = Call("tool result, with all fields of the call", _whole_call_body, after=(RESULT,), tokens_sent=160)
NAMED_RESULT = Call("tool result with its name", _named_body, after=(RESULT,), tokens_sent=160)
TWO_RESULTS = Call(
    "two tool results",
    {"messages": _round(_call("call_1", "Paris"), _call("call_2", "Rome"), question=_TWO_CITIES), "tools": _TOOLS},
    tokens_sent=200,
)
AFTER_ROUND = Call(
    "turn after a tool round",
    {
        "messages": [
            *_round(_call("call_1", "Paris")),
            {"role": "assistant", "content": "It is sunny in Paris."},
            user("Thank you. Say goodbye."),
        ],
        "tools": _TOOLS,
    },
    tokens_sent=200,
)
LEGACY = Call(
    "functions", ask(_QUESTION, functions=[_FUNCTION], function_call={"name": _NAME}), tokens=_TOKENS, tokens_sent=120
)


def _auto(reply: Reply, toolless: Reply, required: Reply | None) -> Judgement:
    if reply.tool_calls:
        return without_faults(_call_faults(reply), f"called: {_shown_calls(reply)}")
    many, few = reply.count("prompt_tokens"), toolless.count("prompt_tokens")
    demanded = required is not None and required.ok and not required.tool_calls
    if demanded and many is not None and few is not None and many <= few:
        return ignored(f"not called, also if required, and not counted: {many} prompt tokens, {few} without the tool")
    return not_judged("the model answered with text, as it may")


def _call_faults(reply: Reply) -> Iterator[str]:
    if reply.finish_reason != "tool_calls":
        yield f"finish_reason is {shown(reply.finish_reason)}, not 'tool_calls'"
    for call in reply.tool_calls:
        yield from _faults_of(call)
        if extra := sorted(call.keys() - _STANDARD):
            yield f"the call has {', '.join(map(shown, extra))} besides its own fields"


def _faults_of(call: dict[str, Any]) -> Iterator[str]:
    function = mapping(call.get("function"))
    if not (isinstance(call.get("id"), str) and call["id"]):
        yield f"its id is {shown(call.get('id'))}"
    if call.get("type") != "function":
        yield f"its type is {shown(call.get('type'))}"
    if not isinstance(function.get("name"), str):
        yield f"its name is {shown(function.get('name'))}"
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        yield f"arguments are {type(arguments).__name__}, not a text with JSON"
    elif not arguments.strip():
        yield "arguments are an empty text, not '{}'"
    elif not isinstance(json_or_none(arguments), dict):
        yield f"arguments are no JSON object: {shown(arguments)}"


def _shown_calls(reply: Reply) -> str:
    functions = [mapping(call.get("function")) for call in reply.tool_calls[:2]]
    return ", ".join(f"{function.get('name')} {function.get('arguments')}"[:80] for function in functions)


def _required(reply: Reply) -> Judgement:
    if reply.tool_calls:
        return conforms(f"called: {_shown_calls(reply)}")
    if reply.finish_reason == "length" and not reply.text:
        return not_judged("cut at the limit before a call or a text came")
    return ignored(f"accepted, and text came: {shown(reply.text)}")


def _none(reply: Reply, auto: Reply) -> Judgement:
    if reply.tool_calls:
        return ignored("accepted, and a call came")
    if not auto.tool_calls:
        return not_judged("the model also answers with text where it may call")
    return conforms("text came, and a call without 'none'")


def _two(reply: Reply) -> Judgement:
    if len(reply.tool_calls) < 2:
        return not_judged(f"{len(reply.tool_calls) or 'no'} call came: the model may call one after the other")
    ids = [call.get("id") for call in reply.tool_calls]
    if len(set(map(str, ids))) < len(ids):
        return differs(f"two calls have the same id {shown(ids[0])}")
    return conforms(f"{len(ids)} calls with ids of their own")


def _streamed(reply: Reply) -> Judgement:
    fragments = reply.call_fragments
    if not fragments:
        return not_judged("no call came")
    return without_faults(
        _fragment_faults(fragments, reply),
        f"{len({shown(each.get('index')) for each in fragments})} calls in {len(fragments)} pieces",
    )


def _fragment_faults(fragments: list[dict[str, Any]], reply: Reply) -> Iterator[str]:
    by_index: dict[Any, list[dict[str, Any]]] = {}
    for fragment in fragments:
        by_index.setdefault(shown(fragment.get("index")), []).append(fragment)
        if type(fragment.get("index")) is not int:
            yield f"a piece has the index {shown(fragment.get('index'))}"
        if extra := sorted(fragment.keys() - _STANDARD):
            yield f"a piece has {', '.join(map(shown, extra))} besides its own fields"
    for index, pieces in by_index.items():
        ids = {piece["id"] for piece in pieces if isinstance(piece.get("id"), str) and piece["id"]}
        if len(ids) > 1:
            yield f"{len(ids)} calls share the index {index}: helpers join their arguments"
        elif not pieces[0].get("id"):
            yield "the first piece of a call has no id"
        else:
            yield from _joined_faults(pieces)
    if reply.finish_reason != "tool_calls":
        yield f"finish_reason is {shown(reply.finish_reason)}, not 'tool_calls'"


def _joined_faults(pieces: list[dict[str, Any]]) -> Iterator[str]:
    functions = [mapping(piece.get("function")) for piece in pieces]
    arguments = [function.get("arguments") or "" for function in functions]
    if not all(isinstance(part, str) for part in arguments):
        yield "arguments are not text"
        return
    whole = {**pieces[0], "type": "function"}
    yield from _faults_of({**whole, "function": {"name": functions[0].get("name"), "arguments": "".join(arguments)}})


def _result(reply: Reply, whole_call: Reply | None, named: Reply | None) -> Judgement:
    if reply.ok:
        return conforms(f"accepted with the fields of the reference: {shown(reply.text)}")
    if whole_call is not None and whole_call.ok:
        return differs(f"accepted only if every field of the call goes back: {reply.outcome}")
    if named is not None and named.ok:
        return differs(f"accepted only if the result names its function: {reply.outcome}")
    return unsupported(f"refused with {reply.outcome}")


def _accepted(reply: Reply) -> Judgement:
    return conforms("accepted") if reply.text or reply.tool_calls else not_judged("accepted, but no text came")


def _legacy(reply: Reply) -> Judgement:
    call = mapping(reply.message.get("function_call"))
    if not call:
        return differs("a tool call came") if reply.tool_calls else ignored(f"text came: {shown(reply.text)}")
    if not isinstance(call.get("arguments"), str) or not isinstance(json_or_none(call["arguments"]), dict):
        return differs(f"arguments are no text with a JSON object: {shown(call.get('arguments'))}")
    return conforms(f"called: {call.get('name')} {call['arguments']}"[:80])


PROBES = (
    Probe("tool_call", SUBJECT, "a tool and a question for it",
          "Agents read tool_calls; a call in another form is taken for a text.", (AUTO, TOOLLESS), _auto,
          optional=(REQUIRED,)),
    Probe("tool_required", SUBJECT, "tool_choice required",
          "Extraction with tools relies on a call that always comes.", (REQUIRED,), _required),
    Probe("tool_named", SUBJECT, "tool_choice with the name of the function",
          "Structured output by a tool relies on it.", (NAMED_CHOICE,), _required),
    Probe("tool_none", SUBJECT, "tool_choice none",
          "A last answer in words is requested this way.", (NO_TOOL, AUTO), _none),
    Probe("two_calls", SUBJECT, "a question that needs two calls",
          "Results find their calls by id.", (TWO,), _two),
    Probe("streamed_call", SUBJECT, "one call or two in a stream",
          "Helpers put the pieces of a call together by their index.", (STREAMED,), _streamed),
    Probe("tool_result", SUBJECT, "the result of a call, with the fields of the reference",
          "Every agent sends results back; fields that must go back are lost in conversions.",
          (RESULT,), _result, True, (WHOLE_CALL, NAMED_RESULT)),
    Probe("two_results", SUBJECT, "the results of two calls in one turn",
          "Parallel calls fail on the second request where it is not accepted.", (TWO_RESULTS,), _accepted),
    Probe("after_tool_round", SUBJECT, "a user message after a finished tool round",
          "Multi-turn conversations with tools fail from here on.", (AFTER_ROUND,), _accepted),
    Probe("functions", SUBJECT, "functions and function_call, the older form of tools",
          "Older programs send it; it is deprecated.", (LEGACY,), _legacy),
)  # fmt: skip
