"""The key is in nothing that is stored or shown."""

import asyncio
import json
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import pytest_generate_tests  # noqa: F401  (runs each test that takes ``run`` on both loops)
from raw_server import DONE, LAST_CHUNK, STREAM_HEAD, answer, ask, chunk, completion, send, serving, writes

from evalkit import Endpoint
from evalkit.client.redaction import redact_answer, redact_failure
from evalkit.client.transport import Transport
from evalkit.conversation import ToolCall
from evalkit.errors import Failure, sent
from evalkit.record import Answer

LETTERS = st.sampled_from(string.ascii_lowercase[:4] + "-")  # few, so that texts and keys share parts


@given(key=st.text(LETTERS, min_size=5, max_size=20), text=st.text(LETTERS, max_size=80))
def test_no_five_characters_of_the_key_in_a_row_are_left(key, text):
    failure = redact_failure(Failure("auth", text, 401, text, 1.5), (key,), "")
    for shown in (failure.message, failure.code):
        assert not [part for at in range(len(shown) - 4) if (part := shown[at : at + 5]) in key]
    assert (failure.kind, failure.http_status, failure.retry_after_s) == ("auth", 401, 1.5)


@given(key=st.text("abcd", min_size=5), text=st.text("efgh -"))
def test_what_has_nothing_of_the_key_stays(key, text):
    assert redact_failure(Failure("server", text), (key,), "").message == text


@pytest.mark.parametrize(
    ("key", "public", "text", "shown"),
    [
        ("ollama", "llama3 http://localhost/v1", "model llama3 is not there", "model llama3 is not there"),
        ("ollama", "llama3 http://ollama/v1", "no ollama here", "no *** here"),
        ("sk-1234567890", "m", "key 4567 … 34567 … sk-12", "key 4567 … *** … ***"),
        ("sk-1234567890", "m", "sk-1234567890sk-1234567890", "******"),
        ("key", "m", "a key of three letters is none", "a key of three letters is none"),
    ],
)
def test_parts_of_a_key(key, public, text, shown):
    assert redact_failure(Failure("auth", text), (key,), public).message == shown


def test_an_answer_loses_the_whole_key_wherever_it_stands():
    key = "sk-1234567890"
    answer = Answer(key, f"a{key}", f"{key}b", (ToolCall(f"f{key}", f'"{key}"', key), ToolCall("f", "", None)), key)
    assert redact_answer(answer, key) == Answer(
        "***", "a***", "***b", (ToolCall("f***", '"***"', "***"), ToolCall("f", "", None)), "***"
    )


def test_an_answer_keeps_what_only_looks_like_the_key():
    answer = Answer("sk-123456789 and ollama")
    assert redact_answer(answer, "sk-1234567890") is answer
    assert redact_answer(answer, "ollama") is answer


KEY = "sk-1234567890"
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SIGNED = {"provider_specific_fields": {"thought_signature": "c2lnbmVk"}}
WITH_THE_KEY = {
    "of a call": {"tool_calls": [CALL | {"provider_specific_fields": {"authorization": f"Bearer {KEY}"}}]},
    "of a function": {"tool_calls": [CALL | {"function": CALL["function"] | {"extra": [1, {"seen": [KEY]}]}}]},
    "as a name": {"tool_calls": [CALL | {"extra_content": {f"key {KEY}": None, "other": {KEY: 1}}}]},
    "of a message": {"tool_calls": [CALL], "provider_specific_fields": {"headers": [["api-key", KEY]]}},
    "of a thought": {"tool_calls": [CALL], "reasoning_details": [{"type": "reasoning.text", "text": f"I am {KEY}"}]},
}


@pytest.mark.parametrize("form", WITH_THE_KEY)
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("setting", [{"key_env": "THE_KEY"}, {"headers_env": {"X-Access": "THE_KEY"}}])
def test_the_further_keys_of_a_call_lose_the_key(run, monkeypatch, form, stream, setting):
    monkeypatch.setenv("THE_KEY", KEY)
    found = asked(run, WITH_THE_KEY[form], stream, **setting)
    assert found.tool_calls[0].name == "f"
    assert KEY not in repr(found)
    assert "***" in repr((found.tool_calls[0].extra, found.extra))


@pytest.mark.parametrize("stream", [True, False])
def test_signatures_stay_where_the_key_is_in_the_text(run, monkeypatch, stream):
    monkeypatch.setenv("THE_KEY", KEY)
    found = asked(run, {"content": f"With {KEY}", "tool_calls": [CALL | SIGNED], **SIGNED}, stream, key_env="THE_KEY")
    assert (found.text, found.extra, found.tool_calls[0].extra) == ("With ***", SIGNED, SIGNED)


def test_a_key_of_digits_is_no_number_either():
    answer = Answer(
        "", tool_calls=(ToolCall("f", "{}", None, {"account": 1234567890, "n": 1}),), logprobs={"content": []}
    )
    assert redact_answer(answer, "1234567890") == Answer(
        "", tool_calls=(ToolCall("f", "{}", None, {"account": "***", "n": 1}),)
    )


def asked(run, message, stream, **endpoint):
    if stream:
        body = json.dumps({"choices": [{"delta": message, "finish_reason": "tool_calls"}]}).encode()
        handler = writes(STREAM_HEAD + chunk(b"data: " + body + b"\n\n") + chunk(DONE) + LAST_CHUNK)
    else:
        body = json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}]}).encode()
        handler = writes(answer("200 OK", body))
    ((attempt,), _) = ask(run, handler, stream=stream, **endpoint)
    assert attempt.failure is None
    return attempt.answer


ECHO = "<<QQQQQQQQ>>"  # what the endpoint repeats: the key between marks, so that it can be found


def error(status, **body):
    return answer(status, json.dumps({"error": {"message": f"no {ECHO} here", **body}}).encode())


REPLIES = {
    "401": error("401 Unauthorized", code="invalid_key"),
    "404": error("404 Not Found"),
    "400": error("400 Bad Request", type=f"a {ECHO} type"),
    "429": error("429 Too Many Requests"),
    "500": error("500 Internal Server Error"),
    "html": answer("502 Bad Gateway", f"<html><title>bad {ECHO}</title></html>".encode(), "text/html"),
    "request id": answer("500 Internal Server Error", b"{}", **{"x-request-id": ECHO}),
    "no reason": answer("503 Service Unavailable", b""),
    "broken JSON": answer("200 OK", f'{{"a": {ECHO}'.encode()),
    "no answer": answer("200 OK", f'{{"choices": "{ECHO}"}}'.encode()),
    "other type": answer("200 OK", b"<p>", f"text/{ECHO}"),
    "redirect": answer("302 Found", location=f"/{ECHO}"),
    "broken event": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {" + ECHO.encode() + b"\n\n",
    "other protocol": f"220 {ECHO} mail\r\n".encode(),
    "empty": answer("200 OK", completion("").replace(b'"stop"', b"null")),
    "truncated": b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + completion("")[:40],
    "stopped": b"HTTP/1.1 200 OK\r\nContent-Length: 50",
    "closed": b"",
}


@pytest.mark.parametrize("reply", REPLIES)
def test_a_key_that_is_one_of_our_words_blots_out_only_what_the_endpoint_sent(run, monkeypatch, reply):
    def failure_of(key):
        async def handler(request, writer):
            writer.write(REPLIES[reply].replace(b"QQQQQQQQ", key.encode()))
            writer.close()

        async def go():
            async with serving(handler, key_env="THE_KEY") as (server, transport):
                attempt = await send(transport, stream=reply == "broken event")
                return attempt.failure, str(server.port)

        failure, port = run(go())
        return failure.kind, failure.message.replace(port, "PORT"), failure.code

    def redacted(text, key):
        return text and re.sub(f'(?<=<<|3C){key}(?=>>|%3E|")', "***", text, flags=re.IGNORECASE)

    monkeypatch.delenv("THE_KEY", raising=False)
    sent_itself = REPLIES[reply].decode().partition("\r\n\r\n")[2] + ECHO
    words = {
        word
        for word in re.findall(r"[A-Za-z_]{5,}", failure_of("QQQQQQQQ")[1])
        if word not in sent_itself and "QQ" not in word
    }
    assert words
    for key in sorted(words)[:12]:
        kind, message, code = failure_of(key)
        monkeypatch.setenv("THE_KEY", key)
        assert failure_of(key) == (kind, redacted(message, key), redacted(code, key)), key
        monkeypatch.delenv("THE_KEY")


@pytest.mark.parametrize("key", ["connection", "timeout", "Nothing", "listens"])
def test_failures_without_any_answer_stay_as_they_are(run, monkeypatch, key):
    async def silent(request, writer):
        await asyncio.sleep(5)

    async def go():
        async with serving(silent, key_env="THE_KEY", timeout_s=0.2) as (_, transport):
            late = (await send(transport)).failure
        async with Transport(Endpoint("http://127.0.0.1:9", "m", "THE_KEY")) as transport:
            return late, (await send(transport)).failure

    monkeypatch.setenv("THE_KEY", key)
    with_key = run(go())
    monkeypatch.delenv("THE_KEY")
    assert [re.sub(r":\d+", "", each.message) for each in with_key] == [
        re.sub(r":\d+", "", each.message) for each in run(go())
    ]
    assert [each.kind for each in with_key] == ["timeout", "connection"]


def test_codes_that_evalkit_acts_on_stay():
    failure = Failure("rate_limited", "a", 429, "insufficient_quota")
    assert redact_failure(failure, ("insufficient_quota",), "").code == "insufficient_quota"


def test_what_an_endpoint_sends_cannot_end_its_own_marks():
    failure = Failure("auth", f"Refused: {sent(f'a{chr(3)}secret-key{chr(2)}b')}. Ours: secret-key.")
    assert failure.message == "Refused: asecret-keyb. Ours: secret-key."
    assert redact_failure(failure, ("secret-key",), "").message == "Refused: a***b. Ours: secret-key."
