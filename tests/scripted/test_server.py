"""The scripted server conforms to the official client, keeps its law, logs true times and stops on request."""

import json
import math
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from itertools import pairwise

import openai
import psutil
import pytest
from exchange import ask, chat, listen, request
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import SettingsError
from evalkit.scripted.script import prompt_tokens, tokens_of
from evalkit.scripted.server import Arithmetic, Call, Calling, Fault, Law, Script, echo, serve

MS = 1_000_000
KEY = "sk-scripted-0123456789"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    },
}


@pytest.fixture(scope="module")
def server():
    script = Script(law=Law(tokens=5), key=KEY, models=("scripted", "other"))
    with serve(script) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with official(server) as made:
        yield made


def official(server, key=KEY):
    return openai.OpenAI(api_key=key, base_url=server.base_url, max_retries=0, timeout=10)


def hello(client, model="scripted", **fields):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello there, you!"}]
    return client.chat.completions.create(**{"model": model, "messages": messages, **fields})


# ---- the official client


def test_official_client_gets_a_whole_answer(client):
    answer = hello(client)
    assert answer.choices[0].message.content == "tok0 tok1 tok2 tok3 tok4"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (5, 5, 10)
    assert answer._request_id.startswith("req_")


def test_official_client_gets_a_stream_with_usage(client):
    chunks = list(hello(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].choices[0].delta.content == ""
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "tok0 tok1 tok2 tok3 tok4"
    assert [c.choices[0].finish_reason for c in chunks if c.choices] == [None] * 6 + ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 5
    assert {chunk.usage for chunk in chunks[:-1]} == {None}
    assert len({chunk.id for chunk in chunks}) == 1


def test_official_streaming_helper_builds_the_message(client):
    with client.chat.completions.stream(model="scripted", messages=[{"role": "user", "content": "x"}]) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.content == "tok0 tok1 tok2 tok3 tok4"


def test_no_usage_in_a_stream_unless_asked_for(client):
    assert [chunk.usage for chunk in hello(client, stream=True)] == [None] * 7


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_length_limit_cuts_the_answer(client, stream, name):
    answer = hello(client, stream=stream, **{name: 2})
    if stream:
        chunks = list(answer)
        text, reason = "".join(c.choices[0].delta.content or "" for c in chunks), chunks[-1].choices[0].finish_reason
    else:
        text, reason = answer.choices[0].message.content, answer.choices[0].finish_reason
    assert (text, reason) == ("tok0 tok1", "length")


def test_official_client_lists_models(client):
    assert [model.id for model in client.models.list()] == ["scripted", "other"]
    assert client.models.retrieve("other").id == "other"


@pytest.mark.parametrize("stream", [False, True])
def test_official_client_gets_tool_calls_and_then_a_text(stream):
    with serve(Script(answer=Calling(calls=1))) as server, official(server) as client:
        asked = [{"role": "user", "content": "What is the weather in Paris for 3 days?"}]
        if stream:
            with client.chat.completions.stream(model="m", messages=asked, tools=[WEATHER]) as events:
                choice = events.get_final_completion().choices[0]
        else:
            choice = client.chat.completions.create(model="m", messages=asked, tools=[WEATHER]).choices[0]
        assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
        (call,) = choice.message.tool_calls
        assert call.function.name == "get_weather"
        assert json.loads(call.function.arguments) == {"city": "Paris", "days": 3}
        made = {
            "id": call.id,
            "type": "function",
            "function": {"name": "get_weather", "arguments": call.function.arguments},
        }
        asked.append({"role": "assistant", "content": None, "tool_calls": [made]})
        asked.append({"role": "tool", "tool_call_id": call.id, "content": "sunny"})
        answer = client.chat.completions.create(model="m", messages=asked, tools=[WEATHER])
    assert answer.choices[0].message.content == "The tool says: sunny"


def test_two_calls_at_once_have_an_index_and_an_id_each():
    calls = [Call("a", '{"x": 1}'), Call("b", '{"long": "arguments in several pieces"}')]
    with serve(Script(answer=lambda body: calls)) as server:
        heard = ask(server.port, chat(stream=True))
    parts = [part for event in heard.events for part in event["choices"][0]["delta"].get("tool_calls", ())]
    arguments = {0: "", 1: ""}
    for part in parts:
        arguments[part["index"]] += part["function"]["arguments"]
    assert arguments == {0: calls[0].arguments, 1: calls[1].arguments}
    assert len({part["id"] for part in parts if "id" in part}) == 2
    assert len(parts) > 3


@pytest.mark.parametrize(
    ("fields", "error", "code", "param"),
    [
        ({"model": "nope"}, openai.NotFoundError, "model_not_found", "model"),
        ({"messages": []}, openai.BadRequestError, "empty_array", "messages"),
        ({"messages": "hi"}, openai.BadRequestError, "invalid_type", "messages"),
        ({"messages": ["hi"]}, openai.BadRequestError, "invalid_type", "messages"),
        ({"messages": [{"content": "x"}]}, openai.BadRequestError, "missing_required_parameter", "messages[0]"),
        ({"messages": [{"role": "boss", "content": "x"}]}, openai.BadRequestError, "invalid_value", "messages[0].role"),
        ({"messages": [{"role": "user"}]}, openai.BadRequestError, "invalid_type", "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, openai.BadRequestError, "invalid_type", "messages[0].content"),
        ({"temperature": "hot"}, openai.BadRequestError, "invalid_type", "temperature"),
        ({"max_tokens": True}, openai.BadRequestError, "invalid_type", "max_tokens"),
        ({"max_tokens": 0}, openai.BadRequestError, "integer_below_min_value", "max_tokens"),
        ({"n": 200}, openai.BadRequestError, "unsupported_value", "n"),
        ({"stream_options": {"include_usage": True}}, openai.BadRequestError, None, "stream_options"),
    ],
)
def test_official_client_raises_the_right_error(client, fields, error, code, param):
    with pytest.raises(error) as caught:
        hello(client, **fields)
    assert (caught.value.code, caught.value.param, caught.value.type) == (code, param, "invalid_request_error")


def test_official_client_raises_for_a_wrong_key_which_is_not_repeated(server):
    with official(server, "sk-wrong-one") as stranger, pytest.raises(openai.AuthenticationError) as caught:
        hello(stranger)
    assert caught.value.code == "invalid_api_key"
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ({"body": b'{"model": '}, 400, None),
        ({"body": b"[]"}, 400, "invalid_type"),
        ({"body": b'{"model": "scripted"}'}, 400, "missing_required_parameter"),
        ({"body": b'{"messages": []}'}, 400, "missing_required_parameter"),
        ({"body": b'{"model": "\xff"}'}, 400, None),
        ({"body": b"", "method": "GET"}, 405, "method_not_supported"),
        ({"body": b"", "path": "/v1/models"}, 405, "method_not_supported"),
        ({"body": b"", "path": "/v1/completions"}, 404, None),
        ({"body": b"", "path": "/v1/modelsx", "method": "GET"}, 404, None),
        ({"body": b"", "path": "/v1/models/nope", "method": "GET"}, 404, "model_not_found"),
        ({"body": chat(), "headers": {"Authorization": None}}, 401, None),
        ({"body": chat(), "headers": {"Authorization": "Basic eA=="}}, 401, None),
    ],
)
def test_errors_have_the_standard_form(server, how, status, code):
    how = {"headers": {"Authorization": f"bearer {KEY}"}, **how}
    heard = ask(server.port, how.pop("body"), **how)
    assert heard.status == status
    assert heard.json["error"].keys() == {"message", "type", "param", "code"}
    assert heard.json["error"]["code"] == code


@pytest.mark.parametrize(
    ("options", "header", "value"),
    [
        ({}, None, None),
        ({"retry_after": 2}, "retry-after", "2"),
        ({"retry_after": 1.5, "form": "ms"}, "retry-after-ms", "1500"),
        ({"retry_after": 60, "form": "date"}, "retry-after", "GMT"),
    ],
)
def test_rate_limit(options, header, value):
    with (
        serve(Script(faults=[Fault("rate_limited", options=options)])) as server,
        official(server) as client,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        hello(client)
    headers = caught.value.response.headers
    assert caught.value.code == "rate_limit_exceeded"
    assert {name for name in headers if name.startswith("retry-after")} == ({header} if header else set())
    assert header is None or headers[header].endswith(value)


# ---- HTTP


def test_pipelined_requests_are_answered_in_order():
    with serve(Script(answer=echo, law=Law(ttft_ms=5))) as server:
        bodies = [chat(f"number {i}", stream=i % 2 == 0) for i in range(6)]
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(b"".join(map(request, bodies)))
            got = b""
            while got.count(b'"finish_reason":"stop"') < 6:
                got += connection.recv(65536)
    places = [got.find(f'"id":"chatcmpl-{i}"'.encode()) for i in range(1, 7)]
    assert places == sorted(places)
    assert -1 not in places


def test_chunked_body_and_continue():
    body = json.dumps(chat("x" * 3000)).encode()
    head = request(b"", headers={"Content-Length": None, "Transfer-Encoding": "chunked", "Expect": "100-continue"})
    with serve(Script(answer=echo)) as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head)
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"".join(b"%x\r\n%b\r\n" % (1, body[i : i + 1]) for i in range(len(body))) + b"0\r\n\r\n")
        heard = listen(connection)
    assert heard.json["choices"][0]["message"]["content"] == "x" * 3000


def test_connection_is_closed_when_the_client_asks_for_it(server):
    heard = ask(server.port, chat(), headers={"Connection": "close", "Authorization": f"Bearer {KEY}"})
    assert heard.headers["connection"] == "close"


def test_bytes_that_are_no_request_are_told_so_and_the_connection_ends(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"what?\r\n\r\n")
        assert listen(connection).status == 400
        assert connection.recv(10) == b""


def test_a_large_answer_reaches_a_slow_reader_whole():
    size = 8_000_000
    with serve(Script(faults=[Fault("huge", options={"size": size})])) as server:
        for stream in (False, True):
            with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
                connection.sendall(request(chat(stream=stream), headers={"Connection": "close"}))
                time.sleep(0.1)
                got = bytearray()
                while data := connection.recv(1 << 20):
                    got += data
            assert size <= got.count(b"x") < size + 70_000


# ---- answers


@given(st.text())
def test_tokens_make_up_the_text(text):
    assert "".join(tokens_of(text)) == text


def test_prompt_tokens_are_the_words_of_all_messages():
    parts = [{"type": "text", "text": "three more words"}, {"type": "image_url", "image_url": {"url": "a b c"}}]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}, {"content": None}]
    assert prompt_tokens(messages) == 5


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is the sum of 12 + 23?", "The sum of 12 and 23 is 35."),
        ("Thank you. What is the product of 12 * 23?", "The product of 12 and 23 is 276."),
        ("What is the difference between 9 and 4?", "The difference of 9 and 4 is 5."),
        ("What is 7 minus 10?", "The difference of 7 and 10 is -3."),
        ("What is 1 / 4?", "The quotient of 1 and 4 is 0.25."),
        ("What is 1 / 0?", "The quotient of 1 and 0 is nan."),
        ("Hello!", "I see no sum to work out here."),
    ],
)
def test_arithmetic(question, answer):
    assert Arithmetic()(chat(question)) == answer


def test_a_seeded_share_of_sums_is_wrong_and_always_the_same_ones():
    questions = [f"What is {a} + {a}?" for a in range(400)]

    def wrong(seed):
        rule = Arithmetic(wrong=0.25, seed=seed)
        return {a for a, question in enumerate(questions) if f"is {2 * a}." not in rule(chat(question))}

    assert wrong(1) == wrong(1) != wrong(2)
    assert 60 < len(wrong(1)) < 140


def test_a_failing_answer_function_is_told_to_the_client():
    def answer(body):
        raise LookupError("no such question")

    with serve(Script(answer=answer)) as server:
        heard = ask(server.port, chat())
    assert heard.status == 500
    assert heard.json["error"]["message"] == "the script failed: LookupError: no such question"


# ---- law and truth


def test_law_without_jitter_is_a_straight_line():
    assert list(Law(ttft_ms=50, itl_ms=10).offsets(7, 4)) == [50 * MS, 60 * MS, 70 * MS, 80 * MS]


def test_jitter_is_seeded_by_request_and_keeps_the_median():
    law = Law(ttft_ms=50, itl_ms=10, jitter=0.3, seed=3)
    assert law.offsets(1, 5) == law.offsets(1, 5) != law.offsets(2, 5)
    assert law.offsets(1, 5) != Law(ttft_ms=50, itl_ms=10, jitter=0.3, seed=4).offsets(1, 5)
    firsts = [law.offsets(number, 1)[0] / MS for number in range(2000)]
    assert statistics.median(firsts) == pytest.approx(50, rel=0.03)
    assert min(firsts) > 0


@pytest.mark.parametrize("profile", ["openai", "taskingai"])
def test_log_holds_the_true_times_of_each_answer(profile):
    law = Law(ttft_ms=30, itl_ms=10, tokens=4)
    with serve(Script(profile=profile, law=law)) as server:
        before = time.perf_counter_ns()
        stream, whole = (ask(server.port, chat(model=server.model, stream=stream)) for stream in (True, False))
        after = time.perf_counter_ns()
        first, second = server.log()
    assert (first.id, second.id) == (stream.events[0]["id"], whole.json["id"])
    assert (first.number, first.streamed, first.tokens, first.status) == (1, True, 4, 200)
    assert first.due_ns == first.received_ns + 30 * MS <= first.first_ns
    assert first.first_ns < first.last_ns
    assert first.received_ns + 60 * MS <= first.last_ns
    assert (second.streamed, second.first_ns) == (False, None)
    assert second.due_ns == second.received_ns + 60 * MS <= second.last_ns == second.end_ns
    assert before < first.received_ns < first.end_ns <= second.received_ns < second.end_ns < after
    assert 0 <= first.first_ns - first.due_ns <= first.late_ns


def test_a_late_write_does_not_put_off_the_next_ones():
    law = Law(ttft_ms=5, itl_ms=1, tokens=100)
    with serve(Script(law=law)) as server:
        ask(server.port, chat(stream=True))
        (entry,) = server.log()
    late = entry.last_ns - entry.received_ns - 104 * MS
    assert 0 <= late <= entry.late_ns


def test_role_comes_with_the_first_token_and_the_head_with_it():
    with serve(Script(law=Law(ttft_ms=40, itl_ms=20, tokens=2))) as server:
        heard = ask(server.port, chat(stream=True))
    first = heard.reads[0][1]
    assert b"HTTP/1.1 200" in first
    assert b'"role"' in first
    assert b"tok0" in first


def test_stats_count_what_the_server_saw():
    with serve(Script(law=Law(ttft_ms=20, itl_ms=1, tokens=3), models=("m",))) as server:
        for text in ("a", "b", "a"):
            ask(server.port, chat(text, model="m", stream=text == "a"))
        ask(server.port, chat("a", model="unknown"))
        seen = server.stats(reset=True)
        assert (seen["requests"], seen["streamed"], seen["aborted"]) == (4, 2, 0)
        assert seen["status"] == {"200": 3, "404": 1}
        assert (seen["distinct_prompts"], seen["repeated_prompts"]) == (2, 1)
        assert (seen["answered_prompts"], seen["answered_twice"]) == (2, 1)
        assert (seen["connections"], seen["max_active"], seen["active"]) == (5, 1, 0)
        assert seen["ttft_ms"]["p50"] >= 20
        assert seen["latency_ms"]["p99"] >= 22
        seen = server.stats()
        assert (seen["requests"], seen["distinct_prompts"], seen["ttft_ms"]) == (0, 0, None)
        assert server.log() == []


def test_requests_at_once_and_a_client_that_leaves_are_seen():
    with serve(Script(law=Law(ttft_ms=100_000))) as server:
        connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        for connection in connections:
            connection.sendall(request(chat(stream=True)))
        wait_for(lambda: server.stats()["active"] == 3)
        for connection in connections:
            connection.close()
        wait_for(lambda: server.stats()["aborted"] == 3)
        seen = server.stats()
        assert (seen["active"], seen["max_active"], seen["max_open"] >= 3) == (0, 3, True)
        assert {entry.end_ns for entry in server.log()} == {None}


# ---- slots


def stream_at_once(server, count):
    """So many requests, each on a connection of its own, sent in order."""
    connections = []
    for number in range(count):
        connections.append(socket.create_connection(("127.0.0.1", server.port), timeout=10))
        connections[-1].sendall(request(chat(f"number {number}", stream=True)))
        wait_for(lambda number=number: server.stats()["requests"] == number + 1)
    return connections


def test_requests_beyond_the_slots_wait_in_their_order():
    with serve(Script(law=Law(ttft_ms=300, itl_ms=20, tokens=6, slots=2))) as server:
        for connection in stream_at_once(server, 6):
            listen(connection)
            connection.close()
        entries = server.log()
        assert server.stats()["max_active"] == 6
    answer = 400 * MS
    assert [entry.begun_ns for entry in entries[:2]] == [entry.received_ns for entry in entries[:2]]
    for entry, before in zip(entries[2:], entries, strict=False):
        # to the ns: lateness does not add up
        assert entry.begun_ns == max(entry.received_ns, before.begun_ns + answer)
        assert entry.due_ns == entry.begun_ns + 300 * MS <= entry.first_ns


def test_a_whole_answer_holds_its_slot_until_it_is_due():
    with serve(Script(law=Law(ttft_ms=50, slots=1))) as server:
        connections = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(3)]
        for connection in connections:
            connection.sendall(request(chat()))
        for connection in connections:
            listen(connection)
            connection.close()
        entries = server.log()
    for before, entry in pairwise(entries):
        assert entry.begun_ns == max(entry.received_ns, before.begun_ns + 50 * MS)


def test_who_leaves_the_queue_or_a_slot_holds_up_nobody():
    law = Law(ttft_ms=100_000, slots=1)
    with serve(Script(law=law, faults=[Fault("empty", numbers={3})])) as server:
        answered, waiting, last = stream_at_once(server, 3)
        waiting.close()
        wait_for(lambda: server.stats()["aborted"] == 1)
        assert [entry.begun_ns is None for entry in server.log()] == [False, True, True]
        answered.close()
        wait_for(lambda: server.log()[2].begun_ns is not None)
        assert server.log()[1].begun_ns is None
        last.close()


def test_a_refusal_takes_no_slot():
    with serve(Script(law=Law(ttft_ms=100_000, slots=1), faults=[Fault("rate_limited", numbers={2})])) as server:
        (held,) = stream_at_once(server, 1)
        assert ask(server.port, chat()).status == 429
        assert ask(server.port, chat(messages=[])).status == 400
        held.close()


# ---- life and death


def test_a_process_of_its_own_with_a_function_of_a_module():
    with serve(Script(answer=echo, key=KEY), process=True) as server:
        (child,) = (c for c in psutil.Process().children() if "evalkit.scripted" in " ".join(c.cmdline()))
        assert KEY not in " ".join(child.cmdline())
        heard = ask(server.port, chat("are you there?"), headers={"Authorization": f"Bearer {KEY}"})
        assert heard.json["choices"][0]["message"]["content"] == "are you there?"
        assert server.log()[0].received_ns < time.perf_counter_ns()
    assert not child.is_running()


def test_a_function_that_cannot_travel_is_refused():
    with (
        pytest.raises(SettingsError, match=r"^the script cannot be sent to another process: its answer must be"),
        serve(Script(answer=lambda body: ""), process=True),
    ):
        pass


def test_the_process_goes_when_its_parent_is_killed():
    code = (
        "import time\nfrom evalkit.scripted.server import serve\n"
        "with serve(process=True) as server:\n    print(server.port, flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        port = int(parent.stdout.readline())
        (child,) = psutil.Process(parent.pid).children()
        assert ask(port, chat()).status == 200
        os.kill(parent.pid, signal.SIGKILL)
        child.wait(10)


def test_an_error_in_the_block_stops_the_server_too():
    with pytest.raises(KeyError), serve() as server:
        raise KeyError
    with pytest.raises(ConnectionRefusedError):
        ask(server.port, chat())


@pytest.mark.parametrize("process", [False, True])
@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (Script(profile="other"), "the profile 'other' is not known: use one of openai, taskingai"),
        (Script(law=Law(slots=0)), "a server with 0 slots would never answer: give it 1 or more"),
        (Script(law=Law(slots="2")), "slots is '2': it must be a whole number, 1 or more, or None for no limit"),
        (Script(law=Law(ttft_ms=-5)), "ttft_ms is -5: it must be a number from 0 to 31,622,400,000"),
        (Script(law=Law(itl_ms="a")), "itl_ms is 'a': it must be a number from 0 to 31,622,400,000"),
        (Script(law=Law(ttft_ms=math.nan)), "ttft_ms is nan: it must be a number from 0 to 31,622,400,000"),
        (Script(law=Law(itl_ms=math.inf)), "itl_ms is inf: it must be a number from 0 to 31,622,400,000"),
        (Script(law=Law(jitter=-1)), "jitter is -1: it must be a number from 0 to 100"),
        (Script(law=Law(tokens=0)), "tokens is 0: it must be a whole number, 1 or more"),
        (Script(law=Law(tokens=2.5)), "tokens is 2.5: it must be a whole number, 1 or more"),
        (Script(faults=[Fault(["late"])]), r"the fault \['late'\] is not known: use one of .*"),
        (Script(faults=[Fault("late")]), r"the fault 'late' is not known: use one of aborted, batch_writes, .*"),
        (Script(faults=[Fault("upstream_down")]), r"the fault 'upstream_down' is not known: use one of .*"),
        (
            Script(faults=[Fault("silence", options={"sec": 1})]),
            "the fault 'silence' has no option sec: it has after, seconds, headers",
        ),
        (Script(faults=[Fault("empty", options={"x": 1})]), "the fault 'empty' has no option x: it has none"),
    ],
)
def test_a_script_that_cannot_be_served_is_refused(script, problem, process):
    with pytest.raises(SettingsError, match=f"^{problem}$"), serve(script, process=process):
        pass


def test_key_is_in_no_repr():
    assert KEY not in repr(Script(key=KEY))


def test_command_line_prints_the_base_url_serves_and_stops():
    command = [
        sys.executable, "-m", "evalkit.scripted", "--answer", "arithmetic", "--key-env", "SCRIPTED_KEY",
        "--model", "m", "--fault", "server_error=0", "--ttft-ms", "5",
    ]  # fmt: skip
    environment = {**os.environ, "SCRIPTED_KEY": KEY}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as running:
        line = running.stdout.readline().strip()
        port = int(line.removeprefix("http://127.0.0.1:").removesuffix("/v1"))
        heard = ask(port, chat(model="m"), headers={"Authorization": f"Bearer {KEY}"})
        assert heard.json["choices"][0]["message"]["content"] == "The sum of 12 and 23 is 35."
        assert ask(port, chat(model="m")).status == 401
        running.send_signal(signal.SIGINT)
        assert running.wait(10) == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--key-env", "NOT_SET_HERE"], "NOT_SET_HERE is named as the variable of the key, but it is not set"),
        (["--fault", "nope"], "the fault 'nope' is not known"),
        (["--fault", "empty=often"], "--fault empty=often: a share from 0 to 1 was expected after the equals sign"),
    ],
)
def test_command_line_names_what_is_wrong(arguments, problem, capsys):
    from evalkit.scripted.server import main

    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert problem in capsys.readouterr().err


def wait_for(condition, seconds=10):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
