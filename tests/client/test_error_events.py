"""Errors that a good HTTP answer reports, in any form: over real sockets, alone, after text, and as a whole answer."""

import json

import loops
import pytest
from raw_server import DONE, LAST_CHUNK, STREAM_HEAD, answer, ask, chunk, completion, event, writes

from evalkit.client.error_events import reported_error

pytest_generate_tests = loops.pytest_generate_tests

WHY = "the cause in words"
# the form, and the error kind it has
FORMS = [
    ({"error": {"message": WHY, "code": 401}}, "auth"),
    ({"error": WHY}, "server"),
    ({"error": WHY, "error_type": "overloaded"}, "server"),
    ({"error": True, "message": WHY}, "server"),
    ({"error": 429, "message": WHY}, "rate_limited"),
    ({"error": "invalid_request", "error_description": WHY}, "bad_request"),
    ({"error": {"errorCode": "E1", "errorMessage": WHY}}, "server"),
    ({"error_type": "context_length_exceeded", "error_message": WHY}, "bad_request"),
    ({"detail": WHY}, "server"),
    ({"detail": [{"loc": ["body", "messages"], "msg": WHY, "type": "value_error"}]}, "server"),
    ({"detail": {"message": WHY, "code": 429}}, "rate_limited"),
    ({"detail": {"error": {"message": WHY}}}, "server"),
    ({"code": 20015, "msg": WHY, "data": None}, "server"),
    ({"code": "InvalidApiKey", "message": WHY, "request_id": "r"}, "auth"),
    ({"error_code": 18, "error_msg": WHY}, "server"),
    ({"statusCode": 429, "message": WHY}, "rate_limited"),
    ({"errors": [{"code": 5006, "message": WHY}], "success": False}, "server"),
    ({"errors": [WHY]}, "server"),
    ({"success": False, "message": WHY}, "server"),
    ({"status": "error", "msg": WHY}, "server"),
    ({"status": 503, "error": WHY, "path": "/v1"}, "server"),
    ({"object": "error", "message": WHY, "type": "BadRequestError", "code": 400}, "bad_request"),
    ({"object": "Error", "code": "PROVIDER_ERROR", "message": WHY}, "server"),
    ({"type": "error", "error": {"type": "rate_limit_error", "message": WHY}}, "rate_limited"),
    ({"type": "about:blank", "title": WHY, "status": 401}, "auth"),
    ({"type": "response.failed", "response": {"status": "failed", "error": {"message": WHY}}}, "server"),
    ({"event": "error", "status": 400, "code": "invalid_param", "message": WHY}, "bad_request"),
    ({"base_resp": {"status_code": 1002, "status_msg": f"rate limit: {WHY}"}}, "rate_limited"),
    ({"choices": None, "base_resp": {"status_code": 1013, "status_msg": WHY}}, "server"),
    ({"header": {"code": 10013, "message": WHY, "status": 2}}, "server"),
    ({"Response": {"Error": {"Code": "AuthFailure.Unauthorized", "Message": WHY}}}, "auth"),
    ({"fault": {"faultstring": WHY, "detail": {"errorcode": "QuotaViolation"}}}, "rate_limited"),
    ({"errorMessage": WHY, "errorType": "Sandbox.Timeout"}, "server"),
    ({"__type": "ThrottlingException", "message": WHY}, "rate_limited"),
    ({"Message": WHY}, "server"),
    ({"x_groq": {"id": "req", "error": WHY}}, "server"),
]  # fmt: skip
LINES = [
    f"error: {WHY}\n\n",
    f'error: {{"message": "{WHY}"}}\n\n',
    f'event: error\ndata: {{"message": "{WHY}"}}\n\n',
    f'event: error\nid: 7\ndata: {{"status": 500, "text": {{}}, "reason": "{WHY}"}}\n\n',
    f"event: error\ndata: {WHY}\n\n",
    f'{{"error": {{"message": "{WHY}"}}}}\n\n',
    f'{{\n  "detail": "{WHY}"\n}}\n\n',
    f"data: Error: {WHY}\n\n",
    f'data: "upstream error: {WHY}"\n\n',
    f'data: [{{"error": {{"code": 503, "message": "{WHY}"}}}}]\n\n',
    f"Internal Server Error: {WHY}\n\n",
    f"data: <html><head><title>{WHY}</title></head></html>\n\n",
]
NONE = [
    {"error": None}, {"error": {}}, {"error": ""}, {"error": False}, {"error": {"code": 0, "message": ""}},
    {"errors": []}, {"errors": None}, {"detail": ""}, {"code": 0}, {"code": 200, "msg": "ok"},
    {"code": "", "message": ""}, {"code": 0, "message": "Success", "sid": "s"}, {"success": True}, {"status": 200},
    {"status": "in_progress"},
    {"x_groq": {"id": "req", "error": None, "usage": {"queue_time": 0.1}}},
    {"base_resp": {"status_code": 0, "status_msg": "success"}}, {"type": "ping"}, {"object": "chat.completion.chunk"},
]  # fmt: skip

# success in numbers and words of a service's own
OWN_SUCCESS = [
    {"code": 10000, "message": "success"}, {"code": 1, "message": "Success."},
    {"code": 20000, "msg": "request success"},
    {"code": "A0000", "message": "OK"}, {"base_resp": {"status_code": 1000, "status_msg": "success"}},
    {"error": {"code": 0, "message": "no error"}}, {"errors": ["warning: cache miss"]},
    {"errors": [{"level": "warning", "message": "the model is deprecated"}]}, {"code": 1, "msg": "操作成功"},
    {"header": {"code": 7, "message": "Successfully processed"}}, {"error": "No errors"},
    {"code": 3, "message": "The request was completed successfully"},
]  # fmt: skip


def stream(*pieces, done=True):
    return writes(
        STREAM_HEAD, *[chunk(piece) for piece in pieces if piece], (chunk(DONE) if done else b"") + LAST_CHUNK
    )


def data(form):
    return b"data: " + json.dumps(form).encode() + b"\n\n"


@pytest.mark.parametrize(("form", "kind"), FORMS, ids=[json.dumps(form)[:60] for form, _ in FORMS])
def test_an_object(run, form, kind):
    alone = ask(run, stream(data(form)))[0]
    late = ask(run, stream(event("The "), event("answer "), data(form)))[0]
    whole = ask(run, writes(answer("200 OK", json.dumps(form).encode())), stream=False)[0]
    for attempt in (*alone, *late, *whole):
        assert (attempt.failure.kind, attempt.failure.http_status) == (kind, 200)
        assert WHY in attempt.failure.message
    assert [attempt.answer and attempt.answer.text for attempt in (*alone, *late)] == [None, "The answer "]


@pytest.mark.parametrize("line", LINES)
def test_a_line(run, line):
    for before in (b"", event("The ")):
        (attempt,), _ = ask(run, stream(before, line.encode()))
        assert attempt.failure.kind == "server"
        assert WHY in attempt.failure.message
        assert (attempt.answer and attempt.answer.text) == ("The " if before else None)


def test_a_line_at_the_end_of_the_stream(run):
    for line in (f"upstream connect error: {WHY}", f'{{"error": "{WHY}"}}', f"data: [ERROR] {WHY}\n"):
        (attempt,), _ = ask(run, stream(event("The "), line.encode(), done=False))
        assert WHY in attempt.failure.message
        assert attempt.answer.text == "The "


def test_an_error_behind_an_event_that_was_cut_off(run):
    """Gateways write their error where the stream broke off, without a blank line before it."""
    cut, error = b'data: {"choices": [{"delta": {"cont', json.dumps({"error": {"message": WHY}}).encode()
    for line in (b"\nevent: error\ndata: " + error, b"\ndata: " + error):
        (attempt,), _ = ask(run, stream(event("The "), cut + line + b"\n\n"))
        assert WHY in attempt.failure.message
        assert attempt.answer.text == "The "


def test_words_of_an_answer_in_broken_json_are_no_error(run):
    (attempt,), _ = ask(run, stream(event("The "), b'data: {"choices": [{"delta": {"content": "an error\n\n'))
    assert attempt.failure.kind == "protocol"


def test_a_named_event_without_data(run):
    (attempt,), _ = ask(run, stream(event("The "), b"event: error\n\n"))
    assert (attempt.failure.kind, attempt.answer.text) == ("server", "The ")


def test_a_whole_answer_with_text_beside_the_error(run):
    body = {**json.loads(completion("The ")), "base_resp": {"status_code": 1027, "status_msg": WHY}}
    (attempt,), _ = ask(run, writes(answer("200 OK", json.dumps(body).encode())), stream=False)
    assert WHY in attempt.failure.message
    assert attempt.answer.text == "The "


def test_a_code_beside_choices(run):
    last = data({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "code": 10007, "message": WHY})
    (attempt,), _ = ask(run, stream(event("The "), last))
    assert (attempt.failure.code, attempt.answer.text) == ("10007", "The ")
    assert WHY in attempt.failure.message


@pytest.mark.parametrize("form", [{"code": 4, "message": "answered by replica 2"}, {"code": "S1", "msg": "cache"}])
def test_an_unknown_code_beside_an_answer_is_no_error(run, form):
    first = event(delta={"role": "assistant", "content": ""}, **form)
    (attempt,), _ = ask(run, stream(first, event("35", **form), event(finish_reason="stop")))
    assert (attempt.failure, attempt.answer.text) == (None, "35")
    body = json.dumps({**json.loads(completion("35")), **form}).encode()
    (attempt,), _ = ask(run, writes(answer("200 OK", body)), stream=False)
    assert (attempt.failure, attempt.answer.text) == (None, "35")


@pytest.mark.parametrize(
    "form",
    [
        {"code": 503, "message": WHY}, {"code": "429", "msg": WHY}, {"error_code": 18, "error_msg": WHY},
        {"code": "InvalidApiKey", "message": WHY}, {"code": 7, "message": f"upstream failed: {WHY}"},
        {"success": False, "message": WHY}, {"error": f"未成功 {WHY}"}, {"error": "服务器繁忙", "message": WHY},
        {"base_resp": {"status_code": 7, "status_msg": f"unsuccessful: {WHY}"}},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_an_error_beside_an_answer(run, form):
    body = json.dumps({**json.loads(completion("35")), **form}).encode()
    whole, _ = ask(run, writes(answer("200 OK", body)), stream=False)
    streamed, _ = ask(run, stream(event("35"), event(finish_reason="stop", **form)))
    for attempt in (*whole, *streamed):
        assert WHY in attempt.failure.message
        assert attempt.answer.text == "35"


def test_an_error_in_divided_reads(run):
    raw = event("The ") + b"event: error\r\ndata: " + json.dumps({"message": WHY}).encode() + b"\r\n\r\n" + DONE
    pieces = [chunk(raw[at : at + 7]) for at in range(0, len(raw), 7)]
    (attempt,), _ = ask(run, writes(STREAM_HEAD, *pieces, LAST_CHUNK, pause=0.001))
    assert WHY in attempt.failure.message
    assert attempt.answer.text == "The "


@pytest.mark.parametrize("form", [*NONE, *OWN_SUCCESS], ids=json.dumps)
def test_no_error(run, form):
    """Fields that are empty or report success belong to good answers, beside a delta and in an event of their own."""
    usage = {"prompt_tokens": 7, "completion_tokens": 2}
    counts = data({"choices": [], "usage": usage, **form})
    beside = event("3", **form), event("5", **form), event(finish_reason="stop", **form), counts
    (attempt,), _ = ask(run, stream(*beside, data(form)))
    assert (attempt.failure, attempt.answer.text, attempt.usage.output_tokens) == (None, "35", 2)
    body = json.dumps({**json.loads(completion("35")), **form}).encode()
    (attempt,), _ = ask(run, writes(answer("200 OK", body)), stream=False)
    assert (attempt.failure, attempt.answer.text) == (None, "35")


def test_ordinary_fields_of_a_stream_are_no_error(run):
    lines = (
        b": comment about an error\n\n",
        b"id: 1\nretry: 10\nevent: message\n" + event("35"),
        b"event: ping\ndata: {}\n\n",
    )
    (attempt,), _ = ask(run, stream(*lines, event(finish_reason="stop")))
    assert (attempt.failure, attempt.answer.text) == (None, "35")


INFORMATION = [
    {"status": "complete", "message": "Answer complete"}, {"type": "warning", "message": "deprecated model"},
    {"type": "tool_progress", "message": "searching"}, {"type": "title", "message": "My chat"},
    {"object": "chat.completion.info", "details": {"latency": 3}}, {"status": "success", "msg": "request success"},
    {"choices": [], "usage": {"completion_tokens": 2}, "details": [{"modality": "text"}]},
    {"event": "citations", "details": [{"url": "https://example.com", "title": "Sums"}]},
    {"object": "chat.trace", "message": "served by replica 2"}, {"status": "thinking", "detail": "step 2 of 3"},
]  # fmt: skip
ONLY_AFTER_THE_END = [{"detail": "cached"}, {"message": "Goodbye"}, {"details": ["3 s", "5 s"]}]


@pytest.mark.parametrize("form", [*INFORMATION, *ONLY_AFTER_THE_END], ids=json.dumps)
def test_information_in_a_good_stream(run, form):
    pieces = [event("3"), event("5"), event(finish_reason="stop")]
    places = (0, 1, 3) if form in INFORMATION else (3,)
    for place in places:
        (attempt,), _ = ask(run, stream(*pieces[:place], data(form), *pieces[place:]))
        assert (attempt.failure, attempt.answer.text) == (None, "35")


@pytest.mark.parametrize(
    "form",
    [
        {"error": WHY}, {"type": "error", "message": WHY}, {"status": "failed", "detail": WHY},
        {"code": 503, "msg": WHY}, {"type": "stream_error", "message": WHY}, {"success": False, "message": WHY},
        {"code": 20015, "msg": WHY},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_an_error_after_the_finish_reason(run, form):
    (attempt,), _ = ask(run, stream(event("35"), event(finish_reason="stop"), data(form)))
    assert WHY in attempt.failure.message
    assert attempt.answer.text == "35"


@pytest.mark.parametrize("kind", ["rate_limit", "invalid_request", "overloaded", "https://example.com/no-credit"])
def test_a_type_that_is_about_a_failure(run, kind):
    (attempt,), _ = ask(run, stream(event("3"), data({"type": kind, "message": WHY})))
    assert WHY in attempt.failure.message


def test_events_of_other_services_report_none():
    for form in (
        {"type": "message_start", "message": {"role": "assistant", "content": []}},
        {"message": {"role": "assistant", "content": "3"}, "done": False},
        {
            "type": "response.completed",
            "response": {"status": "completed", "error": None, "reasoning": {"effort": None}},
        },
        {"type": "status", "message": "warming up"},
        {"status": "processing", "message": "third in the queue"},
        {"output": {"text": "3"}, "code": "", "message": "", "request_id": "r"},
    ):
        assert reported_error(form) is None, form


def test_words_that_only_resemble_a_success():
    for text in (
        "not successful", "no success", "cannot be completed", "success rate too low", "never completed",
        "Successfully reported: rate limit exceeded", "no errors but a timeout", "操作不成功", "限流",
    ):  # fmt: skip
        assert reported_error({"code": 7, "message": text})["message"] == text
        assert reported_error({"error": text}) is not None
