"""Recordings in files: what is written comes back, and what a stranger wrote is checked."""

import json
from pathlib import Path

import pytest

from evalkit.errors import SettingsError
from evalkit.recorded import recording_file
from evalkit.recorded.exchange import Exchange, Piece
from evalkit.recorded.recording_file import RecordingWriter

HEAD = '{"evalkit_recording": 1, "model": "m"}\n'
LINE = {"route": "POST /chat/completions", "request": {}, "status": 200, "pieces": []}


def test_bytes_of_any_kind_come_back(tmp_path):
    pieces = (Piece(1.5, b"caf\xc3"), Piece(2.25, b"\xa9\x00\xff"), Piece(3.0, "数\u2028\n".encode()))
    exchange = Exchange("POST /x", {"a": [1]}, 200, {"content-type": "text/event-stream"}, pieces, 0.5, 4.0, "broken")
    with RecordingWriter(tmp_path / "r.jsonl", "m") as writer:
        writer.add(exchange)
    writer.add(exchange)  # after the end
    assert recording_file.read(tmp_path / "r.jsonl") == ("m", [exchange])


def test_only_an_earlier_recording_is_replaced_and_only_on_request(tmp_path):
    file, other = tmp_path / "r.jsonl", tmp_path / "other.jsonl"
    RecordingWriter(file, "m").__exit__(None, None, None)
    with pytest.raises(SettingsError, match=r"r\.jsonl"):
        RecordingWriter(file, "m")
    RecordingWriter(file, "n", overwrite=True).__exit__(None, None, None)
    assert recording_file.read(file).model == "n"
    other.write_text('{"id": "a dataset"}\n')
    with pytest.raises(SettingsError, match=r"other\.jsonl"):
        RecordingWriter(other, "m", overwrite=True)
    assert other.read_text() == '{"id": "a dataset"}\n'


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"status": 99}, "status"),
        ({"status": 302}, "status"),
        ({"status": 204, "pieces": [[0, "HTTP/1.1 200 OK"]]}, "has a body"),
        ({"status": True}, "status"),
        ({"status": "200"}, "status"),
        ({"route": None}, "route"),
        ({"pieces": [[-1, "x"]]}, "time of a piece"),
        ({"pieces": [[1e300, "x"]]}, "time of a piece"),
        ({"pieces": [[float("nan"), "x"]]}, "time of a piece"),
        ({"pieces": [["1", "x"]]}, "time of a piece"),
        ({"pieces": [[1, 2]]}, "pair of time and text"),
        ({"pieces": [[1, "\ud800"]]}, "half a character"),
        ({"pieces": "abc"}, "another type"),
        ({"headers": {"x": "a\r\nSet-Cookie: b"}}, "header"),
        ({"headers": {"x y": "a"}}, "header"),
        ({"headers": {"x": 1}}, "header"),
        ({"headers": []}, "another type"),
        ({"headers_ms": "soon"}, "headers_ms"),
        ({"end_ms": -1}, "end_ms"),
        ({"ending": "never"}, "ending"),
        ({"ending": []}, "ending"),
    ],
)
def test_a_value_that_cannot_be_served_is_named_with_its_line(tmp_path, change, why):
    file = tmp_path / "r.jsonl"
    file.write_text(HEAD + json.dumps(LINE) + "\n" + json.dumps({**LINE, **change}) + "\n")
    with pytest.raises(SettingsError, match=rf"line 3: .*{why}"):
        recording_file.read(file)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "neither a recording nor a run file"),
        ("\x00\xff", "neither"),
        ('{"id": 1}\n', "neither"),
        ('{"evalkit_recording": true, "model": "m"}', "neither"),
        ('{"evalkit_recording": 2, "model": "m"}', "newer evalkit"),
        ('{"evalkit_recording": 1, "model": "m\\nexport X"}', "name of a model"),
        (HEAD + '{"route": ', "line 2: it is not JSON"),
        (HEAD + "[" * 100_000, "line 2: it is not JSON"),
        (HEAD + "[]", "line 2: it is not an exchange"),
    ],
)
def test_what_is_no_recording_is_refused_in_words(tmp_path, content, why):
    (tmp_path / "r.jsonl").write_text(content)
    with pytest.raises(SettingsError, match=why):
        recording_file.read(tmp_path / "r.jsonl")


def test_secrets_and_headers_of_one_connection_are_not_kept(tmp_path):
    headers = {"Set-Cookie": "s=1", "Connection": "close", "Content-Length": "7", "Retry-After": "3",
               "Location": "http://example.com", "Refresh": "0; http://example.com", "Alt-Svc": "h2=x"}  # fmt: skip
    assert Exchange.from_json({**LINE, "headers": headers}).headers == {"retry-after": "3"}


def test_too_large_a_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(recording_file, "MOST_BYTES", 10)
    (tmp_path / "r.jsonl").write_text(HEAD)
    with pytest.raises(SettingsError, match="limit for a recording"):
        recording_file.read(tmp_path / "r.jsonl")


def test_recordings_of_one_model_can_be_joined(tmp_path):
    exchange = Exchange("POST /x", {"a": 1})
    for name, model in (("a", "m"), ("b", "m"), ("c", "n")):
        with RecordingWriter(tmp_path / name, model) as writer:
            writer.add(exchange)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    (tmp_path / "joined").write_bytes(a + b)
    assert recording_file.read(tmp_path / "joined") == ("m", [exchange] * 2)
    (tmp_path / "joined").write_bytes(a + c)
    with pytest.raises(SettingsError, match="line 3: here begins a recording of another model"):
        recording_file.read(tmp_path / "joined")


def test_a_disk_that_is_full_at_the_start_is_said_in_words():
    with pytest.raises(SettingsError, match="/dev/full cannot be written: No space left"):
        RecordingWriter(Path("/dev/full"), "m")


def test_a_disk_that_gets_full_ends_the_recording_and_closing_says_so_once(tmp_path):
    writer = RecordingWriter(tmp_path / "r.jsonl", "m")
    writer._file.close()
    writer._file = open("/dev/full", "w")  # noqa: PTH123, SIM115 - every write fails, as on a full disk
    exchange = Exchange("POST /x", {})
    writer.add(exchange)
    writer.add(exchange)
    with pytest.raises(SettingsError, match=r"r\.jsonl cannot be written: No space left"):
        writer.__exit__(None, None, None)
    with pytest.raises(KeyError), writer:  # another error is not hidden
        raise KeyError
