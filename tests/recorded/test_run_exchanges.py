"""Run files as recordings: the requests that were sent, and files of strangers."""

import contextlib

import hostile_runfiles as hostile
import pytest
from runfiles import S, T, endpoint, talk, write

from evalkit.errors import EvalkitError, RunFileError
from evalkit.recorded import recording_file, run_exchanges
from evalkit.recorded.exchange import CHAT_ROUTE


def test_later_turns_ask_with_the_history_that_they_had(tmp_path):
    turns = [T("a", 1, text="It is 35."), T("a", 2, text="It is 276.")]
    path = endpoint(write(tmp_path / "r.evalkit", [S(turns)], [talk("a", system="Be brief.")]))
    model, exchanges = recording_file.read(path)
    assert (model, [each.route for each in exchanges]) == ("tiny", [CHAT_ROUTE] * 2)
    assert exchanges[1].request["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a, question 1"},
        {"role": "assistant", "content": "It is 35."},
        {"role": "user", "content": "a, question 2"},
    ]


def test_exchanges_are_in_the_order_in_which_they_were_sent(tmp_path):
    turns = [T("a", 1, sent_ms=50, text="second"), T("b", 1, sent_ms=10, text="first")]
    path = endpoint(write(tmp_path / "r.evalkit", [S(turns), S([T("c", 1, text="third")], start_ms=9_000)]))
    bodies = [each.body for each in recording_file.read(path).exchanges]
    assert [word in body for word, body in zip((b"fi", b"se", b"th"), bodies, strict=True)] == [True] * 3


def test_every_attempt_is_an_exchange_but_a_cancelled_one(tmp_path):
    turns = [T("a", 1, attempts=3), T("b", 1, error="cancelled")]
    exchanges = recording_file.read(endpoint(write(tmp_path / "r.evalkit", [S(turns)]))).exchanges
    assert [each.status for each in exchanges] == [503, 503, 200]


def test_a_run_that_names_no_model_or_holds_too_much_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1), T("a", 2)])])
    with pytest.raises(RunFileError, match="names no model"):
        recording_file.read(path)
    monkeypatch.setattr(run_exchanges, "MOST_EXCHANGES", 1)
    with pytest.raises(RunFileError, match="more than can be served"):
        recording_file.read(endpoint(path))


@pytest.mark.parametrize("kind", ["SCHEMAS", "VALUES", "HARMLESS"])
def test_a_strangers_file_is_served_or_refused_in_words(tmp_path, kind):
    good = endpoint(write(tmp_path / "good.evalkit", [S([T("a", t, score=1.0, tokens=3) for t in (1, 2)])]))
    served = []
    for path in hostile.make(good, tmp_path, getattr(hostile, kind)):
        with contextlib.suppress(EvalkitError):
            recording_file.read(path)
            served.append(path)
    assert len(served) == {"SCHEMAS": 0, "HARMLESS": len(hostile.HARMLESS)}.get(kind, len(served))
