"""A recording served again, over real HTTP: runs that ask it get what was recorded, and nobody without the key."""

import contextlib
import http.client
import json
import os
import resource
import socket
import threading
from urllib.parse import urlsplit

import pytest

import evalkit as ek
from evalkit.errors import RunFileError, SettingsError
from evalkit.recorded import player
from evalkit.recorded.exchange import BROKEN, SILENT, Exchange, Piece
from evalkit.recorded.recording_file import RecordingWriter
from evalkit.scripted.server import Calling, Fault, Law, Script, serve

FAULTS = ("server_error", "rate_limited", "eof_midway", "error_event", "empty", "reset_before_headers", "reset_midway",
          "reasoning", "no_done", "early_role", "group_tokens", "cut_utf8", "html_error", "broken_json")  # fmt: skip
ADD = {"type": "function", "function": {"name": "add", "parameters": {
    "type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}}}}  # fmt: skip
ROWS = [
    *({"id": name, "turns": [{"user": f"fault {name}"}]} for name in FAULTS),
    {"id": "two", "system": "Be brief.", "turns": [{"user": "What is 12 + 23?"}, {"user": "And 3 more?"}]},
    {"id": "sampled", "params": {"temperature": 0.5}, "turns": [{"user": "Hi"}]},
]
SAID = ["conversation", "repeat", "turn", "status", "answer", "reasoning", "finish_reason", "error_kind", "http_status",
        "prompt_tokens", "output_tokens", "tool_calls"]  # fmt: skip


def data(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(rows, endpoint, out, **settings):
    return ek.evaluate(rows, endpoint, out=out, check=False, retries=0, **settings)


def said(run, columns=SAID):
    return json.loads(run.turns()[columns].sort_values(columns[:3]).to_json(orient="values"))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run of every kind of answer, and its dataset."""
    where = tmp_path_factory.mktemp("recorded")
    rows = data(where / "rows.jsonl", ROWS)
    faults = tuple(Fault(name, prompt=f"fault {name}") for name in FAULTS)
    with serve(Script(faults=faults, law=Law(ttft_ms=120, itl_ms=20, tokens=6))) as server:
        endpoint = ek.Endpoint(server.base_url, server.model, params={"max_tokens": 20}, ttft_timeout_s=5)
        return run(rows, endpoint, where / "first.evalkit", repeats=2, seed=3), rows


def test_a_run_against_its_own_recording_gets_the_same_answers_and_errors(recorded, tmp_path):
    first, rows = recorded
    params = {"max_tokens": 20}
    with ek.recorded_endpoint(first.path, timings="none", params=params) as endpoint:
        again = run(rows, endpoint, tmp_path / "again.evalkit", repeats=2, seed=3)
    assert len(said(first)) == 2 * (len(ROWS) + 1)
    assert said(again) == said(first)
    kinds = {row[7] for row in said(first)}
    assert {"server", "rate_limited", "truncated", "empty", "connection", "protocol"} <= kinds


def test_the_recorded_times_come_again(recorded, tmp_path):
    first, _ = recorded
    rows = data(tmp_path / "two.jsonl", [row for row in ROWS if row["id"] in ("two", "group_tokens")])
    with ek.recorded_endpoint(first.path, params={"max_tokens": 20}) as endpoint:
        again = run(rows, endpoint, tmp_path / "again.evalkit", repeats=2, seed=3, concurrency=1)
    keys = ["conversation", "repeat", "turn"]
    both = again.turns().merge(first.turns(), on=keys, suffixes=("", "_first"))
    assert len(both) == 6
    for metric in ("ttft_ms", "latency_ms"):
        late = both[metric] - both[f"{metric}_first"]
        assert late.min() > -1, both[[*keys, metric, f"{metric}_first"]]  # never earlier


def test_no_wait_is_longer_than_what_was_recorded(tmp_path):
    waits = []

    class Ending(threading.Event):
        def wait(self, timeout=None):
            waits.append(timeout)
            return False

    exchange = answered("1", asked("Hi"), headers_ms=30_000, end_ms=90_000)
    exchange = exchange._replace(pieces=(Piece(20_000, exchange.body),))
    with served(tmp_path, exchange, timings="recorded") as server:
        server.ending = Ending()
        assert text_of(send(server, asked("Hi"))) == "1"
    headers, piece, end = waits  # the headers no later than the first piece
    assert 0 < piece <= headers <= 20 < end <= 90


def test_streams_come_whole_and_whole_answers_as_streams(recorded, tmp_path):
    first, _ = recorded
    same = ["conversation", "repeat", "turn", "status", "answer", "reasoning", "finish_reason", "output_tokens"]
    wanted = {"two", "sampled", "reasoning", "no_done"}
    rows = data(tmp_path / "rows.jsonl", [row for row in ROWS if row["id"] in wanted])
    with ek.recorded_endpoint(first.path, timings="none", params={"max_tokens": 20}) as endpoint:
        whole = run(rows, endpoint, tmp_path / "whole.evalkit", repeats=2, seed=3, stream=False)
    assert whole.turns().ttft_ms.isna().all()
    assert said(whole, same) == [row for row in said(first, same) if row[0] in wanted]
    with ek.recorded_endpoint(whole.path, timings="none", params={"max_tokens": 20}) as endpoint:
        streamed = run(rows, endpoint, tmp_path / "streamed.evalkit", repeats=2, seed=3)
    assert streamed.turns().ttft_ms.notna().all()
    assert said(streamed, same) == said(whole, same)


def test_calls_their_results_and_what_follows_come_again(tmp_path):
    turns = [{"user": "What is 12 + 23?"}, {"user": "What is 4 + 5?"}]
    rows = data(tmp_path / "r.jsonl", [{"id": "c", "tools": [ADD], "tool_results": {"add": 35}, "turns": turns}])
    with serve(Script(answer=Calling())) as server:
        first = run(rows, ek.Endpoint(server.base_url, server.model), tmp_path / "first.evalkit")
    with ek.recorded_endpoint(first.path, timings="none") as endpoint:
        again = run(rows, endpoint, tmp_path / "again.evalkit")
        whole = run(rows, endpoint, tmp_path / "whole.evalkit", stream=False)
    assert [row[3] for row in said(first)] == ["answered", "answered"]
    assert all(row[-1] for row in said(first))
    assert said(again) == said(whole) == said(first)


# --- one request, any client


def served(tmp_path, *exchanges, **settings):
    file = tmp_path / "recording.jsonl"
    with RecordingWriter(file, "tiny", overwrite=True) as writer:
        for exchange in exchanges:
            writer.add(exchange)
    return player.playing(file, **{"timings": "none", **settings})


def asked(text, **more):
    return {"model": "tiny", "messages": [{"role": "user", "content": text}], **more}


def answered(text, request, **fields):
    body = {"id": "1", "choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}]}
    pieces = (Piece(5.0, json.dumps(body).encode()),)
    headers = {"content-type": "application/json"}
    return Exchange("POST /chat/completions", request, 200, headers, pieces, **fields)


def send(server, body, *, key=None, method="POST", path="/v1/chat/completions", headers=()):
    address = urlsplit(server.base_url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
    token = os.environ[server.key_env] if key is None else key
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path, content, {"Authorization": f"Bearer {token}", **dict(headers)})
    with connection.getresponse() as response:
        text = response.read()
    connection.close()
    return response.status, text


def text_of(answer):
    return json.loads(answer[1])["choices"][0]["message"]["content"]


def test_the_kth_request_gets_the_kth_recording_and_then_the_first_again(tmp_path):
    exchanges = [answered(text, asked("Hi")) for text in ("one", "two", "three")]
    with served(tmp_path, *exchanges, answered("other", asked("Bye"))) as server:
        got = [text_of(send(server, asked("Hi"))) for _ in range(4)]
        assert text_of(send(server, asked("Bye"))) == "other"
    assert got == ["one", "two", "three", "one"]


def test_a_request_that_was_not_recorded_is_refused_with_the_nearest(tmp_path):
    with served(tmp_path, answered("1", asked("What is 1+1?")), answered("2", asked("Tell a joke", seed=1))) as server:
        status, text = send(server, asked("What is 1+2?", temperature=0))
    error = json.loads(text)["error"]
    assert (status, error["code"], error["param"]) == (404, "request_not_recorded", "messages[0].content")
    assert '"What is 1+2?" here, "What is 1+1?" recorded' in error["message"]
    assert "temperature: 0 here, nothing recorded" in error["message"]


def test_a_route_that_was_not_recorded_says_so(tmp_path):
    with served(tmp_path, answered("1", asked("Hi"))) as server:
        status, text = send(server, asked("Hi"), path="/v1/embeddings")
        assert (status, "no request POST /embeddings" in text.decode()) == (404, True)
        status, text = send(server, b"", method="GET", path="/v1/models")
    assert (status, json.loads(text)["data"][0]["id"]) == (200, "tiny")


@pytest.mark.parametrize("key", ["", "wrong", "k" * 10_000, "schlüssel"])
def test_without_the_key_nothing_is_answered(tmp_path, key):
    with served(tmp_path, answered("secret", asked("Hi"))) as server:
        status, text = send(server, asked("Hi"), headers={"Authorization": f"Bearer {key}".encode()}.items())
    assert (status, b"secret" in text) == (401, False)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Length": "99999999999"}, 413),
        ({"Content-Length": "9" * 5000}, 400),
        ({"Content-Length": "-1"}, 400),
        ({"Transfer-Encoding": "chunked"}, 400),  # http.client adds no length then, and the body is no chunk
    ],
)
def test_a_body_that_cannot_be_read_is_refused(tmp_path, headers, status):
    with served(tmp_path, answered("1", asked("Hi"))) as server:
        assert send(server, b"{}\r\n", headers=headers.items())[0] == status


def test_chunked_requests_and_broken_json_are_read(tmp_path):
    broken = Exchange("POST /chat/completions", '{"model": ', 400, {"content-type": "text/plain"}, (Piece(0, b"no"),))
    with served(tmp_path, answered("1", asked("Hi")), broken) as server:
        content = json.dumps(asked("Hi")).encode()
        chunks = b"%x\r\n%s\r\n%x;x=1\r\n%s\r\n0\r\n\r\n" % (5, content[:5], len(content) - 5, content[5:])
        assert text_of(send(server, chunks, headers={"Transfer-Encoding": "chunked"}.items())) == "1"
        assert send(server, b'{"model": ') == (400, b"no")


def test_a_silent_answer_stays_silent_until_the_client_leaves_or_the_server_ends(tmp_path):
    silent = Exchange("POST /chat/completions", asked("Hi"), None, ending=SILENT)
    broken = Exchange("POST /chat/completions", asked("Bye"), None, ending=BROKEN)
    with served(tmp_path, silent, broken) as server:
        with pytest.raises(http.client.RemoteDisconnected):
            send(server, asked("Bye"))
        address = urlsplit(server.base_url)
        with socket.create_connection((address.hostname, address.port), timeout=0.3) as waiting:
            body = json.dumps(asked("Hi")).encode()
            key = os.environ[server.key_env]
            waiting.sendall(
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            with pytest.raises(TimeoutError):
                waiting.recv(1)
            server.ending.set()
            waiting.settimeout(60)  # the silence would last ten minutes
            assert waiting.recv(1) == b""


def test_a_silent_answer_stays_silent_with_many_open_files_and_when_more_is_sent(tmp_path):
    silent = Exchange("POST /chat/completions", asked("Hi"), None, ending=SILENT)
    body = json.dumps(asked("Hi")).encode()
    with served(tmp_path, silent) as server, contextlib.ExitStack() as files:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        files.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_048), hard))
        null = os.open(os.devnull, os.O_RDONLY)
        files.callback(os.close, null)
        while null < 1_100:
            null = os.dup(null)
            files.callback(os.close, null)
        address = urlsplit(server.base_url)
        with socket.create_connection((address.hostname, address.port), timeout=1) as waiting:
            head = f"Host: x\r\nAuthorization: Bearer {os.environ[server.key_env]}\r\nContent-Length: {len(body)}\r\n"
            waiting.sendall(f"POST /v1/chat/completions HTTP/1.1\r\n{head}\r\n".encode() + body + b"GET")
            with pytest.raises(TimeoutError):
                waiting.recv(1)


@pytest.mark.parametrize("target", ["http://[x/v1/models", "//[x", "/v1/models?a=http://[x"])
def test_an_address_that_is_none_is_answered(tmp_path, target, capfd):
    with served(tmp_path, answered("1", asked("Hi"))) as server:
        address = urlsplit(server.base_url)
        with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
            key = os.environ[server.key_env]
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
            assert connection.recv(12) == (b"HTTP/1.1 200" if target.startswith("/v1") else b"HTTP/1.1 404")
    assert capfd.readouterr().err == ""


def test_a_variable_that_is_set_but_empty_gets_a_random_key(tmp_path, monkeypatch):
    monkeypatch.setenv("EVALKIT_RECORDED_KEY", "")
    with served(tmp_path, answered("1", asked("Hi"))) as server:
        assert len(os.environ[server.key_env]) > 20
        assert text_of(send(server, asked("Hi"))) == "1"


@pytest.mark.parametrize("index", [[1], {}, None, "0", True])
def test_a_stream_with_an_index_that_is_none_is_served_whole(tmp_path, index, capfd):
    chunk = {"choices": [{"index": index, "message": "x", "delta": {"content": "1"}}]}
    pieces = (Piece(0.0, f"data: {json.dumps(chunk)}\n\n".encode() * 2),)
    stream = Exchange(
        "POST /chat/completions", asked("Hi", stream=True), 200, {"content-type": "text/event-stream"}, pieces
    )
    with served(tmp_path, stream) as server:
        assert json.loads(send(server, asked("Hi"))[1])["choices"][0]["message"]["content"] == "11"
    assert capfd.readouterr().err == ""


def test_what_cannot_be_served_is_refused_in_words(tmp_path):
    with pytest.raises(SettingsError, match="timings must be 'recorded' or 'none'"), served(tmp_path, timings="fast"):
        pass
    with (
        served(tmp_path) as server,
        pytest.raises(SettingsError, match=r"port \d+ .* cannot be used"),
        served(tmp_path, port=server.server_port),
    ):
        pass
    with pytest.raises(SettingsError, match="NO_SUCH_KEY"), served(tmp_path, key_env="NO_SUCH_KEY"):
        pass
    (tmp_path / "cut.evalkit").write_bytes(b"SQLite format 3\0")
    with pytest.raises(RunFileError, match="cut short"), ek.recorded_endpoint(tmp_path / "cut.evalkit"):
        pass
