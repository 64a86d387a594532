"""The recorder, in front of the scripted server: what any client sends and gets is in the file, the key is not."""

import http.client
import json
import os
from urllib.parse import urlsplit

import pytest

import evalkit as ek
from evalkit.local.server import LocalServer
from evalkit.recorded import player, recording_file
from evalkit.recorded.loopback_server import named_key
from evalkit.recorded.recorder import RecordingServer
from evalkit.recorded.recording_file import RecordingWriter
from evalkit.scripted.server import Fault, Law, Script, serve


@pytest.fixture
def recorder(tmp_path):
    """Start a recorder in front of a scripted server with these faults."""
    faults = (Fault("server_error", prompt="fail"), Fault("reset_midway", prompt="break"))
    key_env = named_key(None)
    with serve(Script(faults=faults, law=Law(ttft_ms=30, itl_ms=15, tokens=5))) as server:
        local = LocalServer(server.base_url, server.model, key_env, os.getpid(), lambda: 0)
        with RecordingWriter(tmp_path / "r.jsonl", server.model) as writer:
            recording = RecordingServer(local, writer, port=0, key_env=key_env)
            with recording.running():
                yield recording


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
    assert len({piece.at_ms for piece in exchanges[1].pieces}) >= 5
    assert 25 < exchanges[1].pieces[-1].at_ms < 2_000
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
