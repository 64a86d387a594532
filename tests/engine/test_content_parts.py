"""Messages with images over real HTTP: what is sent, stored and shown, and what a changed file does."""

import base64
import json
from types import SimpleNamespace

import pytest
from answering import answering, whole

import evalkit
from evalkit.analysis import tables
from evalkit.conversation import Conversation, Turn
from evalkit.engine.asking.request_sender import prompt_bytes
from evalkit.errors import DatasetError, RunFileError
from evalkit.runfile import store
from evalkit.runfile.plain_transcripts import up_to
from evalkit.runfile.transcripts import transcripts

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
ROWS = [
    {"id": "a", "turns": [
        {"user": [{"type": "text", "text": "Which number?"}, {"image": "sign.png", "detail": "low"}], "target": 35},
        {"user": "Sure?", "target": 35},
    ]},
    {"id": "b", "turns": [{"user": "Which number?", "target": 35}], "context": [
        {"role": "user", "content": [{"image": "sign.png"}]}, {"role": "assistant", "content": "A sign."},
    ]},
]  # fmt: skip


@pytest.fixture
def data(tmp_path):
    (tmp_path / "sign.png").write_bytes(PNG)
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


def images(body):
    return [
        part["image_url"] for message in body["messages"] if isinstance(message["content"], list)
        for part in message["content"] if part["type"] == "image_url"
    ]  # fmt: skip


@pytest.mark.parametrize("check", [True, False])
def test_the_file_is_sent_with_every_request_and_stored_by_name_and_hash(data, tmp_path, check):
    bodies = []

    def reply(body, number):
        bodies.append(body)
        return whole()

    with answering(reply) as url:
        endpoint = evalkit.Endpoint(url, "m")
        run = evalkit.evaluate(data, endpoint, out=tmp_path / "r.evalkit", stream=False, check=check, concurrency=1)
    assert [images(body) for body in bodies] == [[{"url": URL, "detail": "low"}]] * 2 + [[{"url": URL}]]
    assert bodies[0]["messages"][0]["content"][0] == {"type": "text", "text": "Which number?"}
    assert "from_file" not in json.dumps(bodies)
    assert run.summary().accuracy["all"] == 1
    stored = (tmp_path / "r.evalkit").read_bytes()
    assert base64.b64encode(PNG)[:200] not in stored
    question = "Which number?\n[image: sign.png, PNG, 10 kB, detail low]"
    assert tables.transcript(run.path, "a")[0]["user"] == question
    assert list(run.verdicts()["user"])[:2] == [question, "Sure?"]
    with store.reading(run.path) as connection:
        assert question in up_to(next(transcripts(connection)), 2).replace("\n  [", "\n[")


def test_a_file_that_changes_while_a_run_goes_ends_it(data, tmp_path):
    def reply(body, number):
        (tmp_path / "sign.png").write_bytes(PNG + b"changed")
        return whole()

    with answering(reply) as url:
        endpoint = evalkit.Endpoint(url, "m")
        with pytest.raises(DatasetError, match="has changed since the dataset was checked"):
            evalkit.evaluate(data, endpoint, out=tmp_path / "r.evalkit", stream=False, concurrency=1)
        with pytest.raises((DatasetError, RunFileError), match="has changed since"):
            evalkit.resume(tmp_path / "r.evalkit", endpoint=endpoint)
    assert len(tables.turns(tmp_path / "r.evalkit")) < 3


def test_a_resumed_run_shows_the_image_of_an_answered_turn_again(data, tmp_path):
    bodies = []

    def reply(body, number):
        bodies.append(body)
        return whole() if number != 1 else b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}"

    with answering(reply) as url:
        endpoint = evalkit.Endpoint(url, "m")
        evalkit.evaluate(data, endpoint, out=tmp_path / "r.evalkit", stream=False, concurrency=1, retries=0)
        evalkit.resume(tmp_path / "r.evalkit", endpoint=endpoint)
    assert images(bodies[-1]) == [{"url": URL, "detail": "low"}]
    assert bodies[-1]["messages"][-1]["content"] == "Sure?"


def test_a_file_needs_a_folder():
    parts = ({"type": "image_url", "image_url": {"url": "sign.png"}},)
    with answering(lambda body, n: whole()) as url, pytest.raises(DatasetError, match="only a run of a dataset has a"):
        list(evalkit.converse(Conversation("c", (Turn("", parts=parts),)), evalkit.Endpoint(url, "m"), stream=False))


def test_the_tokens_of_an_image_are_not_estimated_by_its_size():
    part = {"type": "image_url", "image_url": {"url": "x" * 1_000_000}}
    message = SimpleNamespace(parts=({"type": "text", "text": "a"}, part))
    assert 4_000 < prompt_bytes(b" " * 1_000_500, [message]) < 5_000
    assert prompt_bytes(b" " * 500, [SimpleNamespace(parts=())]) == 500
