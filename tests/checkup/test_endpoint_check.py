"""``check_endpoint`` against whole endpoints: every verdict of the documentation's table, failures, and secrets."""

import json
import re
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

    def repeats(request):
        if request.get("messages") == []:
            return error(f"no messages, said {key}")
        return None if request.get("stream") else reply(completion({"content": f"your key is {key}"}), x_seen=key)

    with behaving(repeats) as (base_url, requests):
        found = check_endpoint(
            ek.Endpoint(base_url, "m", "CHECKED_KEY"), only=["answer_shape", "no_messages", "wrong_key"]
        )
    assert any(key in headers.get("Authorization", "") for headers, _ in requests)
    assert key not in json.dumps(found.to_json())
    assert "***" in json.dumps(found.to_json())


def test_the_key_is_not_sent_with_a_wrong_key(monkeypatch):
    monkeypatch.setenv("CHECKED_KEY", "sk-own-key-0123456789")
    with behaving() as (base_url, requests):
        check_endpoint(ek.Endpoint(base_url, "m", "CHECKED_KEY"), only=["wrong_key"])
    sent = [headers["Authorization"] for headers, _ in requests]
    assert sent == ["Bearer sk-own-key-0123456789", "Bearer sk-evalkit-check-0000000000"]


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
