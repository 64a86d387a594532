"""Streams as whole answers, and the other way round."""

import json

import pytest

from evalkit.recorded import answer_forms
from evalkit.recorded.exchange import Exchange, Piece

HEAD = {"id": "x", "created": 1, "model": "m"}
CALL = {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
MESSAGES = [
    {"role": "assistant", "content": "Hallo, 数学 😀"},
    {"role": "assistant", "content": "x", "reasoning_content": "thinking"},
    {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "d"}]},
    {"role": "assistant", "content": None, "refusal": "No."},
]


def whole(message, **fields):
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    choice = {"index": 0, "message": message, "finish_reason": "stop", **fields}
    body = json.dumps({**HEAD, "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
    return Exchange("", None, 200, {"content-type": "application/json"}, (Piece(7.0, body),), end_ms=8.0)


@pytest.mark.parametrize("message", MESSAGES)
def test_there_and_back_again_is_the_same(message):
    stream = answer_forms.in_form(whole(message), stream=True)
    assert stream.streamed
    assert stream.body.endswith(b"data: [DONE]\n\n")
    back = answer_forms.in_form(stream, stream=False)
    assert json.loads(back.body) == json.loads(whole(message).body)
    assert not back.streamed


def test_logprobs_are_kept():
    logprobs = {"content": [{"token": "a", "logprob": -1.0}, {"token": "b", "logprob": -2.0}]}
    given = whole(MESSAGES[0], logprobs=logprobs)
    back = answer_forms.in_form(answer_forms.in_form(given, stream=True), stream=False)
    assert json.loads(back.body)["choices"][0]["logprobs"] == logprobs


def test_pieces_of_a_call_are_joined_by_their_index():
    parts = [
        {"tool_calls": [{"index": 1, "id": "d", "function": {"name": "b", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "a", "arguments": "{"}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "[]"}}, {"index": 0, "function": {"arguments": "}"}}]},
    ]
    data = b"".join(answer_forms.event(answer_forms.chunk(HEAD, part)) for part in parts)
    pieces = (Piece(1.0, data + answer_forms.ending(HEAD, "tool_calls", None)),)
    stream = Exchange("", None, 200, {"content-type": "text/event-stream; charset=utf-8"}, pieces)
    choice = json.loads(answer_forms.in_form(stream, stream=False).body)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert [call["function"] for call in choice["message"]["tool_calls"]] == [
        {"name": "b", "arguments": "[]"},
        {"name": "a", "arguments": "{}"},
    ]


@pytest.mark.parametrize(
    "body", [b"", b"no JSON", b"[1]", b'{"choices": 3}', b'{"choices": [1]}', b"data: {}\n\n", b"data: [" + b"[" * 9999]
)
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_what_is_no_answer_stays_as_it_is(body, kind):
    exchange = Exchange("", None, 200, {"content-type": kind}, (Piece(0.0, body),))
    for stream in (True, False):
        found = answer_forms.in_form(exchange, stream=stream)
        assert found == exchange or json.loads(found.body)["choices"] == []


def test_errors_have_one_form():
    exchange = whole(MESSAGES[0])._replace(status=500)
    assert answer_forms.in_form(exchange, stream=True) is exchange
