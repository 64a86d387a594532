"""A request as code does what it shows: run by real shells and by Python, and read back from its cURL."""

import json
import os
import subprocess
import sys

import pytest
from hostile_requests import hostile_request
from recording_server import recording

import evalkit as ek
from evalkit.errors import SettingsError
from evalkit.replaying.chat_request import ChatRequest

SHELLS = ("sh", "bash", "dash")


@pytest.fixture(scope="module")
def server():
    with recording() as serving:
        yield serving


def body(*messages, **more):
    messages = messages or ({"role": "user", "content": "x"},)
    return json.dumps({"model": "m", "messages": messages, **more}).encode()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_sends_the_bytes_and_nothing_else(server, tmp_path, shell):
    """Several requests in one script; ten of them, and one that is longer than an argument may be."""
    server.received.clear()
    first = SHELLS.index(shell) * 11
    requests = [hostile_request(f"{server.base_url}/chat/completions", seed) for seed in range(first, first + 11)]
    script = "\n".join(request.curl() for request in requests)
    result = subprocess.run(
        [shell], input=script.encode(), capture_output=True, cwd=tmp_path, timeout=60,
        env={**os.environ, "THE_KEY": "k$e y"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert not list(tmp_path.iterdir())
    assert [received.body for received in server.received] == [request.body for request in requests]
    for received, request in zip(server.received, requests, strict=True):
        assert received.headers.get("Authorization") == ("Bearer k$e y" if request.key_env else None)
        assert received.headers.get("X-Note") == request.reached_by.headers.get("X-Note")
        assert received.headers["User-Agent"].startswith("evalkit/")
        assert "Expect" not in received.headers


def test_a_command_read_back_is_the_request():
    for seed in range(60):
        request = hostile_request("http://127.0.0.1:9/v1/chat/completions", seed)
        command = request.curl()
        assert all(character.isprintable() or character == "\n" for character in command)
        assert ek.from_curl(command) == request


def test_a_body_of_some_megabytes_is_not_announced(server):
    server.received.clear()
    request = ChatRequest(f"{server.base_url}/chat/completions", body({"role": "user", "content": "'" * 2_000_000}))
    subprocess.run(["sh"], input=request.curl().encode(), capture_output=True, check=True, timeout=60)
    (received,) = server.received
    assert received.body == request.body
    assert "Expect" not in received.headers
    assert ek.from_curl(request.curl()) == request


def test_the_program_asks_what_it_shows(server):
    server.received.clear()
    request = ChatRequest(f"{server.base_url}/chat/completions", body(temperature=0, top_k=3), "A_KEY", host_env="HOST")
    assert "sk-of-the-test" not in request.python()
    environment = {**os.environ, "A_KEY": "sk-of-the-test", "HOST": server.base_url.removesuffix("/v1")}
    result = subprocess.run([sys.executable, "-c", request.python()], capture_output=True, text=True, env=environment)
    assert result.stdout == "It is 35.\n", result.stderr
    assert json.loads(server.received[0].body) == request.json


CALL = {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
TOOLS = [{"type": "function", "function": {"name": "add"}}]


@pytest.mark.parametrize(
    "sent",
    [
        body(),
        body(stream=True),
        body({"role": "system", "content": "S"}, {"role": "user", "content": "x"}, stream=True, temperature=0.5),
        body({"role": "developer", "content": "S"}, {"role": "user", "content": "x"}),
        body({"role": "user", "content": [IMAGE]}, stream=True, stream_options={"include_usage": True}),
        body(
            {"role": "user", "content": "q"}, {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c", "name": "add", "content": "3"}, {"role": "user", "content": "x"},
            tools=TOOLS, tool_choice="none",
        ),
    ],
)  # fmt: skip
def test_endpoint_and_conversation_send_what_the_request_has(server, sent):
    server.received.clear()
    request = ChatRequest(f"{server.base_url}/chat/completions", sent)
    (record,) = ek.converse(request.conversation, request.endpoint, stream=request.stream)
    assert record.answer.text == "It is 35."
    got = json.loads(server.received[0].body)
    assert got == {"stream": False, **request.json}
    assert request.conversation.to_json()["turns"] == [{"user": got["messages"][-1]["content"]}]


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (body({"role": "assistant", "content": "x"}), "the last message of the request is not one of the user"),
        (body({"role": "user", "content": "x", "name": "me"}), "keys that a turn cannot have: name"),
        (body({"role": "user", "content": 3}), "cannot be a conversation"),
        (body({"role": "pilot", "content": "x"}, {"role": "user", "content": "x"}), "cannot be a conversation"),
        (body(5), "is not one of the user"),
    ],
)
def test_messages_that_are_no_conversation(sent, words):
    with pytest.raises(SettingsError, match=words):
        ChatRequest("http://h/v1/chat/completions", sent).conversation  # noqa: B018


def test_a_request_without_a_model_has_no_endpoint():
    with pytest.raises(SettingsError, match="names no model"):
        ChatRequest("http://h/v1/chat/completions", b'{"messages": [1]}').endpoint  # noqa: B018
