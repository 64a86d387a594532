"""What goes back in a tool round, and what is left out after a refusal: conversations and runs over HTTP."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import evalkit as ek
from evalkit.datasets import reader
from evalkit.endpoint import Endpoint

TOOLS = [{"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}]
CALL = {"index": 0, "id": "call_7", "type": "function", "function": {"name": "clock", "arguments": "{}"}}


class Server:
    """Answers each request with what a function of its body returns: an answer, events, or (status, error)."""

    def __init__(self, reply):
        self.bodies = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.bodies.append(body)
                found = reply(body)
                status, found = found if isinstance(found, tuple) else (200, found)
                if isinstance(found, list):
                    events = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in found]
                    data, kind = b"".join(events) + b"data: [DONE]\n\n", "text/event-stream"
                else:
                    data, kind = json.dumps(found).encode(), "application/json"
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        return self

    def __exit__(self, *error):
        self.http.shutdown()
        self.http.server_close()


def whole(message, finish="stop"):
    return {"choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}]}


def events(*deltas, finish="stop"):
    chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    return [*chunks, {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}]


def told(body):
    return body["messages"][-1]["role"] == "tool"


def calls_in(body):
    return [call for message in body["messages"] for call in message.get("tool_calls", ())]


def assistants(body):
    return [message for message in body["messages"] if message["role"] == "assistant"]


def run(server, tmp_path, *, stream=True, turns=1, **settings):
    data = tmp_path / "data.jsonl"
    row = {"id": "t", "tools": TOOLS, "tool_results": {"clock": "12:05"}}
    data.write_text(json.dumps({**row, "turns": [{"user": f"Time {n}?"} for n in range(turns)]}) + "\n")
    return ek.evaluate(data, Endpoint(server.url, "m"), out=tmp_path / "r.evalkit", stream=stream, **settings)


def converse(server, *, turns=1, **settings):
    asked = tuple(ek.Turn(f"Time {n}?") for n in range(turns))
    conversation = ek.Conversation("t", asked, tools=tuple(TOOLS), tool_results={"clock": "12:05"})
    return list(ek.converse(conversation, Endpoint(server.url, "m"), **settings))


def statuses(done):
    return [record.status for record in done] if isinstance(done, list) else list(done.turns().status)


# -- what comes with a call goes back with it

SIGNED = [
    # one piece; a signature beside the function, inside it, in pieces, in a piece of its own, with every piece
    ([{**CALL, "extra_content": {"google": {"thought_signature": "Ci=="}}}],
     {"extra_content": {"google": {"thought_signature": "Ci=="}}}, {}),
    ([{**CALL, "thought_signature": "Ci=="}], {"thought_signature": "Ci=="}, {}),
    ([{**CALL, "provider_specific_fields": {"thought_signature": "Ci==", "n": 1}}],
     {"provider_specific_fields": {"thought_signature": "Ci==", "n": 1}}, {}),
    ([{**CALL, "function": {**CALL["function"], "thought_signature": "Ci=="}}], {}, {"thought_signature": "Ci=="}),
    ([{**CALL, "signature": "Ci"}, {"index": 0, "signature": "Bq=="}], {"signature": "CiBq=="}, {}),
    ([CALL, {"index": 0, "extra_content": {"google": {"thought_signature": "Ci=="}}}],
     {"extra_content": {"google": {"thought_signature": "Ci=="}}}, {}),
    ([{**CALL, "function": {"name": "clock", "arguments": "{"}, "signature": "Ci=="},
      {"index": 0, "function": {"arguments": "}"}, "signature": "Ci=="}], {"signature": "Ci=="}, {}),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(SIGNED)))
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_further_keys_of_a_call_go_back(number, stream):
    pieces, outside, inside = SIGNED[number]
    if not stream and len(pieces) > 1:
        pytest.skip("a whole answer has no pieces")

    def reply(body):
        if told(body):
            return events({"content": "It is 12:05."}) if stream else whole({"content": "It is 12:05."})
        if stream:
            return events(*({"tool_calls": [piece]} for piece in pieces), finish="tool_calls")
        return whole({"content": None, "tool_calls": pieces}, "tool_calls")

    with Server(reply) as server:
        assert statuses(converse(server, stream=stream)) == ["answered"]
    (call,) = calls_in(server.bodies[-1])
    assert call == {
        "id": "call_7", "type": "function", **outside, "function": {"name": "clock", "arguments": "{}", **inside}
    }  # fmt: skip


def test_each_of_two_calls_keeps_its_own_signature(tmp_path):
    first, second = ({**CALL, "index": n, "id": f"c{n}", "thought_signature": f"s{n}"} for n in (0, 1))

    def reply(body):
        return (
            events({"content": "Twice."}) if told(body) else events({"tool_calls": [first]}, {"tool_calls": [second]})
        )

    with Server(reply) as server:
        run(server, tmp_path)
    assert [(call["id"], call["thought_signature"]) for call in calls_in(server.bodies[-1])] == [
        ("c0", "s0"), ("c1", "s1")
    ]  # fmt: skip


REASONING = [
    ([{"reasoning_content": "Let me "}, {"reasoning_content": "see."}], {"reasoning_content": "Let me see."}),
    ([{"reasoning": "Hm", "reasoning_details": [{"type": "reasoning.text", "text": "H", "index": 0, "format": "x"}]},
      {"reasoning_details": [{"type": "reasoning.text", "text": "m", "index": 0, "format": "x"}]},
      {"reasoning_details": [{"type": "reasoning.text", "signature": "S==", "index": 0}]},
      {"reasoning_details": [{"type": "reasoning.encrypted", "data": "E==", "id": "r1", "index": 1}]}],
     {"reasoning": "Hm", "reasoning_details": [
         {"type": "reasoning.text", "text": "Hm", "index": 0, "format": "x", "signature": "S=="},
         {"type": "reasoning.encrypted", "data": "E==", "id": "r1", "index": 1}]}),
    ([{"reasoning_content": "ab", "thinking_blocks": [{"type": "thinking", "thinking": "a"}]},
      {"thinking_blocks": [{"type": "thinking", "thinking": "b"}]},
      {"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "S=="}]},
      {"thinking_blocks": [{"type": "redacted_thinking", "data": "R=="}]},
      {"thinking_blocks": [{"type": "redacted_thinking", "data": "Q=="}]}],
     {"reasoning_content": "ab", "thinking_blocks": [
         {"type": "thinking", "thinking": "ab", "signature": "S=="}, {"type": "redacted_thinking", "data": "R=="},
         {"type": "redacted_thinking", "data": "Q=="}]}),
    ([{"reasoning_text": "Hm", "reasoning_opaque": "O=="}], {"reasoning_text": "Hm", "reasoning_opaque": "O=="}),
    ([{"annotations": [], "reasoning": None, "extra": 1, "padding": "xx"}], {}),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(REASONING)))
def test_reasoning_of_a_call_goes_back_in_its_message(number):
    deltas, back = REASONING[number]

    def reply(body):
        return events({"content": "12:05"}) if told(body) else events(*deltas, {"tool_calls": [CALL]})

    with Server(reply) as server:
        assert statuses(converse(server)) == ["answered"]
    (message,) = assistants(server.bodies[-1])
    assert {key: value for key, value in message.items() if key not in ("role", "content", "tool_calls")} == back


def test_reasoning_of_a_whole_answer_goes_back_as_it_came(tmp_path):
    blocks = [{"type": "thinking", "thinking": "a", "signature": "S"}, {"type": "thinking", "thinking": "b"}]

    def reply(body):
        message = {"content": None, "reasoning_content": "ab", "thinking_blocks": blocks, "tool_calls": [CALL]}
        return whole({"content": "12:05"}) if told(body) else whole(message)

    with Server(reply) as server:
        run(server, tmp_path, stream=False)
    (message,) = assistants(server.bodies[-1])
    assert (message["reasoning_content"], message["thinking_blocks"]) == ("ab", blocks)


def test_reasoning_without_a_call_does_not_go_back(tmp_path):
    with Server(lambda body: events({"reasoning_content": "Hm"}, {"content": "12:05"})) as server:
        run(server, tmp_path, turns=2)
    assert assistants(server.bodies[-1]) == [{"role": "assistant", "content": "12:05"}]


@pytest.mark.parametrize("stopped", [False, True], ids=["one session", "resumed"])
def test_later_turns_and_a_resumed_run_have_all_that_belongs_to_a_round(tmp_path, stopped):
    failing = [stopped]

    def reply(body):
        users = sum(message["role"] == "user" for message in body["messages"])
        if users == 2 and failing[0]:
            return 400, {"error": {"message": "The model does not exist", "code": "model_not_found"}}
        if told(body) or users == 2:
            return events({"reasoning_content": "So."}, {"content": "12:05"})
        return events({"reasoning_content": "Hm"}, {"tool_calls": [{**CALL, "signature": "S"}]})

    with Server(reply) as server:
        done = run(server, tmp_path, turns=2)
        if stopped:
            assert statuses(done) == ["answered", "error"]
            failing[0] = False
            ek.resume(tmp_path / "r.evalkit", endpoint=Endpoint(server.url, "m"))
    _, call, result, final, _ = server.bodies[-1]["messages"]
    assert (call["reasoning_content"], call["tool_calls"][0]["signature"]) == ("Hm", "S")
    assert (result["name"], result["tool_call_id"]) == ("clock", "call_7")
    assert final == {"role": "assistant", "content": "12:05", "reasoning_content": "So."}


ARGUMENTS = {"empty": "", "null": None, "blank": "  ", "text null": "null", "missing": ...}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_empty_arguments_go_back_as_an_empty_object_and_are_kept_as_received(tmp_path, stream):
    def reply(body):
        if told(body):
            return events({"content": "12:05"}) if stream else whole({"content": "12:05"})
        arguments = ARGUMENTS[body["messages"][0]["content"]]
        function = {"name": "clock"} if arguments is ... else {"name": "clock", "arguments": arguments}
        call = {**CALL, "function": function}
        return events({"tool_calls": [call]}) if stream else whole({"content": None, "tool_calls": [call]})

    data = tmp_path / "data.jsonl"
    rows = [{"id": name, "tools": TOOLS, "tool_results": {"clock": "12:05"}, "turns": [{"user": name}]}
            for name in ARGUMENTS]  # fmt: skip
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Server(reply) as server:
        done = ek.evaluate(data, Endpoint(server.url, "m"), out=tmp_path / "r.evalkit", stream=stream)
    sent_back = [call["function"]["arguments"] for body in server.bodies for call in calls_in(body)]
    assert sent_back == ["{}"] * len(ARGUMENTS)
    turns = done.turns().set_index("conversation")
    for name, arguments in ARGUMENTS.items():
        stored = turns.tool_calls[name]
        (call,) = json.loads(stored) if isinstance(stored, str) else stored
        assert call["function"]["arguments"] == (arguments if isinstance(arguments, str) else ""), name


# -- what an endpoint refuses is left out after one try


def keys_of(body):
    """The keys that plain messages and calls do not have."""
    found = set()
    for message in body["messages"]:
        found |= message.keys() - {"role", "content", "tool_calls", "tool_call_id"}
        for call in message.get("tool_calls", ()):
            found |= call.keys() - {"id", "type", "function"}
    return found


REFUSALS = [
    ("reasoning_content", 422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "messages", 1, "assistant",
      "reasoning_content"], "msg": "Extra inputs are not permitted"}]}, {"name", "signature"}),
    ("reasoning_content", 400, {"message": "messages.1.assistant.reasoning_content: property "
      "'messages.1.assistant.reasoning_content' is unsupported"}, {"name", "signature"}),
    ("signature", 400, {"error": {"message": "Unknown parameter: 'messages[1].tool_calls[0].signature'."}},
     {"name", "reasoning_content"}),
    ("name", 400, {"error": {"message": "'messages.2' : property 'name' is unsupported"}},
     {"signature", "reasoning_content"}),
    ("signature", 400, [{"error": {"code": 400, "message": "Invalid JSON payload received. Unknown name \"signature\" "
      "at 'messages[1].tool_calls[0]': Cannot find field."}}], {"name", "reasoning_content"}),
    # none is named: all are left out
    ("signature", 422, {"error": {"message": "Additional properties are not allowed"}}, set()),
    ("name", 400, {"error": {"message": "Extra inputs are not permitted"}}, set()),
    ("name", 400, {"error": {"message": "Bad request"}}, set()),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(REFUSALS)))
def test_keys_that_are_refused_are_left_out_after_one_try(number):
    refused, status, error, left = REFUSALS[number]

    def reply(body):
        if refused in keys_of(body):
            return status, error
        if told(body):
            return whole({"content": "12:05"})
        message = {"content": None, "reasoning_content": "Hm", "tool_calls": [{**CALL, "signature": "S"}]}
        return whole(message, "tool_calls")

    with Server(reply) as server:
        done = converse(server, stream=False, turns=3)
    assert statuses(done) == ["answered"] * 3
    assert len(server.bodies) == 7  # one of them refused
    assert keys_of(server.bodies[-1]) == left
    assert ["keys_left_out" in record.good.flags for record in done] == [True] * 3


def test_turns_without_keys_that_are_refused_are_counted(tmp_path):
    def reply(body):
        if "signature" in keys_of(body):
            return 400, {"error": {"message": "Unknown parameter: 'messages[1].tool_calls[0].signature'."}}
        if told(body):
            return whole({"content": "12:05"})
        return whole({"content": None, "tool_calls": [{**CALL, "signature": "S"}]}, "tool_calls")

    with Server(reply) as server:
        done = run(server, tmp_path, stream=False, turns=3)
    assert statuses(done) == ["answered"] * 3
    assert done.summary_json()["caveats"]["keys_left_out"] == 3


def test_an_endpoint_that_demands_what_it_sent_gets_it_whatever_it_refuses_else():
    """A refusal that names a key as missing is not a refusal of that key."""

    def reply(body):
        if told(body):
            return 400, {"error": {"message": "The `reasoning_content` in the thinking mode must be passed back."}}
        return whole({"content": None, "reasoning_content": "Hm", "tool_calls": [CALL]})

    with Server(reply) as server:
        (record,) = converse(server, stream=False)
    assert len(server.bodies) == 2
    assert "It wants back what it sent with a function call" in record.failure.message


# -- token counts of a stream


@pytest.mark.parametrize(
    ("status", "error", "requests"),
    [
        (400, {"error": {"message": "Bad request"}}, 3),
        (422, {"message": "Unprocessable Entity"}, 3),
        (400, {"error": {"message": "Unrecognized request argument supplied: stream_options"}}, 3),
        (400, {"error": {"message": "This is not valid JSON", "code": 400}}, 3),
    ],
)
def test_stream_options_that_are_refused_are_left_out_after_one_try(status, error, requests):
    def reply(body):
        return (status, error) if "stream_options" in body else events({"content": "12:05"})

    with Server(reply) as server:
        done = converse(server, turns=2)
    assert (statuses(done), len(server.bodies)) == (["answered"] * 2, requests)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"error": {"message": "The prompt is too long: 9001 tokens > 8192 maximum"}}),
        (401, {"error": {"message": "Bad key"}}),
        (404, {"detail": "Not Found"}),
        (400, {"error": {"message": "Temperature must be positive: temperature"}}),
        (422, {"status": "error", "error": {"code": "REQUEST_VALIDATION_ERROR", "message": "No."}}),
    ],
)
def test_a_refusal_with_a_known_cause_is_not_tried_without_stream_options(status, error):
    with Server(lambda body: (status, error)) as server:
        (record,) = converse(server)
    assert (record.status, len(server.bodies)) == ("error", 1)


def test_refusals_without_a_cause_are_not_tried_without_stream_options_for_ever(tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"id": f"t{n}", "turns": [{"user": "Time?"}]}) + "\n" for n in range(20)))

    def reply(body):
        return events({"content": "12:05"}) if len(server.bodies) == 1 else (400, {"error": {"message": "No."}})

    with Server(reply) as server:
        ek.evaluate(data, Endpoint(server.url, "m"), out=tmp_path / "r.evalkit", concurrency=1)
    assert len(server.bodies) == 20  # the first answer has shown that they are accepted


# -- what evalkit sets can be unset


@pytest.mark.parametrize(
    ("endpoint", "row", "sent"),
    [
        ({"temperature": None}, {}, set()),
        ({"temperature": 0.5, "seed": 7}, {"temperature": None}, {"seed"}),
        ({"temperature": None}, {"temperature": 1}, {"temperature"}),
        ({"max_tokens": 5, "stop": None}, {"max_tokens": None}, set()),
    ],
)
def test_a_parameter_that_is_null_is_left_out(endpoint, row, sent):
    conversation = reader.parse_row({"id": "t", "params": row, "turns": [{"user": "Time?"}]})
    with Server(lambda body: whole({"content": "12:05"})) as server:
        list(ek.converse(conversation, Endpoint(server.url, "m", params=endpoint), stream=False))
    assert server.bodies[-1].keys() - {"model", "messages", "stream"} == sent


def test_stream_options_that_are_null_are_left_out(tmp_path):
    with Server(lambda body: events({"content": "12:05"})) as server:
        data = tmp_path / "data.jsonl"
        data.write_text(json.dumps({"id": "t", "turns": [{"user": "Time?"}]}) + "\n")
        ek.evaluate(data, Endpoint(server.url, "m", params={"stream_options": None}), out=tmp_path / "r.evalkit")
    assert server.bodies[-1].keys() == {"model", "messages", "stream"}
