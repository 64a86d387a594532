"""``check_endpoint`` against whole endpoints: every verdict of the documentation's table, failures, and secrets."""

import json
import re
import signal
import threading
import time
from pathlib import Path

import pytest
from behaving import behaving, chunks, completion, error, reply, stream
from obliging import obliging

import evalkit as ek
from evalkit.checkup import endpoint_check
from evalkit.checkup.checkup import side_by_side
from evalkit.checkup.endpoint_check import budget, check_endpoint
from evalkit.checkup.probes.all_probes import PROBES
from evalkit.checkup.probes.client import WRONG_KEY
from evalkit.scripted.server import Law, Script, serve

DOCUMENT = Path(ek.__file__).parent / "docs" / "checkup.md"
KEYS = {"openai": "sk-conforming-0123456789", "taskingai": "tkAbCdEfGhscripted0123456789AB"}
MODELS = {"openai": "good", "taskingai": "X5lMscriptedassistant000"}
QUICK = ("embedded", "unknown_role", "no_messages", "error_shape", "models", "wrong_key", "keep_alive", "http")


def documented():
    """Name of a probe to its verdicts in the table of the documentation: conforming, TaskingAI, embedded."""
    rows = re.findall(
        r"(?m)^\| `(\w+)` \|.*?\| ([\w ]+) \| ([\w ]+) \| ([\w ]+) \|$", DOCUMENT.read_text(encoding="utf-8")
    )
    return {name: verdicts for name, *verdicts in rows}


def verdicts(checkup):
    from evalkit.wording.probe_verdicts import IN_WORDS

    return {finding.name: IN_WORDS[finding.verdict] for finding in checkup.findings}


@pytest.fixture(scope="module")
def checked():
    """Profile to its check."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for profile, key in KEYS.items():
            patch.setenv("CHECKED_KEY", key)
            script = Script(profile=profile, answer=obliging, key=key, models=(MODELS[profile],), law=Law(15, 10))
            with serve(script, process=True) as server:
                found[profile] = check_endpoint(ek.Endpoint(server.base_url, server.model, "CHECKED_KEY"))
    return found


def test_the_documentation_has_every_probe():
    assert list(documented()) == [probe.name for probe in PROBES]


def test_a_conforming_endpoint_raises_no_alarm(checked):
    found = verdicts(checked["openai"])
    alarms = [finding for finding in checked["openai"].findings if finding.verdict not in ("conforms", "not_judged")]
    assert not alarms
    assert found == {name: columns[0] for name, columns in documented().items()}


def test_each_documented_difference_of_taskingai_is_found_and_none_is_invented(checked):
    assert verdicts(checked["taskingai"]) == {name: columns[1] for name, columns in documented().items()}


def test_the_embedded_endpoint_behaves_as_documented(embedded):
    found = check_endpoint(embedded, only=QUICK[1:])
    assert verdicts(found) == {name: columns[2] for name, columns in documented().items() if name in QUICK}


def test_a_check_costs_what_it_says(checked):
    calls, tokens = budget()
    assert checked["openai"].calls_made <= calls
    assert checked["openai"].tokens < tokens
    assert sum(checked["openai"].counts.values()) == len(PROBES)


def test_verdicts_side_by_side_name_what_differs(checked):
    both = side_by_side([checked["openai"], checked["taskingai"]])
    assert {"stream_index", "max_tokens", "models"} < set(both["differing"])
    assert "answer_shape" not in both["differing"]


def test_no_key_is_in_any_result(checked):
    for profile, key in KEYS.items():
        assert key not in json.dumps(checked[profile].to_json()) + repr(checked[profile])


def test_a_key_that_the_endpoint_repeats_is_removed(monkeypatch):
    key = "sk-repeated-by-the-endpoint-42"
    monkeypatch.setenv("CHECKED_KEY", key)

    call = {"id": key, "type": "function", key: [{"at": {key: key}}], "number": 4_242_424_242}
    call |= {"function": {"name": "get_weather", "arguments": json.dumps({"city": key})}}

    def repeats(request):
        if request.get("messages") == []:
            return error(f"no messages, said {key}")
        if request.get("stream"):
            return None
        if any(message["role"] == "tool" for message in request["messages"]):
            return error("more fields are missing")  # so that every field of a call goes back
        if request.get("tools"):
            return reply(completion({"content": None, "tool_calls": [call]}, "tool_calls"), x_seen=key, **{key: "x"})
        return reply(completion({"content": f"your key is {key} " + "and so on " * 20}), x_seen=key)

    probes = ["answer_shape", "no_messages", "wrong_key", "tool_call", "tool_result", "stop"]
    monkeypatch.setenv("CHECKED_NUMBER", "4242424242")
    with behaving(repeats) as (base_url, requests):
        endpoint = ek.Endpoint(base_url, "m", "CHECKED_KEY", headers_env={"X-Gateway": "CHECKED_NUMBER"})
        found = check_endpoint(endpoint, only=probes)
    assert any(key in headers.get("Authorization", "") for headers, _ in requests)
    sent = [json.dumps(body) for _, body in requests]
    assert sum(key in body for body in sent) >= 2, "the call goes back"
    stored = json.dumps(found.to_json()["calls"])
    assert not [part for part in ("repeated", "by-the", "endpoint", "4242424242") if part in stored.lower()]
    assert key not in json.dumps(found.to_json())
    assert stored.count("***") > 10


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_a_key_in_the_error_of_an_endpoint_that_cannot_be_used_is_removed(status, monkeypatch):
    key = "sk-repeated-by-the-endpoint-42"
    monkeypatch.setenv("CHECKED_KEY", key)
    with (
        behaving(lambda request: error(f"wrong key {key}", status)) as (base_url, _),
        pytest.raises(ek.EndpointError, match="cannot be checked") as raised,
    ):
        check_endpoint(ek.Endpoint(base_url, "m", "CHECKED_KEY"))
    assert "***" in str(raised.value)
    assert "repeated" not in str(raised.value)


def test_a_call_too_deep_to_be_sent_back_does_not_end_the_check():
    call = {
        "id": "c",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city": "x"}'},
        "more": "DEEP",
    }

    def answers(request):
        if any(message["role"] == "tool" for message in request["messages"]):
            return error("more fields are missing")
        answer = json.dumps(completion({"content": None, "tool_calls": [call]}, "tool_calls"))
        return reply(answer.replace('"DEEP"', "[" * 300 + "]" * 300).encode()) if request.get("tools") else None

    with behaving(answers) as (base_url, _):
        found = check_endpoint(ek.Endpoint(base_url, "m"), only=["tool_call", "tool_result"])
    assert found["tool_call"].verdict != "failed"
    assert "tool result, with all fields of the call" not in found.exchanged


def test_the_key_is_not_sent_with_a_wrong_key(monkeypatch):
    monkeypatch.setenv("CHECKED_KEY", "sk-own-key-0123456789")
    with behaving() as (base_url, requests):
        check_endpoint(ek.Endpoint(base_url, "m", "CHECKED_KEY"), only=["wrong_key"])
    sent = [headers["Authorization"] for headers, _ in requests]
    assert sent == ["Bearer sk-own-key-0123456789", "Bearer sk-evalkit-check-0000000000"]


@pytest.mark.parametrize(("key", "variables", "sent"), [
    ("own-key-0123", {"X-Gateway": "gate-0123"}, {"Authorization": f"Bearer {WRONG_KEY}", "X-Gateway": "gate-0123"}),
    (None, {"X-Api-Key": "own-key-0123"}, {"Authorization": None, "X-Api-Key": WRONG_KEY}),
    (None, {"Authorization": "Basic YTpiYmJiYg==", "X-Gateway": "gate-0123"},
     {"Authorization": f"Bearer {WRONG_KEY}", "X-Gateway": "gate-0123"}),
    (None, {}, {"Authorization": f"Bearer {WRONG_KEY}"}),
])  # fmt: skip
def test_behind_a_gateway_only_the_key_is_wrong(key, variables, sent, monkeypatch):
    if key:
        monkeypatch.setenv("CHECKED_KEY", key)
    names = {name: f"CHECKED_{number}" for number, name in enumerate(variables)}
    for name, value in variables.items():
        monkeypatch.setenv(names[name], value)
    with behaving() as (base_url, requests):
        endpoint = ek.Endpoint(base_url, "m", "CHECKED_KEY" if key else None, headers_env=names)
        check_endpoint(endpoint, only=["wrong_key"])
    headers = requests[-1][0]
    assert {name: headers.get(name) for name in sent} == sent
    assert WRONG_KEY not in str(requests[0])


def test_an_interrupt_ends_the_calls():
    def slow(request):
        time.sleep(0.05)

    def interrupt(done, total):
        if done == 3:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with behaving(slow) as (base_url, requests):
            with pytest.raises(KeyboardInterrupt):
                check_endpoint(ek.Endpoint(base_url, "m"), watch=interrupt)
            assert "evalkit-check" not in {thread.name for thread in threading.enumerate()}
            time.sleep(0.1)  # what was sent before has arrived
            sent = len(requests)
            time.sleep(0.3)
            assert 3 <= len(requests) == sent < 20
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_call_that_hangs_is_a_verdict_and_the_others_go_on():
    def hangs(request):
        return (lambda file: time.sleep(1.5)) if request.get("messages") == [] else None

    with behaving(hangs) as (base_url, _):
        found = check_endpoint(ek.Endpoint(base_url, "m", timeout_s=0.4), only=["no_messages", "usage", "unknown_role"])
    assert found["no_messages"].verdict == "failed"
    assert found["no_messages"].came == "no answer within 0.4 s"
    assert found["usage"].verdict == "conforms"


def test_a_cut_answer_is_a_verdict():
    def cut(request):
        return (lambda file: file.write(stream(chunks())[:-80])) if request.get("stream") else None

    with behaving(cut) as (base_url, _):
        found = check_endpoint(ek.Endpoint(base_url, "m"), only=["stream_framing"])
    assert (found["stream_framing"].verdict, "closed" in found["stream_framing"].came) == ("failed", True)


def test_of_a_stream_without_measure_the_first_thousand_events_are_checked():
    def floods(request):
        return stream(chunks(*[{"content": "x"}] * 1_500)) if request.get("stream") else None

    with behaving(floods) as (base_url, _):
        found = check_endpoint(ek.Endpoint(base_url, "m"), only=["stream_shape"])
    assert found["stream_shape"].came == "every field of 1,000 events is of its type"


@pytest.mark.parametrize("strange", [
    [], {}, None, 7, "text", {"choices": 7}, {"choices": [7]}, {"choices": [{"message": 7}]}, {"choices": []},
    {"choices": [{"message": {"content": 7, "tool_calls": 7}}], "usage": 7, "id": [], "model": 7, "created": "x"},
    {"choices": [{"message": {"tool_calls": [7, {"function": 7}, {"id": {}}]}, "finish_reason": []}], "usage": {}},
    {"choices": [{"delta": {"tool_calls": [7, {"index": {}, "id": []}], "content": {}}, "index": {}, "logprobs": 7}]},
    {"choices": [{"message": {"content": "x"}, "logprobs": {"content": [7]}}], "data": 7},
])  # fmt: skip
def test_whatever_is_answered_no_probe_ends_the_check(strange):
    def answer(request):
        if request.get("messages") == [
            {"role": "user", "content": "Say hello in one short sentence."}
        ] and not request.get("stream"):
            return None  # the plainest request, which must be answered
        return stream([strange] * 3) if request.get("stream") else reply(strange)

    skipped = {"disconnect", "prompt_cache"}
    with behaving(answer, lambda path: reply(strange)) as (base_url, _):
        found = check_endpoint(
            ek.Endpoint(base_url, "m"), only=[each.name for each in PROBES if each.name not in skipped]
        )
    unread = [finding for finding in found.findings if "cannot be read" in finding.came]
    assert not unread
    json.dumps(found.to_json())


def test_a_model_that_thinks_gets_room_for_its_answer():
    def thinks(request):
        if request.get("stream"):
            return None
        enough = request.get("max_tokens", 10**6) > 500
        message = {"content": "35" if enough else "", "reasoning_content": "so"}
        return reply(completion(message, "stop" if enough else "length"))

    with behaving(thinks) as (base_url, requests):
        found = check_endpoint(ek.Endpoint(base_url, "m"), only=["usage_grows", "reasoning"])
    assert [request["max_tokens"] > 500 for _, request in requests] == [False, True, True]
    assert found["reasoning"].came == "in reasoning_content"


@pytest.mark.parametrize("limit", ["max_completion_tokens", None])
def test_another_name_of_the_limit_is_found(limit):
    def refuses(request):
        names = {"max_tokens", "max_completion_tokens"} & request.keys()
        return error("Unsupported parameter") if names - {limit} else None

    with behaving(refuses) as (base_url, requests):
        found = check_endpoint(ek.Endpoint(base_url, "m"), only=["usage", "answer_ids", "max_tokens"])
    assert found["usage"].verdict == "conforms"
    assert found["max_tokens"].verdict == "unsupported"
    assert limit is None or all(limit in request for _, request in requests[2:] if request.get("max_tokens") is None)


def test_a_redirect_within_the_host_is_followed_and_told():
    def moved(request):
        return reply(b"", 307, location="/v1/chat/completions?moved") if len(requests) < 2 else None

    with behaving(moved) as (base_url, requests):
        found = check_endpoint(ek.Endpoint(base_url, "m"), only=["redirect", "usage"])
    assert (found["redirect"].verdict, found["usage"].verdict) == ("differs", "conforms")


@pytest.mark.parametrize(("running", "verdict"), [(0, "conforms"), (2, "differs")])
def test_a_client_that_leaves_is_seen_in_the_metrics(running, verdict):
    def endless(file):
        file.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        for _ in range(40):
            file.write(b'data: {"choices": [{"index": 0, "delta": {"content": "x"}}]}\n\n')
            file.flush()
            time.sleep(0.05)

    def metrics(path):
        text = f'# HELP x\nvllm:num_requests_running{{model="m"}} {running}.0\n'
        return reply(text.encode(), kind="text/plain") if path == "/metrics" else None

    with behaving(lambda request: endless if request.get("stream") else None, metrics) as (base_url, _):
        found = check_endpoint(ek.Endpoint(base_url, "m"), only=["disconnect"])
    assert found["disconnect"].verdict == verdict, found["disconnect"].came


def test_an_endpoint_that_cannot_be_used_is_an_error():
    with (
        behaving(lambda request: error("Invalid API key", 401)) as (base_url, _),
        pytest.raises(ek.EndpointError, match="key"),
    ):
        check_endpoint(ek.Endpoint(base_url, "m"))
    with pytest.raises(ek.EndpointError, match="Nothing listens"):
        check_endpoint(ek.Endpoint("http://127.0.0.1:9", "m"))


def test_a_probe_that_there_is_not_is_refused():
    with pytest.raises(ek.SettingsError, match="did you mean 'max_tokens'"):
        ek.check_endpoint(ek.Endpoint("http://127.0.0.1:9", "m"), only=["max_token"])


def test_a_notebook_shows_the_table(checked):
    shown = checked["taskingai"]._repr_html_()
    assert shown.count("<tr") > len(PROBES)
    assert "ignored silently" in shown


def test_a_slow_endpoint_has_longer_limits(monkeypatch):
    monkeypatch.setattr(endpoint_check, "_SLOW_S", 0.02)
    monkeypatch.setattr(endpoint_check, "CALL_LIMIT_S", 0.1)

    def slow(request):
        time.sleep(0.2)

    with behaving(slow) as (base_url, requests):
        found = check_endpoint(ek.Endpoint(base_url, "m"), only=["usage", "unknown_role"])
    assert found["unknown_role"].verdict == "ignored"  # its call took twice the limit of a quick endpoint
    assert len(requests) == 3  # the plainest again, in case it had loaded its model
