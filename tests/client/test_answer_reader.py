"""Bodies out and answers in: the traps of reading a stream or a whole answer, each by name."""

import json
import math

import pytest
from dialects import CONTENT_TYPES, CUTS, EVENTS, FRAGMENTS, JSON, streams, unhurried
from hypothesis import given
from hypothesis import strategies as st
from streams import DONE, chunk, cut, each, outcome, piece, read, sse, text, tools, whole

from evalkit.client import answer_reader
from evalkit.client.answer_reader import AnswerReader
from evalkit.client.request_body import request_body
from evalkit.conversation import Message, ToolCall
from evalkit.errors import ERROR_KINDS, SettingsError
from evalkit.record import Answer, Usage

STOP = chunk(finish="stop")
ASK = [Message("user", "hi")]


# -- request bodies


def test_body_of_a_stream_asks_for_usage():
    assert json.loads(request_body(ASK, model="m", stream=True, params={"temperature": 0})) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
    }


def test_body_without_a_stream_says_so_and_has_no_stream_options():
    assert json.loads(request_body(ASK, model="m", stream=False)) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": False,
    }
    assert "stream_options" not in json.loads(request_body(ASK, model="m", stream=True, include_usage=False))


def test_body_holds_tools_and_tool_rounds():
    call = ToolCall("f", "{}", "a")
    messages = [*ASK, Message("assistant", None, (call,)), Message("tool", "1", tool_call_id="a")]
    body = json.loads(request_body(messages, model="m", stream=False, tools=[{"type": "function"}]))
    assert body["tools"] == [{"type": "function"}]
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "1", "tool_call_id": "a"},
    ]


@pytest.mark.parametrize("name", ["model", "messages", "stream"])
def test_parameters_may_not_change_what_evalkit_writes(name):
    with pytest.raises(SettingsError, match=f"^the parameter '{name}' cannot be set: evalkit sets it itself$"):
        request_body(ASK, model="m", stream=True, params={name: 1})


def test_several_choices_are_refused_because_only_the_first_is_read():
    with pytest.raises(SettingsError, match=r"^the parameter 'n' must be 1: to get several answers, use repeats$"):
        request_body(ASK, model="m", stream=True, params={"n": 2})
    assert b'"n":1' in request_body(ASK, model="m", stream=True, params={"n": 1})


@pytest.mark.parametrize("value", [{1, 2}, "\ud800", 2**70, {1: 2}])
def test_what_json_cannot_hold_is_a_settings_error(value):
    with pytest.raises(SettingsError, match=r"^the request cannot be written as JSON: "):
        request_body(ASK, model="m", stream=True, params={"user": value})


# -- a whole stream, dialect by dialect


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_has_no_word_for_is_never_sent_as_null(value):
    """From code: neither a dataset nor an endpoint lets it in."""
    with pytest.raises(SettingsError, match=r"temperature is (nan|inf|-inf): JSON has no such number"):
        request_body([], model="m", stream=True, params={"temperature": value})
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"x": {"maximum": value}}}}}
    with pytest.raises(SettingsError, match=r"tools\.0\.function\.parameters\.properties\.x\.maximum"):
        request_body([], model="m", stream=True, tools=[tool])
    assert b'"x":null' in request_body([], model="m", stream=True, params={"metadata": {"x": None}})


def test_stream_as_openai_sends_it():
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 0}}
    reader = read(
        *each(
            chunk({"role": "assistant", "content": "", "refusal": None}, usage=None),
            chunk({"content": "Hel"}, usage=None),
            chunk({"content": "lo"}, usage=None),
            chunk(finish="stop", usage=None),
            {"choices": [], "usage": usage},
            DONE,
        )
    )
    assert reader.failure is None
    assert reader.answer == Answer("Hello", finish_reason="stop")
    assert reader.usage == Usage(9, 2, 0)
    assert (reader.arrivals, reader.arrival_events, reader.first_visible) == ([200, 300], [1, 1], 200)
    assert (reader.streamed, reader.done, reader.flags) == (True, True, ())


def test_stream_as_llama_cpp_sends_it():
    reader = read(
        *each(
            chunk({"role": "assistant", "content": None}),
            *text("A", "B"),
            STOP,
            {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}, "timings": {"predicted_n": 2}},
            DONE,
        )
    )
    assert (reader.failure, reader.answer, reader.usage) == (None, Answer("AB", finish_reason="stop"), Usage(3, 2))
    assert reader.arrivals == [200, 300]


def test_choice_index_that_counts_the_chunks_is_not_the_choice():
    events = [chunk({"content": word, "role": "assistant"}) for word in ("alpha", " bravo", " charlie")]
    for number, event in enumerate(events):
        event["choices"][0]["index"] = number
    reader = read(*each(*events, DONE))
    assert reader.answer == Answer("alpha bravo charlie")
    assert (reader.failure, reader.usage, reader.flags) == (None, None, ("no_finish_reason",))


# -- token-bearing events


@pytest.mark.parametrize(
    "delta",
    [
        {"role": "assistant"},
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": None},
        {},
        None,
    ],
)
def test_role_only_first_chunk_is_no_token(delta):
    reader = read(*each(chunk(delta), *text("A"), STOP, DONE))
    assert reader.arrivals == [200]


def test_finish_only_chunk_usage_chunk_and_comment_are_no_tokens():
    reader = read(*each(b": ping\n\n", *text("A"), STOP, {"choices": [], "usage": {"completion_tokens": 1}}, DONE))
    assert (reader.arrivals, reader.arrival_events) == ([200], [1])


@pytest.mark.parametrize("choices", [[], None])
def test_choices_may_be_empty_or_null(choices):
    reader = read(*each({"choices": choices}, *text("A"), {"choices": choices}, STOP, DONE))
    assert (reader.failure, reader.answer.text, reader.arrivals) == (None, "A", [200])


def test_delta_may_be_null_or_missing():
    bare = {"choices": [{"index": 0, "finish_reason": "stop"}]}
    reader = read(*each({"choices": [{"delta": None}]}, *text("A"), bare, DONE))
    assert (reader.failure, reader.answer) == (None, Answer("A", finish_reason="stop"))


@pytest.mark.parametrize("names", [["reasoning_content"], ["reasoning"], ["reasoning", "reasoning_content"]])
def test_reasoning_counts_as_token_but_is_not_visible_and_is_taken_once(names):
    thought = chunk(dict.fromkeys(names, "Hm. "))
    reader = read(*each(thought, thought, *text("35"), STOP, DONE))
    assert reader.answer == Answer("35", reasoning="Hm. Hm. ", finish_reason="stop")
    assert (reader.arrivals, reader.arrival_events, reader.first_visible) == ([100, 200, 300], [1, 1, 1], 300)


def test_refusal_and_tool_pieces_are_visible_tokens():
    reader = read(*each(chunk({"refusal": "No."}), STOP, DONE))
    assert (reader.answer.refusal, reader.first_visible, reader.failure) == ("No.", 100, None)
    reader = read(*each(tools(piece(0, "a", "f")), tools(piece(0, arguments="{}")), chunk(finish="tool_calls"), DONE))
    assert (reader.answer.tool_calls, reader.arrivals) == ((ToolCall("f", "{}", "a"),), [100, 200])


def test_text_beside_other_parts_in_one_delta():
    for beside in ({"reasoning": "Hm"}, {"role": "assistant", "reasoning": "Hm"}):
        reader = read(sse(chunk({"content": "A", **beside}), DONE))
        assert (reader.answer, reader.arrival_events) == (Answer("A", reasoning="Hm"), [1])


def test_finish_reason_may_come_with_the_last_text():
    reader = read(sse(chunk({"content": "A"}, "length"), DONE))
    assert (reader.answer, reader.flags) == (Answer("A", finish_reason="length"), ())


def test_two_tool_calls_with_index_0_in_one_chunk():
    reader = read(sse(tools(piece(0, "a", "f", "{}"), piece(0, "b", "g", "[]")), DONE))
    assert reader.answer.tool_calls == (ToolCall("f", "{}", "a"), ToolCall("g", "[]", "b"))
    assert reader.arrival_events == [1]


def test_legacy_function_call_in_pieces():
    deltas = [{"name": "f"}, {"arguments": '{"x"'}, {"arguments": ": 1}"}]
    reader = read(*each(*(chunk({"function_call": delta}) for delta in deltas), chunk(finish="function_call"), DONE))
    assert reader.answer == Answer(tool_calls=(ToolCall("f", '{"x": 1}'),), finish_reason="function_call")
    assert reader.arrivals == [100, 200, 300]


# -- stamps


def test_reads_with_one_stamp_are_one_arrival():
    reader = AnswerReader(200, "text/event-stream", stream_requested=True)
    for event, at in zip(each(*text("A", "B", "C")), (5, 5, 9), strict=True):
        reader.feed(event, at)
    assert (reader.arrivals, reader.arrival_events) == ([5, 9], [2, 1])


def test_event_is_stamped_by_the_read_that_completed_it():
    data = sse(*text("A"))
    assert read(data[:30], data[30:-2], data[-2:], sse(STOP, DONE)).arrivals == [300]
    # its line is complete: the blank line adds nothing
    assert read(data[:30], data[30:-1], data[-1:], sse(STOP, DONE)).arrivals == [200]


def test_whole_stream_in_one_read_is_flagged_as_buffered():
    reader = read(sse(*text("A", "B"), STOP, DONE))
    assert (reader.arrivals, reader.arrival_events, reader.flags) == ([100], [2], ("buffered",))
    assert read(sse(*text("A"), STOP, DONE)).flags == ()
    assert read(sse(*text("A", "B")), sse(*text("C"), STOP, DONE)).flags == ()


# -- usage


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        ([{"prompt_tokens": 9, "completion_tokens": n} for n in (1, 2, 3)], Usage(9, 3)),
        ([{"prompt_tokens": 9, "completion_tokens": 3}, None], Usage(9, 3)),
        (
            [{"prompt_tokens": 9, "completion_tokens": 3}, {"prompt_tokens": None, "completion_tokens": None}],
            Usage(9, 3),
        ),
        ([{"prompt_tokens": 9, "completion_tokens": None}, {"completion_tokens": 4}], Usage(9, 4)),
        ([{"completion_tokens": 4, "completion_tokens_details": {"reasoning_tokens": 3}}], Usage(None, 4, 3)),
        ([{"completion_tokens": 4, "completion_tokens_details": None}], Usage(None, 4)),
        ([{"prompt_tokens": None}], None),
        ([{"prompt_tokens": "9", "completion_tokens": -1}], Usage(9)),
        ([{"completion_tokens": True}], None),
        (["many"], None),
        ([None], None),
    ],
)
def test_last_usage_that_is_not_null_counts_and_none_is_summed(reported, usage):
    reader = read(*each(*(chunk({"content": "A"}, usage=count) for count in reported), STOP, DONE))
    assert (reader.failure, reader.usage, reader.answer.text) == (None, usage, "A" * len(reported))


# -- how a stream ends


def test_end_with_text_but_neither_finish_reason_nor_done_is_truncated():
    for complete in (True, False):
        reader = read(*each(*text("par", "tial")), complete=complete)
        assert reader.failure.kind == "truncated"
        assert reader.failure.message == (
            "The endpoint broke off its stream after 2 events with tokens, with neither a finish reason nor [DONE] "
            "(HTTP 200). The part received is kept; if it happens again, check the endpoint's log."
        )
        assert (reader.answer, reader.flags) == (Answer("partial"), ())


def test_end_with_reasoning_alone_and_no_finish_reason_is_truncated():
    reader = read(*each(chunk({"reasoning": "Hm"})))
    assert (reader.failure.kind, reader.answer) == ("truncated", Answer(reasoning="Hm"))


def test_finish_reason_without_done_is_good():
    for complete in (True, False):
        reader = read(*each(*text("A"), STOP), complete=complete)
        assert (reader.failure, reader.answer, reader.flags) == (None, Answer("A", finish_reason="stop"), ("no_done",))


def test_done_without_finish_reason_is_good():
    reader = read(*each(*text("A"), DONE))
    assert (reader.failure, reader.flags) == (None, ("no_finish_reason",))


def test_done_without_any_token_is_empty_and_no_fast_success():
    reader = read(DONE)
    assert reader.failure.kind == "empty"
    assert reader.failure.message == (
        "The endpoint ended its answer without any text or tool call (HTTP 200). "
        "The model or its server has most likely failed: check the endpoint's log."
    )
    assert (reader.answer, reader.arrivals, reader.flags) == (None, [], ())


@pytest.mark.parametrize("start", [b"", b": ping\n\n", b"data: {", sse(chunk({"role": "assistant"}))])
def test_close_before_any_token_is_connection(start):
    reader = read(start, complete=False)
    assert (reader.failure.kind, reader.streamed) == ("connection", True)
    assert read(start, complete=True).failure.kind == "empty"


def test_done_whose_blank_line_never_came_still_counts():
    for end in (b"data: [DONE]", b"data:[DONE]\n", b"data: [DONE]\r\n"):
        reader = read(sse(*text("A")), end)
        assert (reader.failure, reader.done) == (None, True)


def test_last_event_without_blank_line_counts_when_it_is_whole():
    event = sse(*text("B"))
    reader = read(sse(*text("A")), event[:-2], complete=False)
    assert (reader.answer.text, reader.arrivals) == ("AB", [100, 200])
    reader = read(sse(*text("A")), event[:-5], complete=False)
    assert (reader.answer.text, reader.failure.kind) == ("A", "truncated")


def test_what_follows_done_is_dropped():
    reader = read(sse(*text("A"), DONE, *text("B")), sse({"error": {"message": "late"}}))
    assert (reader.failure, reader.answer.text, reader.arrival_events) == (None, "A", [1])


# -- errors inside a stream


@pytest.mark.parametrize("before", [[], text("par", "tial")])
@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        ({"message": "slow down", "type": "rate_limit_error", "code": None}, "rate_limited", "rate_limit_error"),
        ({"message": "overloaded", "code": 503}, "server", "503"),
        ("went wrong", "server", None),
    ],
)
def test_error_event_under_200_is_a_failure_also_after_text(before, error, kind, code):
    reader = read(*each(*before, {"error": error}, *text("never read"), DONE))
    assert (reader.failure.kind, reader.failure.code, reader.failure.http_status) == (kind, code, 200)
    assert (reader.answer and reader.answer.text) == ("partial" if before else None)
    assert reader.done is False


def test_error_event_beside_a_choice_or_without_the_word_error_is_a_failure():
    error = {"code": 502, "message": "upstream"}
    inside = chunk({"content": "A"}, "error")
    inside["choices"][0]["error"] = error
    for event in (chunk({"content": "A"}, error=error), chunk({"content": "A"}, "error", error=error), inside):
        reader = read(sse(event, DONE))
        assert (reader.failure.kind, reader.answer.text, reader.arrival_events) == ("server", "A", [1])
    bare = {"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}
    assert read(sse(bare)).failure.kind == "bad_request"


def test_error_that_is_null_is_none():
    assert read(sse(chunk({"content": "A"}, error=None), DONE)).failure is None


def test_wait_that_goes_with_an_error_event_is_kept():
    reader = read(sse({"error": {"code": 429}}), headers={"retry-after": "3"})
    assert reader.failure.retry_after_s == 3.0


@pytest.mark.parametrize("data", [b'{"choices": [', b"boom", b'{"a": 1}}', b'{"a": "\x00"}'])
def test_broken_json_in_an_event_is_protocol(data):
    reader = read(sse(*text("A"), b"data: " + data + b"\n\n", *text("B"), DONE))
    assert reader.failure.kind == "protocol"
    assert reader.failure.message.startswith("The endpoint sent a broken event in its stream (HTTP 200): ")
    assert reader.answer.text == "A"


def test_event_of_a_wrong_shape_is_protocol_and_named():
    reader = read(sse(chunk({"content": 35})))
    assert reader.failure.kind == "protocol"
    assert reader.failure.message.startswith("The endpoint sent an answer whose content is a number (HTTP 200): ")
    assert read(b"data: [1]\n\n").failure.message.startswith(
        "The endpoint sent an answer that is a list and not an object"
    )


# -- bytes


def test_json_with_line_separators_of_unicode_stays_whole():
    words = "a\u2028b\u2029c\x85d"
    raw = b"data: " + json.dumps(chunk({"content": words}), ensure_ascii=False).encode() + b"\n\n"
    assert "\u2028".encode() in raw
    assert read(raw, DONE).answer.text == words


@pytest.mark.parametrize("bom", [b"\xef\xbb\xbf", b"\xef\xbb\xbf\n", b"\n\xef\xbb\xbf"])
def test_byte_order_mark_at_the_start_is_no_part_of_an_answer(bom):
    assert read(bom + sse(*text("A"), DONE)).answer.text == "A"
    assert read(bom[:1], bom[1:2], bom[2:], sse(*text("A"), DONE)).answer.text == "A"
    assert read(bom + whole({"content": "A"}), content_type="application/json").answer.text == "A"


def test_keep_alive_comments_and_empty_data_are_no_events():
    alive = b": ping\n\ndata:\n\ndata: \n\n:\n\ndata\n\n"
    reader = read(alive, sse(*text("A")), alive, sse(STOP), alive, DONE)
    assert (reader.failure, reader.arrivals, reader.flags) == (None, [200], ())


def test_several_data_lines_make_one_event():
    lines = json.dumps(chunk({"content": "A"}), indent=1).split("\n")
    raw = "".join(f"data: {line}\n" for line in lines) + "\n"
    assert read(raw.encode(), DONE).answer.text == "A"


def test_surrogate_pair_that_came_apart_is_put_together():
    halves = [b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % half for half in (rb"\ud83c", rb"\udf89")]
    assert read(*halves, DONE).answer.text == "🎉"
    assert read(halves[0], DONE).answer.text == "\ufffd"


def test_not_a_number_and_broken_utf8_do_not_spoil_an_event():
    raw = b'data: {"choices":[{"delta":{"content":"A\xff"},"logprobs":NaN}],"x":-Infinity}\n\n'
    assert read(raw, DONE).answer.text == "A\ufffd"


# -- whole answers


def test_whole_answer():
    usage = {"prompt_tokens": 27, "completion_tokens": 8}
    reader = read(whole({"content": "Paris."}, usage=usage), content_type="application/json", stream=False)
    assert (reader.failure, reader.answer) == (None, Answer("Paris.", finish_reason="stop"))
    assert (reader.usage, reader.streamed, reader.arrivals, reader.flags) == (Usage(27, 8), False, [], ())


def test_whole_answer_with_tool_calls_and_no_content_is_good():
    calls = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    body = whole({"content": None, "tool_calls": calls}, "tool_calls")
    reader = read(body, content_type="application/json", stream=False)
    assert (reader.failure, reader.answer.tool_calls) == (None, (ToolCall("f", "{}", "a"),))


def test_whole_answer_with_a_legacy_function_call_or_a_refusal_is_good():
    call = read(whole({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, "function_call"))
    assert (call.failure, call.answer.tool_calls) == (None, (ToolCall("f", "{}"),))
    refusal = read(whole({"content": None, "refusal": "No."}))
    assert (refusal.failure, refusal.answer.refusal) == (None, "No.")


def test_json_answer_to_a_stream_request_is_good_and_flagged():
    for content_type in ("application/json", "text/event-stream", None):
        reader = read(whole({"content": "A"}), content_type=content_type)
        assert (reader.failure, reader.answer.text, reader.streamed) == (None, "A", False)
        assert (reader.arrivals, reader.flags) == ([], ("json_for_stream",))


def test_stream_answering_a_request_without_stream_is_read_as_stream():
    for content_type in ("text/event-stream", "application/json", "text/plain", None):
        reader = read(*each(*text("A", "B"), STOP, DONE), content_type=content_type, stream=False)
        assert (reader.failure, reader.answer.text, reader.streamed) == (None, "AB", True)
        assert (reader.arrivals, reader.flags) == ([100, 200], ())


@pytest.mark.parametrize(
    ("message", "finish"),
    [
        ({"content": ""}, None),
        ({"content": None}, None),
        ({}, None),
        ({"content": None, "tool_calls": []}, "tool_calls"),
    ],
)
def test_whole_answer_without_content_or_finish_reason_is_empty(message, finish):
    reader = read(whole(message, finish), content_type="application/json", stream=False)
    assert (reader.failure.kind, reader.failure.code) == ("empty", None)


NONE_COUNTED = {"prompt_tokens": 7, "completion_tokens": 0}
ONE_COUNTED = {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}


@pytest.mark.parametrize("usage", [None, NONE_COUNTED, ONE_COUNTED])
@pytest.mark.parametrize("message", [{"content": ""}, {"content": None}, {}, {"content": "", "tool_calls": []}])
@pytest.mark.parametrize("finish", ["stop", "STOP", "eos_token", "end_turn"])
def test_empty_whole_answer_that_the_model_ended_itself_is_an_answer(message, finish, usage):
    reader = read(whole(message, finish, usage=usage), content_type="application/json", stream=False)
    assert (reader.failure, reader.answer, reader.flags) == (None, Answer(finish_reason=finish), ())


@pytest.mark.parametrize("before", [(), (chunk({"role": "assistant", "content": ""}),), (chunk({"content": None}),)])
@pytest.mark.parametrize("count", [NONE_COUNTED, ONE_COUNTED])
@pytest.mark.parametrize("complete", [True, False])
def test_empty_stream_that_the_model_ended_itself_is_an_answer(before, count, complete):
    told_last = (STOP, {"choices": [], "usage": count}, DONE)
    told_at_once = (chunk(finish="stop", usage=count), DONE)
    for events in (told_last, told_at_once):
        reader = read(*each(*before, *events), complete=complete)
        assert (reader.failure, reader.answer, reader.arrivals) == (None, Answer(finish_reason="stop"), [])


@pytest.mark.parametrize(
    "events",
    [
        (STOP, DONE),  # a proxy says so of a stream that broke off
        ({"choices": [], "usage": ONE_COUNTED}, DONE),
        (chunk(finish="tool_calls", usage=ONE_COUNTED), DONE),
        (chunk(finish="stop", usage={"prompt_tokens": 7, "completion_tokens": None}), DONE),
    ],
)
def test_empty_stream_of_which_nobody_knows_that_the_model_ended_it_is_a_failure(events):
    assert read(*each(*events)).failure.kind == "empty"


@pytest.mark.parametrize("choices", [[], None])
def test_whole_answer_without_choices_is_empty(choices):
    reader = read(json.dumps({"choices": choices}).encode(), content_type="application/json")
    assert (reader.failure.kind, reader.answer) == ("empty", None)


def test_answer_that_spent_its_tokens_on_hidden_thoughts_is_empty_with_the_way_out():
    for reader in (read(whole({"content": ""}, "length")), read(sse(chunk(finish="length"), DONE))):
        assert (reader.failure.kind, reader.failure.code) == ("empty", "length")
        assert reader.failure.message == (
            "The endpoint reached its token limit before sending any text (HTTP 200). "
            "Raise max_tokens or shorten the conversation."
        )
        assert reader.answer == Answer(finish_reason="length")


def test_answer_that_spent_its_tokens_on_shown_thoughts_is_an_answer():
    reader = read(whole({"content": "", "reasoning_content": "Hm"}, "length"))
    assert (reader.failure, reader.answer) == (None, Answer(reasoning="Hm", finish_reason="length"))


def test_answer_held_back_by_a_filter_is_empty_with_its_reason():
    reader = read(whole({"content": None}, "content_filter"))
    assert (reader.failure.kind, reader.failure.code) == ("empty", "content_filter")


def test_whole_answer_that_was_cut_is_truncated():
    body = whole({"content": "A"})
    reader = read(body[:-9], content_type="application/json", stream=False, complete=False)
    assert reader.failure.kind == "truncated"
    assert f"in the middle of its answer, {len(body) - 9} bytes into it" in reader.failure.message
    assert "None of it can be read" in reader.failure.message
    assert reader.answer is None


def test_broken_json_in_a_whole_answer_is_protocol():
    reader = read(b'{"choices": [oops', content_type="application/json", stream=False)
    assert reader.failure.kind == "protocol"
    assert reader.failure.message == (
        'The endpoint sent broken JSON (HTTP 200): "{"choices": [oops". '
        "Check that the base URL leads to a chat-completion endpoint."
    )


def test_json_that_is_no_chat_completion_is_protocol():
    reader = read(b'{"status":"ok"}', content_type="application/json", stream=False)
    assert reader.failure.kind == "protocol"
    assert reader.failure.message.startswith(
        'The endpoint sent an answer without choices (HTTP 200): "{"status":"ok"}". '
    )


def test_error_object_in_a_whole_answer_under_200_is_a_failure():
    body = {"status": "error", "error": {"code": "PROVIDER_ERROR", "message": "Provider's service is unavailable"}}
    reader = read(json.dumps(body).encode(), content_type="application/json", stream=False)
    assert (reader.failure.kind, reader.failure.code) == ("server", "PROVIDER_ERROR")


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/json", "text/event-stream"])
def test_html_under_200_is_protocol_and_quoted(content_type):
    page = b"<html><head><title>Welcome to nginx!</title></head></html>"
    reader = read(page[:7], page[7:], content_type=content_type)
    assert (reader.failure.kind, reader.answer) == ("protocol", None)
    assert reader.failure.message == (
        f"The endpoint answered with a body of type {content_type.split(';')[0]} that is neither JSON nor server-sent "
        'events (HTTP 200): "Welcome to nginx!". Check the base URL, and that no proxy or login page is in between.'
    )


def test_other_text_and_compressed_bodies_under_200_are_protocol():
    plain = read(b"Hello there", content_type="text/plain").failure
    assert 'of type text/plain that is neither JSON nor server-sent events (HTTP 200): "Hello there"' in plain.message
    nameless = read(b"da", content_type=None).failure
    assert nameless.message.startswith("The endpoint answered with a body without content type that is neither JSON")
    compressed = read(b"\x1b\x00", content_type="application/json", headers={"content-encoding": "br"}).failure
    assert compressed.message.startswith("The endpoint answered with a body compressed as br that is neither JSON")


def test_blanks_before_an_answer_keep_the_connection_alive():
    for lead in (b" " * 100, b"\r\n" * 3):
        assert read(lead, lead + whole({"content": "A"}), content_type="application/json").answer.text == "A"


def test_empty_body_is_empty_or_connection():
    for reads in ((), (b"",), (b" \n",)):
        assert read(*reads, content_type="application/json", stream=False).failure.kind == "empty"
        assert read(*reads, content_type=None, stream=False, complete=False).failure.kind == "connection"


def test_error_status_is_a_failure_whatever_the_body():
    for body in (whole({"content": "A"}), sse(*text("A"), DONE), b""):
        reader = read(body, status=503, headers={"retry-after": "2"})
        assert (reader.failure.kind, reader.failure.retry_after_s) == ("server", 2.0)
        assert (reader.answer, reader.streamed, reader.arrivals, reader.flags) == (None, False, [], ())


# -- bounds


def test_endless_line_ends_in_a_failure_and_its_memory_is_given_back():
    reader = AnswerReader(200, "text/event-stream", stream_requested=True)
    reader.feed(b"data: {", 1)
    block = b"x" * 2**20
    fed = 0
    while reader.failure is None and fed < 2 * answer_reader.ANSWER_LIMIT:
        reader.feed(block, 2)
        fed += len(block)
    assert fed == answer_reader.ANSWER_LIMIT
    assert reader.failure.kind == "protocol"
    assert reader.failure.message == "The endpoint sent more than 64 MiB for one answer (HTTP 200). Set max_tokens."
    assert reader._decoder.held == 0


@pytest.mark.parametrize(
    "body",
    [
        sse(*text("x" * 300) * 9),
        sse(*[chunk({"content": "x" * 300, "reasoning": "y"})] * 9),
        sse(*[tools(piece(number, "a" * 300, "f")) for number in range(9)]),
        whole({"content": "x" * 3000}),
        whole({"content": "x"}, padding="x" * 3000),
    ],
)
def test_answer_that_is_too_big_is_a_failure(body, monkeypatch):
    monkeypatch.setattr(answer_reader, "ANSWER_LIMIT", 2048)
    assert read(body, complete=False).failure.message.startswith("The endpoint sent more than")


def test_of_an_answer_that_is_too_big_only_the_beginning_is_kept():
    reader = AnswerReader(200, "text/event-stream", stream_requested=True)
    reader.feed(sse(*text("begin "), tools(piece(0, '{"a": 1}', "f"))), 1)
    block = sse(*text("x" * 2**20))
    while reader.failure is None:
        reader.feed(block, 2)
    reader.finish(complete=False)
    assert reader.failure.message.startswith("The endpoint sent more than 64 MiB")
    assert len(reader.answer.text) == 2**20
    assert reader.answer.text.startswith("begin xxx")
    assert reader.answer.tool_calls == ()


def test_body_that_is_no_answer_is_kept_only_in_part():
    for status in (200, 500):
        reader = AnswerReader(status, "text/html", stream_requested=False)
        for at in range(40):
            reader.feed(b"<p>" + b"x" * 2**18, at)
        assert len(reader._body) <= 2**20


def test_keep_alive_without_end_is_not_held():
    reader = AnswerReader(200, "text/event-stream", stream_requested=True)
    for at in range(1000):
        reader.feed(b"\n\n: ping\n\n" * 100, at)
    assert (reader._decoder.held, len(reader._body), reader.failure) == (0, 0, None)


# -- any stream, any cut


@unhurried
@given(streams(), CUTS)
def test_any_cut_of_any_dialect_gives_what_was_sent(stream, places):
    data, answer, usage, tokens = stream
    reader = read(*cut(data, places))
    if tokens or usage:
        assert reader.failure is None
    else:
        assert reader.failure.kind == "empty"
    assert (reader.answer, reader.usage, sum(reader.arrival_events)) == (answer, usage, tokens)
    assert outcome(reader) == outcome(read(data))
    assert reader.arrivals == sorted(set(reader.arrivals))


@unhurried
@given(streams(), CUTS, st.integers(0, 10_000), st.booleans())
def test_any_cut_of_a_stream_that_breaks_off_gives_the_same(stream, places, end, complete):
    data = stream[0][: end % (len(stream[0]) + 1)]
    whole_at_once = outcome(read(data, complete=complete))
    assert outcome(read(*cut(data, places), complete=complete)) == whole_at_once


@unhurried
@given(streams())
def test_stream_read_byte_by_byte_gives_the_same(stream):
    data = stream[0]
    assert outcome(read(*(data[at : at + 1] for at in range(len(data))))) == outcome(read(data))


@unhurried
@given(
    st.lists(FRAGMENTS | st.binary(max_size=5), max_size=12).map(b"".join),
    CUTS, CONTENT_TYPES, st.sampled_from([200, 204, 400, 500]), st.booleans(), st.booleans(),
)  # fmt: skip
def test_any_bytes_give_the_same_outcome_by_any_cut_and_never_raise(
    data, places, content_type, status, stream, complete
):
    how = {"content_type": content_type, "status": status, "stream": stream, "complete": complete}
    reader = read(*cut(data, places), **how)
    assert outcome(reader) == outcome(read(data, **how))
    assert reader.failure is None or (reader.failure.kind in ERROR_KINDS and reader.failure.message.isprintable())


@unhurried
@given(st.lists(EVENTS, max_size=3), JSON, JSON)
def test_any_json_as_any_part_of_an_answer_never_raises(events, delta, finish):
    events.append({"choices": [{"delta": delta, "message": delta, "finish_reason": finish}]})
    for reader in (read(sse(*events, DONE)), read(json.dumps(events[-1]).encode())):
        answer, failure = reader.answer, reader.failure
        assert failure is None or failure.kind in ERROR_KINDS
        if answer:
            parts = [answer.text, answer.reasoning, answer.refusal or "", answer.finish_reason or ""]
            parts += [part or "" for call in answer.tool_calls for part in (call.name, call.arguments, call.id)]
            assert all(isinstance(part, str) and part.encode() is not None for part in parts)


@pytest.mark.parametrize("nested", ["[" * 100_000, '{"choices":' * 500 + "1" + "}" * 500])
def test_deep_nesting_is_protocol(nested):
    assert read(f"data: {nested}\n\n".encode()).failure.kind == "protocol"
    assert read(nested.encode(), content_type="application/json").failure.kind == "protocol"


@pytest.mark.parametrize("name", ["detail", "error", "errors", "base_resp"])
def test_an_event_that_is_nested_deeply_is_a_failure_and_no_error_of_python(name):
    deep = b'{"choices": [], "%b": ' % name.encode() + b'{"detail": ' * 1_000 + b"1" + b"}" * 1_001
    reader = read(b"data: " + deep + b"\n\ndata: [DONE]\n\n")
    assert reader.failure is not None
