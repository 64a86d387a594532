"""The recorder, in front of the scripted server: what any client sends and gets is in the file, the key is not."""

import http.client
import json
import os
import socket
import threading
from urllib.parse import urlsplit

import pytest

import evalkit as ek
from evalkit.errors import MissingExtra, SettingsError
from evalkit.local import server as local_server
from evalkit.local.server import LocalServer
from evalkit.recorded import player, recording_file
from evalkit.recorded import recorder as recorder_module
from evalkit.recorded.loopback_server import named_key
from evalkit.recorded.recorder import RecordingServer
from evalkit.recorded.recording_file import RecordingWriter
from evalkit.scripted.server import Fault, Law, Script, serve


@pytest.fixture
def recorder(tmp_path):
    """Start a recorder in front of a scripted server with these faults."""
    faults = (Fault("server_error", prompt="fail"), Fault("reset_midway", prompt="break"))
    key_env = named_key(None)
    ended = threading.Event()

    def model_ended():
        ended.wait(30)
        return 3

    with serve(Script(faults=faults, law=Law(ttft_ms=30, itl_ms=15, tokens=5))) as server:
        local = LocalServer(server.base_url, server.model, key_env, os.getpid(), model_ended)
        with RecordingServer(key_env=key_env) as recording, recording.recording(local, tmp_path / "r.jsonl"):
            recording.end_model = ended.set
            yield recording
    ended.set()


def chunks(client, text, model="scripted"):
    messages = [{"role": "user", "content": text}]
    stream = client.chat.completions.create(model=model, messages=messages, stream=True)
    return [chunk.to_json() for chunk in stream]


def test_every_client_gets_again_what_it_got(recorder, tmp_path):
    def seen(server):
        endpoint = ek.Endpoint(server.base_url, server.model, server.key_env)
        client = endpoint.openai()
        whole = client.chat.completions.create(model=server.model, messages=[{"role": "user", "content": "Hi"}])
        turns = ek.converse(ek.Conversation("c", (ek.Turn("Hello"), ek.Turn("And then?"))), endpoint)
        return [whole.to_json(), chunks(client, "Hi"), [turn.answer.text for turn in turns]]

    first = seen(recorder)
    exchanges = recording_file.read(tmp_path / "r.jsonl").exchanges
    assert [each.status for each in exchanges] == [200] * 4
    times = [piece.at_ms for piece in exchanges[1].pieces]
    assert times == sorted(times)
    assert 30 <= times[0] <= times[-1] <= exchanges[1].end_ms  # the first token comes after 30 ms, never earlier
    with player.playing(tmp_path / "r.jsonl", timings="none", key_env=recorder.key_env) as server:
        assert seen(server) == first


def test_errors_and_broken_answers_are_recorded(recorder, tmp_path):
    client = ek.Endpoint(recorder.base_url, recorder.model, recorder.key_env).openai()
    with pytest.raises(Exception, match="500"):
        chunks(client, "fail")
    with pytest.raises(Exception, match=r"(?i)incomplete|connection"):
        chunks(client, "break")
    failed, broken = recording_file.read(tmp_path / "r.jsonl").exchanges
    assert (failed.status, failed.ending) == (500, "complete")
    assert (broken.status, broken.ending, bool(broken.pieces)) == (200, "broken", True)


def test_the_key_is_in_no_file_and_a_wrong_one_is_not_passed_on(recorder, tmp_path):
    address = urlsplit(recorder.base_url)
    body = json.dumps({"model": "scripted", "messages": [{"role": "user", "content": "Hi"}]})
    for key in (os.environ[recorder.key_env], "wrong"):
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
        headers = {"Authorization": f"Bearer {key}", "Accept-Encoding": "gzip", "Expect": "100-continue"}
        connection.request("POST", "/v1/chat/completions", body, headers)
        assert connection.getresponse().read()
        connection.close()
    file = (tmp_path / "r.jsonl").read_text()
    assert len(file.splitlines()) == 2
    assert os.environ[recorder.key_env] not in file


def test_a_start_that_fails_leaves_an_earlier_recording(tmp_path, monkeypatch):
    """The port is taken, or there is no model: nothing has been replaced by then, and a taken port starts no model."""
    file = tmp_path / "r.jsonl"
    RecordingWriter(file, "m").__exit__(None, None, None)
    before = file.read_bytes()
    started = []

    def fails(**settings):
        started.append(settings)
        raise MissingExtra("the embedded endpoint", "local")

    monkeypatch.setattr(local_server, "serve", fails)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match="exists already"), recorder_module.recording(file, port=port):
            pass
        with (
            pytest.raises(SettingsError, match=f"port {port} "),
            recorder_module.recording(file, port=port, overwrite=True),
        ):
            pass
    assert not started
    with pytest.raises(MissingExtra), recorder_module.recording(file, port=port, overwrite=True):
        pass
    assert file.read_bytes() == before
    with socket.create_server(("127.0.0.1", port)):  # it has been given back
        pass


def test_a_full_disk_ends_the_recording_once_and_the_client_has_its_answer(recorder, capfd):
    recorder.writer._file.close()
    recorder.writer._file = open("/dev/full", "w")  # noqa: PTH123, SIM115 - every write fails, as on a full disk
    client = ek.Endpoint(recorder.base_url, recorder.model, recorder.key_env).openai()
    assert chunks(client, "Hi")[-1]
    with pytest.raises(SettingsError, match=r"r\.jsonl cannot be written: No space left"):
        recorder.wait()
    assert chunks(client, "Hi")[-1]
    assert capfd.readouterr().err == ""


def test_the_end_of_the_model_ends_the_recording(recorder):
    recorder.end_model()
    assert recorder.wait() == 3


@pytest.mark.parametrize("line", ["GET /v1/mod\u00e8les", "GET /v1/models?\u00e8"])
def test_an_address_that_cannot_be_passed_on_is_refused(recorder, line, capfd):
    address = urlsplit(recorder.base_url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        head = f"{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {os.environ[recorder.key_env]}\r\n\r\n"
        connection.sendall(head.encode("latin-1"))
        assert connection.recv(12) == b"HTTP/1.1 400"
    assert capfd.readouterr().err == ""
