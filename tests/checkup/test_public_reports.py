"""What users of many endpoints have reported: each is found by a probe, and only by those that it concerns."""

import json
import time

import pytest
from behaving import WORDS, behaving, chunk, chunks, completion, error, events, reply, stream, usage
from parallel import in_parallel

from evalkit.checkup.endpoint_check import check_endpoint
from evalkit.endpoint import Endpoint

CALL = {"id": "call_7", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
SIGNED = {**CALL, "extra_content": {"google": {"thought_signature": "Ci=="}}}
REASONING = {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135,
             "completion_tokens_details": {"reasoning_tokens": 94}}  # fmt: skip
LOST = {"error_type": "context_length_exceeded", "error_message": "maximum context length is 4096 tokens"}


def whole(message=None, finish="stop", **more):
    return lambda request: None if request.get("stream") else reply(completion(message, finish, **more))


def streamed(*deltas, **how):
    return lambda request: stream(chunks(*deltas, **how)) if request.get("stream") else None


def tools(call, accepts):
    """Calls a tool; the result is accepted only by ``accepts``, which gets the call and the result that came back."""

    def answer(request):
        messages = request.get("messages") or [{}]
        if messages[-1].get("role") == "tool":
            good = accepts(messages[-2]["tool_calls"][0], messages[-1])
            return None if good else error("Name cannot be empty, or a signature is missing.")
        if request.get("tools"):
            return reply(completion({"content": None, "tool_calls": [call]}, "tool_calls"))
        return None

    return answer


def as_stream(answer):
    """The answer as a stream, if it has a call."""
    body = json.loads(answer.partition(b"\r\n\r\n")[2]) if answer else {}
    calls = body.get("choices") and body["choices"][0]["message"].get("tool_calls")
    if not calls:
        return answer
    return stream(chunks({"tool_calls": [{"index": 0, **call} for call in calls]}, finish="tool_calls"))


def counted_in_the_choice(request):
    if not request.get("stream"):
        return None
    return stream([*[chunk({"content": word}) for word in WORDS], chunk({}, "stop", choice={"usage": usage()})])


def buffered(request):
    def write(file):
        file.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        time.sleep(0.3)
        file.write(events(chunks()))

    return write if request.get("stream") else None


def left_open(request):
    def write(file):
        file.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + events(chunks(), done=False))
        file.flush()
        time.sleep(3)

    return write if request.get("stream") else None


def message_for_delta(request):
    return stream([completion()]) if request.get("stream") else None


def error_in_an_event(request):
    return stream([LOST]) if request.get("messages", [{}])[0].get("role") == "robot" and request.get("stream") else None


def length_beside_chunks(request):
    body = reply(completion()).partition(b"\r\n\r\n")[2]
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    return None if request.get("stream") else head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"


def first_refused(*sent):
    """Refuses the second call once, the first after the plainest."""
    left, count = list(sent), iter(range(10**6))
    return lambda request: left.pop() if next(count) >= 1 and left else None


def refuses_temperature(request):
    return error("'temperature' does not support 0 with this model.") if request.get("temperature") == 0 else None


WAIT = {"error": {"message": "Please try again in 0.2s", "type": "t", "param": None, "code": "rate_limit_exceeded"}}
CASES = {
    "reasoning as typed parts": (
        streamed({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}]}, {"content": "35"}),
        {"stream_deltas": "differs", "stream_reasoning": "differs"}),
    "counts without reasoning": (
        lambda request: whole(counts=REASONING)(request) or streamed(counts=REASONING)(request),
        {"usage": "differs", "stream_usage": "differs"}),
    "usage in the choice": (counted_in_the_choice, {"stream_usage": "differs"}),
    "finish_reason abort": (
        lambda request: whole(finish="abort")(request) or streamed(finish="abort")(request),
        {"finish_reason": "differs", "stream_finish_reason": "differs"}),
    "only the end of the thoughts": (whole({"content": "12 + 23 = 35.\n</think>\n\n35"}), {"reasoning": "differs"}),
    "all in reasoning_content": (
        whole({"content": None, "reasoning_content": "The sum is 35."}), {"reasoning": "differs"}),
    "length beside chunks": (length_beside_chunks, {"http": "differs", "answer_shape": "conforms"}),
    "signature of a call": (
        tools(SIGNED, lambda call, result: "extra_content" in call),
        {"tool_result": "differs", "tool_call": "differs"}),
    "signature of a call, in streams only": (
        lambda request: as_stream(tools(SIGNED, lambda call, result: "extra_content" in call)(request)),
        {"tool_result": "differs", "streamed_call": "differs"}),
    "name in a tool result": (tools(CALL, lambda call, result: result.get("name")), {"tool_result": "differs"}),
    "a call as it should be": (
        tools(CALL, lambda call, result: True), {"tool_result": "conforms", "tool_call": "conforms"}),
    "call without arguments": (
        tools({**CALL, "function": {"name": "get_weather", "arguments": ""}}, lambda call, result: True),
        {"tool_call": "differs"}),
    "wait in words": (
        first_refused(reply(WAIT, 429)), {"rate_limit_wait": "differs", "stream_framing": "conforms"}),
    "wait in a header": (
        first_refused(reply(WAIT, 429, retry_after="0.2")),
        {"rate_limit_wait": "conforms", "stream_framing": "conforms"}),
    "a passing fault with 498": (
        first_refused(error("Flex tier capacity exceeded", 498)),
        {"passing_faults": "differs", "stream_framing": "conforms"}),
    "buffered": (buffered, {"stream_gradual": "differs", "stream_framing": "conforms"}),
    "open after the end": (left_open, {"stream_framing": "differs", "stream_finish_reason": "conforms"}),
    "message in a stream": (message_for_delta, {"stream_deltas": "differs"}),
    "an error in an event": (error_in_an_event, {"unknown_role_stream": "differs", "unknown_role": "ignored"}),
    "no temperature": (refuses_temperature, {"temperature_0": "unsupported", "max_tokens": "ignored"}),
    "tool_calls: [] beside text": (
        streamed(*[{"content": word, "tool_calls": []} for word in WORDS]),
        {"stream_deltas": "conforms", "stream_shape": "conforms", "stream_framing": "conforms"}),
}  # fmt: skip


def verdicts(name):
    answer, expected = CASES[name]
    with behaving(answer) as (base_url, _):
        found = check_endpoint(Endpoint(base_url, "m"), only=expected)
    return {finding.name: finding.verdict for finding in found.findings}, found


@pytest.fixture(scope="module")
def found():
    return in_parallel(verdicts, CASES)


@pytest.mark.parametrize("name", CASES)
def test_it_is_found(found, name):
    judged, checkup = found[name].result()
    assert judged == CASES[name][1], [(finding.name, finding.came) for finding in checkup.findings]


def test_a_model_that_is_still_loading_is_named():
    body = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
    with (
        behaving(lambda request: reply(body, 503)) as (base_url, _),
        pytest.raises(Exception, match="oading") as raised,
    ):
        check_endpoint(Endpoint(base_url, "m"), only=["usage"])
    assert type(raised.value).__name__ == "EndpointError"
