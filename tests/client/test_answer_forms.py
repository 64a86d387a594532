"""Answers of every form, over real sockets: reasoning, token counts, and what stands in place of a delta."""

import asyncio
import json
import time

import pytest
from loops import LOOPS, on
from raw_server import DONE, LAST_CHUNK, STREAM_HEAD, answer, ask, chunk, writes

from evalkit.record import OUTPUT_CORRECTED, Usage

PAUSE_S = 0.08


@pytest.fixture
def run():
    return on(LOOPS["uvloop"])


def data(value, end="\n\n"):
    return f"data: {json.dumps(value, ensure_ascii=False)}{end}".encode()


def delta(**fields):
    return data({"choices": [{"index": 0, "delta": fields, "finish_reason": None}]})


def stop(reason="stop", choice=(), **more):
    return data({"choices": [{"index": 0, "delta": {}, "finish_reason": reason, **dict(choice)}], **more})


def text_part(text):
    return {"type": "text", "text": text}


def streamed(run, *events, content_type="text/event-stream", pause=0.0):
    head = STREAM_HEAD.replace(b"text/event-stream", content_type.encode())
    pieces = [chunk(event) for event in events]
    handler = writes(head + pieces[0], *pieces[1:], LAST_CHUNK, pause=pause)
    ((attempt,), _) = ask(run, handler)
    return attempt


def whole(run, message, stream=False, **more):
    body = json.dumps({"choices": [{"index": 0, "finish_reason": "stop", "message": message}], **more}).encode()
    ((attempt,), _) = ask(run, writes(answer("200 OK", body)), stream=stream)
    return attempt


# -- reasoning: two thoughts, then the answer, each in its own read

AS_FIELD = {
    "reasoning_content": lambda thought: {"reasoning_content": thought},
    "reasoning": lambda thought: {"reasoning": thought},
    "reasoning_text": lambda thought: {"reasoning_text": thought},
    "thinking": lambda thought: {"thinking": thought, "content": ""},
    "thinking, an object": lambda thought: {"thinking": {"type": "enabled", "content": thought}},
    "reasoning, an object": lambda thought: {"reasoning": {"summary": [{"type": "summary_text", "text": thought}]}},
    "reasoning_details": lambda thought: {"reasoning_details": [{"type": "reasoning.text", "text": thought}]},
    "a summary": lambda thought: {"reasoning_details": [{"type": "reasoning.summary", "summary": thought}]},
    "thinking_blocks": lambda thought: {"thinking_blocks": [{"type": "thinking", "thinking": thought}]},
    "two fields": lambda thought: {
        "reasoning": thought,
        "reasoning_details": [{"type": "reasoning.text", "text": thought, "signature": None}],
    },
    "a part": lambda thought: {"content": [{"type": "thinking", "thinking": [text_part(thought)]}]},
    "a part with text": lambda thought: {"content": [{"type": "reasoning", "text": thought}]},
    "an object as content": lambda thought: {"content": {"type": "reasoning_text", "text": thought}},
    "Gemini's mark": lambda thought: {"content": thought, "extra_content": {"google": {"thought": True}}},
}
IN_TEXT = {
    "think": ("<think>\nis it 34?", " no\n</think>\n\n", "35"),
    "only the end": ("is it 34?", " no\n</think>\n\n", "35"),
    "two blocks": ("<think>is it 34?</think>\n", "<think>no</think>\n", "35"),
    "THINK": ("[THINK]is it 34?", " no[/THINK]", "35"),
    "seed": ("<seed:think>is it 34?", " no</seed:think>", "35"),
    "kimi": ("◁think▷is it 34?", " no◁/think▷", "35"),
    "channels": (
        "<|channel|>analysis<|message|>is it 34?",
        " no<|end|><|start|>assistant<|channel|>final<|message|>",
        "35",
    ),
    "bare channels": ("analysisIs it 34?", " no.assistantfinal", "35"),
}
STREAMS = {
    **{name: (make("is it 34?"), make(" no"), {"content": "35"}) for name, make in AS_FIELD.items()},
    **{name: tuple({"content": piece} for piece in pieces) for name, pieces in IN_TEXT.items()},
}


@pytest.mark.parametrize("form", STREAMS)
def test_first_token_is_the_first_thought_and_first_visible_the_answer(run, form):
    times = []

    async def handler(request, writer):
        writer.write(STREAM_HEAD + chunk(delta(role="assistant", content="")))
        for fields in STREAMS[form]:
            await asyncio.sleep(PAUSE_S)
            times.append(time.perf_counter_ns())
            writer.write(chunk(delta(**fields)))
        writer.write(chunk(stop() + DONE) + LAST_CHUNK)

    ((attempt,), _) = ask(run, handler)
    assert attempt.failure is None
    first, _, visible = times
    for stamp, truth in ((attempt.timing.arrivals[0], first), (attempt.timing.first_visible, visible)):
        assert 0 <= stamp - truth < PAUSE_S * 1e9 / 2
    assert sum(attempt.timing.arrival_events) == 3


@pytest.mark.parametrize("form", AS_FIELD)
def test_reasoning_is_kept_once_and_is_not_the_answer(run, form):
    attempt = streamed(run, delta(**AS_FIELD[form]("is it 34?")), delta(content="35"), stop() + DONE)
    assert (attempt.answer.text, attempt.answer.reasoning) == ("35", "is it 34?")
    message = AS_FIELD[form]("is it 34?")
    if form == "Gemini's mark":
        return
    if isinstance(message.get("content"), list):
        message["content"].append({"type": "output_text", "text": "35"})
    elif not message.get("content"):
        message["content"] = "35"
    else:
        message["content"] = [message["content"], text_part("35")]
    found = whole(run, {"role": "assistant", **message}).answer
    assert (found.text, found.reasoning) == ("35", "is it 34?")


MIXED = [
    {"role": "assistant", "content": None, "reasoning_content": "a"},
    {"content": "", "reasoning_content": "a"},
    {"reasoning_content": "b", "content": "x"},
    {"reasoning_content": "c", "reasoning": None, "tool_calls": []},
    {"reasoning_content": "d", "reasoning": "e"},
    {"reasoning": "f", "reasoning_content": "f"},
    {"reasoning": {"text": "g"}, "content": None},
    {"reasoning": "h", "content": None},
    {"reasoning_text": "i", "reasoning_signature": "s"},
    {"reasoning_text": "j", "refusal": None},
    {"content": "k", "reasoning": "k"},
    {"content": "y", "reasoning": "", "refusal": None, "function_call": None},
    {"content": "z", "thinking": False},
    {"content": "n", "name": "m"},
]


def test_reasoning_under_one_name_then_another_keeps_its_order_and_goes_back(run):
    call = {"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}
    events = [delta(**fields) for fields in MIXED]
    found = streamed(run, *events, delta(tool_calls=[call]), stop("tool_calls") + DONE).answer
    assert (found.text, found.reasoning) == ("xkyzn", "aabcdefghijk")
    assert found.extra == {
        "reasoning_content": "aabcdf",
        "reasoning": "hk",  # a text takes the place of an object
        "reasoning_text": "ij",
        "reasoning_signature": "s",
        "thinking": False,
    }


def test_an_answer_cut_off_while_it_thinks_is_an_answer(run):
    for make in AS_FIELD.values():
        attempt = streamed(run, delta(**make("is it 34?")), stop("length") + DONE)
        assert (attempt.failure, attempt.answer.text, attempt.answer.reasoning) == (None, "", "is it 34?")
        assert attempt.ttfv_ns is None


def test_a_call_after_a_thought_in_the_text_is_visible(run):
    call = {"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}
    events = (delta(content="<think>call f</think>"), delta(tool_calls=[call]), stop("tool_calls") + DONE)
    attempt = streamed(run, *events, pause=0.02)
    assert attempt.timing.first_visible == attempt.timing.arrivals[1]


def test_text_in_a_nested_list_of_parts_is_the_answer(run):
    content = [{"type": "message", "content": [{"type": "output_text", "text": "3"}, text_part("5")]}]
    assert whole(run, {"content": content}).answer.text == "35"


# -- token counts

WITHOUT_REASONING = {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135}
COUNTED = {
    "in the choice": ({"choice": {"usage": {"prompt_tokens": 19, "completion_tokens": 13}}}, Usage(19, 13)),
    "x_groq": ({"x_groq": {"id": "r", "usage": {"prompt_tokens": 19, "completion_tokens": 13}}}, Usage(19, 13)),
    "input and output": ({"usage": {"input_tokens": 19, "output_tokens": 13}}, Usage(19, 13)),
    "camel case": ({"usage": {"promptTokens": 19, "completionTokens": 13, "totalTokens": 32}}, Usage(19, 13)),
    "text and floats": ({"usage": {"prompt_tokens": "19", "completion_tokens": 13.0}}, Usage(19, 13)),
    "usageMetadata": (
        {"usageMetadata": {
            "promptTokenCount": 19, "candidatesTokenCount": 3, "thoughtsTokenCount": 10, "totalTokenCount": 32,
        }},
        Usage(19, 13, 10),
    ),
    "timings": ({"timings": {"prompt_n": 9, "cache_n": 10, "predicted_n": 13}}, Usage(19, 13, None, 10)),
    "loose": ({"prompt_eval_count": 19, "eval_count": 13}, Usage(19, 13)),
    "DeepSeek's cache": (
        {"usage": {"prompt_tokens": 19, "completion_tokens": 13, "prompt_cache_hit_tokens": 8}}, Usage(19, 13, None, 8),
    ),
    "OpenAI's cache": (
        {"usage": {"prompt_tokens": 19, "completion_tokens": 13, "prompt_tokens_details": {"cached_tokens": 8}}},
        Usage(19, 13, None, 8),
    ),
    "Anthropic's cache": (
        {"usage": {
            "input_tokens": 9, "output_tokens": 13, "cache_read_input_tokens": 8, "cache_creation_input_tokens": 2,
        }},
        Usage(19, 13, None, 8, 2),
    ),
    "a gateway's cache": (
        {"usage": {
            "prompt_tokens": 19, "completion_tokens": 13, "total_tokens": 32, "cache_creation_input_tokens": 2,
            "cache_read_input_tokens": 8, "prompt_tokens_details": {"cached_tokens": 8},
        }},
        Usage(19, 13, None, 8, 2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", COUNTED)
def test_token_counts_wherever_they_are(run, form):
    fields, usage = COUNTED[form]
    attempt = streamed(run, delta(content="35"), stop(**fields) + DONE)
    assert (attempt.failure, attempt.usage, OUTPUT_CORRECTED in attempt.flags) == (None, usage, False)
    if "choice" not in fields:
        assert whole(run, {"content": "35"}, **fields).usage == usage


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({**WITHOUT_REASONING, "completion_tokens_details": {"reasoning_tokens": 94}}, Usage(32, 103, 94)),
        ({"prompt_tokens": 21, "completion_tokens": 0, "total_tokens": 81, "reasoning_tokens": 60}, Usage(21, 60, 60)),
        ({"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 94}}, Usage(None, 103, 94)),
        (WITHOUT_REASONING, Usage(32, 103, 94)),
        ({"input_tokens": 32, "output_tokens": 9, "total_tokens": 135,
          "output_tokens_details": {"reasoning_tokens": 94}}, Usage(32, 103, 94)),
    ],
)  # fmt: skip
def test_output_that_leaves_reasoning_out_is_corrected_and_flagged(run, counts, usage):
    attempt = streamed(run, delta(content="35"), stop() + data({"choices": [], "usage": counts}) + DONE)
    assert (attempt.usage, OUTPUT_CORRECTED in attempt.flags) == (usage, True)


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        # tokens of tools are part of the prompt
        ({"promptTokenCount": 10, "candidatesTokenCount": 20, "toolUsePromptTokenCount": 50, "totalTokenCount": 80},
         Usage(60, 20)),
        ({"prompt_token_count": 10, "candidates_token_count": 20, "thoughts_token_count": 7,
          "tool_use_prompt_token_count": 50, "total_token_count": 87}, Usage(60, 27, 7)),
        ({"promptTokenCount": 60, "candidatesTokenCount": 20, "toolUsePromptTokenCount": 50, "totalTokenCount": 80},
         Usage(60, 20)),
        # others have a name
        ({"prompt_tokens": 33, "completion_tokens": 10, "total_tokens": 143, "image_tokens": 100}, Usage(33, 10)),
        ({"prompt_tokens": 33, "completion_tokens": 10, "total_tokens": 63, "search_tokens": 12, "audioTokens": 8},
         Usage(33, 10)),
        ({"prompt_tokens": 33, "completion_tokens": 10, "total_tokens": 143,
          "prompt_tokens_details": {"image_tokens": 100, "text_tokens": 33}}, Usage(33, 10)),
        # the total agrees
        ({"prompt_tokens": 33, "completion_tokens": 7163, "total_tokens": 7196, "reasoning_tokens": 95305,
          "citation_tokens": 20016}, Usage(33, 7163, 95305)),
        ({"input_tokens": 33, "output_tokens": 9, "total_tokens": 42,
          "output_tokens_details": {"reasoning_tokens": 64}},
         Usage(33, 9, 64)),
    ],
)  # fmt: skip
def test_output_is_not_corrected_by_what_the_total_holds_besides(run, counts, usage):
    attempt = streamed(run, delta(content="35"), stop() + data({"choices": [], "usage": counts}) + DONE)
    assert (attempt.usage, OUTPUT_CORRECTED in attempt.flags) == (usage, False)


ZEROS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
BESIDE = {
    "x_groq": {"x_groq": {"usage": {"prompt_tokens": 19, "completion_tokens": 13}}},
    "timings": {"timings": {"prompt_n": 19, "predicted_n": 13}},
    "usageMetadata": {"usageMetadata": {"promptTokenCount": 19, "candidatesTokenCount": 13, "totalTokenCount": 32}},
    "loose": {"prompt_eval_count": 19, "eval_count": 13},
}


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("nothing", [{}, ZEROS, {"prompt_tokens": None, "completion_tokens": None}])
def test_usage_that_says_nothing_does_not_hide_counts_beside_it(run, nothing, beside):
    fields = {"usage": nothing, **BESIDE[beside]}
    attempts = streamed(run, delta(content="35"), stop(**fields) + DONE), whole(run, {"content": "35"}, **fields)
    assert [(attempt.failure, attempt.usage[:2]) for attempt in attempts] == [(None, (19, 13))] * 2


def test_counts_beside_zeros_may_grow(run):
    grown = [
        data({"choices": [{"delta": {"content": piece}}], "usage": ZEROS,
              "usageMetadata": {"promptTokenCount": 19, "candidatesTokenCount": count}})
        for piece, count in (("3", 1), ("5", 2))
    ]  # fmt: skip
    assert streamed(run, *grown, stop() + DONE).usage == Usage(19, 2)


def test_zeros_at_the_end_do_not_replace_real_counts(run):
    real, zeros = ({"prompt_tokens": p, "completion_tokens": c, "total_tokens": p + c} for p, c in ((19, 13), (0, 0)))
    attempt = streamed(run, delta(content="35"), stop(usage=real), data({"choices": [], "usage": zeros}) + DONE)
    assert attempt.usage == Usage(19, 13)
    assert streamed(run, delta(content="35"), stop(usage=zeros) + DONE).usage is None


# -- in place of a delta


def message(text, reason=None, **fields):
    return {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text, **fields}, "finish_reason": reason}]
    }


IN_PLACE = {
    "one whole message": [data(message("The sum is 35.", "stop"))],
    "pieces in messages": [data(message(piece)) for piece in ("The ", "sum ", "is 35.")] + [data(message("", "stop"))],
    "growing messages": [data(message("The sum is 35."[:n])) for n in (4, 8, 14)] + [data(message(None, "stop"))],
    "the message again": [delta(content="The sum "), delta(content="is 35."), data(message("The sum is 35.", "stop"))],
    "pieces, then all": [
        *(data(message(piece)) for piece in ("The ", "sum is 35.")), data(message("The sum is 35.", "stop")),
    ],
    "text": [data({"choices": [{"text": piece}]}) for piece in ("The sum ", "is 35.")] + [stop()],
    "delta beside a growing message": [
        data({"choices": [{"delta": {"content": piece}, "message": {"content": so_far}}]})
        for piece, so_far in (("The sum ", "The sum "), ("is 35.", "The sum is 35."), ("", "The sum is 35."))
    ] + [stop()],
}  # fmt: skip


@pytest.mark.parametrize("form", IN_PLACE)
def test_what_stands_in_place_of_a_delta_is_read_once(run, form):
    attempt = streamed(run, *IN_PLACE[form], DONE)
    assert (attempt.failure, attempt.answer.text, attempt.streamed) == (None, "The sum is 35.", True)
    assert attempt.answer.finish_reason == "stop"


def test_a_whole_message_in_one_event_has_its_reasoning_and_calls(run):
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    event = data(message(None, "tool_calls", reasoning_content="Call f.", tool_calls=[call]))
    attempt = streamed(run, event, DONE)
    assert (attempt.answer.reasoning, [each.name for each in attempt.answer.tool_calls]) == ("Call f.", ["f"])


def line(value):
    return json.dumps(value).encode() + b"\n"


LINES = {
    "deltas": [line({"choices": [{"delta": {"content": piece}, "finish_reason": end}]})
               for piece, end in (("3", None), ("5", None), ("", "stop"))],
    "Ollama's": [line({"message": {"role": "assistant", "content": piece}, "done": False}) for piece in "35"]
                + [line({"message": {"content": ""}, "done": True, "done_reason": "stop", "eval_count": 2})],
    "a JSON text sequence": [b"\x1e" + line({"choices": [{"delta": {"content": piece}, "finish_reason": end}]})
                             for piece, end in (("3", None), ("5", "stop"))],
    "messages": [line(message("3")), line(message("5")), line(message(None, "stop"))],
}  # fmt: skip


@pytest.mark.parametrize("form", LINES)
def test_json_line_by_line_is_a_stream(run, form):
    content_type = {"a JSON text sequence": "application/json-seq", "messages": "application/x-ndjson"}.get(form)
    attempt = streamed(run, *LINES[form], content_type=content_type or "application/json", pause=0.03)
    assert (attempt.failure, attempt.answer.text, attempt.streamed, attempt.flags) == (None, "35", True, ())
    assert len(attempt.timing.arrivals) == 2
    assert attempt.answer.finish_reason == "stop"


def test_ollamas_whole_answer_is_one(run):
    body = {"message": {"role": "assistant", "content": "35", "thinking": "Hm."}, "done": True, "prompt_eval_count": 9}
    ((attempt,), _) = ask(run, writes(answer("200 OK", json.dumps(body).encode())), stream=False)
    assert (attempt.answer.text, attempt.answer.reasoning, attempt.usage) == ("35", "Hm.", Usage(9))


def test_a_whole_answer_with_a_line_end_is_no_stream(run):
    body = json.dumps(message("35", "stop")).encode() + b"\n"
    ((attempt,), _) = ask(run, writes(answer("200 OK", body)))
    assert (attempt.answer.text, attempt.streamed, attempt.flags) == ("35", False, ("json_for_stream",))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_events_separated_by_single_line_ends_arrive_one_by_one(run, end):
    deltas = [
        {"choices": [{"delta": {"content": piece}, "finish_reason": None}]} for piece in ("The ", "sum ", "is 35.")
    ]
    events = [data(each, end) for each in (*deltas, {"choices": [{"delta": {}, "finish_reason": "stop"}]})]
    attempt = streamed(run, *events, f"data: [DONE]{end}".encode(), pause=0.03)
    assert (attempt.failure, attempt.answer.text, attempt.flags) == (None, "The sum is 35.", ())
    assert len(attempt.timing.arrivals) == 3
