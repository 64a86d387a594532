"""Fixtures of the tests of resuming."""

import json
import sqlite3

import pytest
from resuming import SECRET, VARIABLE, Listener

import evalkit as ek
from evalkit.scripted.server import Arithmetic, Script, serve


@pytest.fixture
def listener():
    listening = Listener()
    yield listening
    listening.close()


@pytest.fixture(scope="module")
def server():
    with serve(Script(answer=Arithmetic(), key=SECRET)) as running:
        yield running


@pytest.fixture
def half(server, sums, tmp_path, monkeypatch):
    """A run of which half is missing, with changes to the endpoint that its file names."""
    monkeypatch.setenv(VARIABLE, SECRET)

    def make(**endpoint):
        path = tmp_path / "half.evalkit"
        ek.evaluate(sums(), ek.Endpoint(server.base_url, "scripted", VARIABLE), out=path)
        with sqlite3.connect(path) as connection:
            (text,) = connection.execute("SELECT endpoint FROM run").fetchone()
            connection.execute("UPDATE run SET endpoint = ?", (json.dumps({**json.loads(text), **endpoint}),))
            connection.execute("DELETE FROM turn WHERE conversation = 1")
        connection.close()
        return path

    return make
