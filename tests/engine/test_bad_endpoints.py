"""Endpoints that cannot be used, over real HTTP: the whole message that the user reads."""

import json

import pytest

import evalkit as ek
from evalkit.scripted.server import Fault, Law, Script, serve

KEY = "tkQ7Zx2Wb9Lm4Rt6Yc8Nv1Hp3Js5Gd0K"
OTHER_KEY = "tkM4Vd8Sx1Fq6Jh2Zr9Bn3Tw7Lc5Pg0Y"


@pytest.fixture
def message_of(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    data = tmp_path / "one.jsonl"
    data.write_text(json.dumps({"id": "one", "turns": [{"user": "hello"}]}) + "\n", encoding="utf-8")

    def ask(base_url, model="scripted", **fields):
        with pytest.raises(ek.EndpointError) as caught:
            ek.evaluate(data, ek.Endpoint(base_url, model, **fields), out=tmp_path / "r.evalkit", retries=0)
        kind, _, sentence = str(caught.value).removeprefix("The only turn failed ").partition(", none was answered. ")
        return kind.strip("()"), sentence.replace(base_url.split("/")[2], "HOST")

    return ask


CASES = {
    "a wrong key": (
        Script(key=OTHER_KEY), {"key_env": "MY_KEY"}, "auth",
        'The endpoint refused the API key (HTTP 401, invalid_api_key, request req_00000001): "The API key given is '
        'not correct". Check that the key is set, complete and meant for this endpoint.',
    ),
    "a wrong key, at TaskingAI": (
        Script(profile="taskingai", key=OTHER_KEY), {"key_env": "MY_KEY", "model": "X5lMscriptedassistant000"}, "auth",
        "The endpoint does not know this API key (HTTP 404, OBJECT_NOT_FOUND). The key is wrong or belongs to another "
        "service: copy it again.",
    ),
    "no key": (
        Script(key=OTHER_KEY), {}, "auth",
        "The endpoint refused the API key (HTTP 401, invalid_request_error, request req_00000001): \"No API key was "
        "given: send it as 'Authorization: Bearer KEY'\". Check that the key is set, complete and meant for this "
        "endpoint.",
    ),
    "a wrong model": (
        Script(models=("real",)), {"model": "made-up"}, "not_found",
        "The endpoint did not find what was requested (HTTP 404, model_not_found, request req_00000001): \"The model "
        "'made-up' does not exist, or you may not use it\". Check the model name or assistant id, and the base URL.",
    ),
    "a wrong model, at TaskingAI": (
        Script(profile="taskingai", key=KEY), {"key_env": "MY_KEY", "model": "made-up"}, "bad_request",
        'The endpoint refused the request (HTTP 422, REQUEST_VALIDATION_ERROR): "Invalid model_id: made-up". Check the '
        "model name or assistant id.",
    ),
    "an error page in HTML": (
        Script(faults=[Fault("html_error")]), {}, "server",
        "The endpoint failed (HTTP 502): \"502 Bad Gateway\". Try again; if it keeps failing, check the endpoint's "
        "log.",
    ),
    "no answer at all": (
        Script(faults=[Fault("silence", options={"headers": False})]), {"timeout_s": 0.3}, "timeout",
        "No complete answer within 0.3 s (timeout_s): HOST has sent nothing. Raise the limit, lower the load or set "
        "max_tokens.",
    ),
    "no first token": (
        Script(faults=[Fault("silence", options={"headers": False})]), {"ttft_timeout_s": 0.3}, "timeout",
        "No first token within 0.3 s (ttft_timeout_s): HOST has sent nothing. Raise the limit or lower the load.",
    ),
    "TLS spoken to a plain port": (
        Script(law=Law()), {"scheme": "https", "connect_timeout_s": 0.3}, "timeout",
        "No TLS handshake with HOST within 0.3 s (connect_timeout_s): if it speaks plain HTTP, use http:// in the base "
        "URL.",
    ),
    "a redirect to another host": (
        Script(faults=[Fault("redirect", options={"to": "https://elsewhere.example/v1/chat/completions"})]), {},
        "protocol",
        "The endpoint HOST answered with a redirect (HTTP 307) to https://elsewhere.example/v1, another host or port: "
        "the key is not sent there. If you trust that address, set it as base URL.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_bad_endpoint_gives_a_message_with_a_remedy(case, message_of):
    script, fields, kind, sentence = CASES[case]
    fields = dict(fields)
    scheme = fields.pop("scheme", "http")
    with serve(script) as server:
        assert message_of(server.base_url.replace("http:", f"{scheme}:"), **fields) == (kind, sentence)


def test_nothing_listens(message_of):
    assert message_of("http://127.0.0.1:9") == (
        "connection",
        "Nothing listens on HOST: is the server started, and is the port in the base URL right?",
    )


def test_an_unknown_host(message_of):
    kind, sentence = message_of("http://nosuchhost.invalid")
    assert kind == "connection"
    # the words in the brackets are the system's own
    before, _, after = sentence.partition(" (")
    assert before == "The host name HOST cannot be resolved"
    assert after.partition("): ")[2] == "check the base URL for a typo, and this machine's network."
