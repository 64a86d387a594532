"""Strategies: streams in every dialect that endpoints speak, and bytes and JSON of no sense at all."""

import json

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from streams import chunk, piece, tools

from evalkit.conversation import ToolCall
from evalkit.record import Answer, Usage

# a busy machine is no failure
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
PIECES = st.text(st.characters(codec="utf-8") | st.sampled_from('\u2028\u2029\x85\r\n\\"🎉'), min_size=1, max_size=8)


@st.composite
def streams(draw):
    """A good stream in some dialect: its bytes, and the answer, usage and count of token events it holds."""
    events = draw(st.sampled_from([[], [chunk({"role": "assistant", "content": None})], [chunk({"content": ""})]]))[:]
    thoughts = draw(st.lists(PIECES, max_size=3))
    names = draw(st.sampled_from([["reasoning"], ["reasoning_content"], ["reasoning", "reasoning_content"]]))
    events += [chunk(dict.fromkeys(names, thought)) for thought in thoughts]
    words = draw(st.lists(PIECES, max_size=5))
    role = draw(st.sampled_from([{}, {"role": "assistant"}, {"tool_calls": None, "refusal": None}]))
    events += [chunk({"content": word, **role}) for word in words]
    calls, pieces = draw(tool_calls())
    events += pieces
    tokens = len(thoughts) + len(words) + len(pieces)
    if draw(st.booleans()):
        for number, event in enumerate(events):
            event["choices"][0]["index"] = number
    finish = draw(st.sampled_from([None, "stop", "length"])) if tokens else "stop"
    if finish:
        events.append(chunk({}, finish))
    usage = draw(st.none() | st.integers(0, 99))
    if usage is not None:
        count = {"prompt_tokens": 1, "completion_tokens": usage}
        if draw(st.booleans()):
            events.append({"choices": draw(st.sampled_from([[], None])), "usage": count})
        else:
            events[-1]["usage"] = count
    extra = dict.fromkeys(names, "".join(thoughts)) if calls and thoughts else None
    answer = Answer("".join(words), "".join(thoughts), None, calls, finish, extra=extra)
    return draw(written(events)), answer, None if usage is None else Usage(1, usage), tokens


@st.composite
def tool_calls(draw):
    """Calls, and chunks that tell them: by index in pieces, or all with index 0 and whole."""
    calls = tuple(
        ToolCall(name, arguments, f"call{number}")
        for number, (name, arguments) in enumerate(draw(st.lists(st.tuples(NAMES, PIECES), max_size=3)))
    )
    if draw(st.booleans()):
        told = [piece(0, call.id, call.name, call.arguments) for call in calls]
        return calls, [tools(*told)] if told else []
    opening = [tools(piece(number, call.id, call.name, "")) for number, call in enumerate(calls)]
    letters = [[tools(piece(number, None, None, c)) for c in call.arguments] for number, call in enumerate(calls)]
    return calls, opening + [event for group in letters for event in group]


@st.composite
def written(draw, events):
    """Events as bytes, in one of the ways that servers write them."""
    space, ascii, indent = draw(st.sampled_from([" ", ""])), draw(st.booleans()), draw(st.sampled_from([None, 0]))
    filler = draw(st.sampled_from(["", ": ping\n\n", "data:\n\n", "event: message\nid: 1\n", "\n"]))
    lines = [json.dumps(event, ensure_ascii=ascii, indent=indent).split("\n") for event in events]
    blocks = [filler + "".join(f"data:{space}{line}\n" for line in event) + "\n" for event in lines]
    ends = draw(st.sampled_from([f"data:{space}[DONE]\n\n", f"data:{space}[DONE]", f"data:{space}[DONE]\n\n: bye\n\n"]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    bom = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    return bom + ("".join(blocks) + ends).replace("\n", end).encode()


CUTS = st.lists(st.integers(0, 10_000), max_size=12)


FRAGMENTS = st.sampled_from(
    [
        *(b"data: ", b"data:", b"\n", b"\r", b"\n\n", b"[DONE]", b"{", b"}", b"[", b'"', b":", b" ", b"event: error"),
        *(b"\\ud800", b"\xef\xbb\xbf", b"\xff", b"<html>", b'{"error":{"code":429}}'),
        b'{"choices":[{"delta":{"content":"a"}}]}',
        b'{"choices":[{"delta":{},"finish_reason":"stop"}]}',
    ]
)
CONTENT_TYPES = st.sampled_from([None, "", "text/event-stream", "application/json", "text/html", "x/y"])

_KEYS = [
    *("content", "tool_calls", "function_call", "function", "index", "id", "name", "arguments", "reasoning", "refusal"),
    *("text", "code", "message", "prompt_tokens", "completion_tokens_details"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner),
    max_leaves=10,
)
EVENTS = st.fixed_dictionaries({}, optional={"usage": JSON, "error": JSON, "choices": JSON}) | JSON
