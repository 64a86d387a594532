"""Run files as recordings: the requests that were sent, and files of strangers."""

import contextlib
import json

import hostile_runfiles as hostile
import pytest
from runfiles import S, T, endpoint, talk, write

import evalkit as ek
from evalkit.errors import EvalkitError, RunFileError
from evalkit.recorded import answer_forms, recording_file, run_exchanges
from evalkit.recorded.exchange import CHAT_ROUTE
from evalkit.runfile.store import RunFile
from evalkit.scripted.script import Script, last_user_text
from evalkit.scripted.server import serve


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
    assert answers(path) == ["first", "second", "third"]


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


def answers(path):
    """The answers of a run as texts."""
    whole = [answer_forms.in_form(each, stream=False) for each in recording_file.read(path).exchanges]
    return [json.loads(each.body)["choices"][0]["message"]["content"] for each in whole]


@pytest.mark.parametrize("model", ["tiny\ntouch owned", "a\rb", "a\u2028b", "\x1b[2Jx", " "])
def test_a_model_that_would_write_lines_of_its_own_is_refused(tmp_path, model):
    path = endpoint(write(tmp_path / "r.evalkit", [S([T("a", 1)])]), model=model)
    with pytest.raises(EvalkitError, match="not the name of a model"):
        recording_file.read(path)


@pytest.mark.parametrize(
    ("change", "why"),
    [("http_status = 99, error_kind = 'server'", "status"), ("http_status = 700, error_kind = 'server'", "status"),
     ("http_status = 204, error_kind = 'empty'", "has a body"),
     ("end_ns = sent_ns + 90000000000000", "time of a piece"),
     ("headers_ns = sent_ns + 90000000000000", "headers_ms")],
)  # fmt: skip
def test_what_a_recording_could_not_hold_is_refused_in_a_run_too(tmp_path, change, why):
    path = endpoint(write(tmp_path / "r.evalkit", [S([T("a", 1)])]))
    with RunFile.open(path) as run, run.connection as connection:
        connection.execute(f"UPDATE attempt SET {change}")
    with pytest.raises(RunFileError, match=f"cannot be served: .*{why}"):
        recording_file.read(path)


def test_a_redirect_of_a_run_is_not_served(tmp_path):
    path = endpoint(write(tmp_path / "r.evalkit", [S([T("a", 1, error="server"), T("b", 1)])]))
    with RunFile.open(path) as run, run.connection as connection:
        connection.execute("UPDATE attempt SET http_status = 302 WHERE error_kind NOT NULL")
    assert [each.status for each in recording_file.read(path).exchanges] == [200]


# --- real runs: what is served is asked and answered as it was


def test_a_cut_off_answer_that_was_sent_again_is_served_with_each_limit(tmp_path):
    with serve(Script(answer=lambda body: "one two three four" if last_user_text(body) == "x" else "y")) as scripted:
        rows = tmp_path / "rows.jsonl"
        rows.write_text(json.dumps({"id": "a", "turns": [{"user": "x"}, {"user": "y"}]}) + "\n")
        target = ek.Endpoint(scripted.base_url, scripted.model, params={"max_tokens": 2})
        path = ek.evaluate(rows, target, out=tmp_path / "r.evalkit", check=False).path
        first = ek.Run(path).turns()
        assert first["finish_reason"].tolist() == ["length", "stop"]
        ek.resume(path, endpoint=target, cut_off_max_tokens=100)
    exchanges = recording_file.read(path).exchanges
    assert [each.request["max_tokens"] for each in exchanges] == [2, 100, 100]
    assert [each.ending for each in exchanges] == ["complete"] * 3
    assert answers(path) == [first["answer"][0], "one two three four", "y"]
    reasons = [json.loads(answer_forms.in_form(each, stream=False).body)["choices"][0]["finish_reason"]
               for each in exchanges]  # fmt: skip
    assert reasons == ["length", "stop", "stop"]
    same = ek.Run(path).turns()
    with ek.recorded_endpoint(path, timings="none", params={"max_tokens": 100}) as served:
        again = ek.evaluate(rows, served, out=tmp_path / "again.evalkit", check=False).turns()
    assert again["answer"].tolist() == same["answer"].tolist()


def test_an_answer_that_was_replaced_is_not_served_under_the_new_one(tmp_path):
    """A turn that saw an answer in doubt was sent again: its first attempt was good, and its text is gone."""
    path = endpoint(write(tmp_path / "r.evalkit", [S([T("a", 1, text="one"), T("a", 2, text="two")])]))
    with RunFile.open(path) as run, run.connection as connection:
        (columns,) = {",".join(row[1] for row in connection.execute("PRAGMA table_info(attempt)") if row[1] != "id")}
        connection.execute(f"INSERT INTO attempt ({columns}) SELECT {columns} FROM attempt ORDER BY turn")
        connection.execute("UPDATE attempt SET error_kind = 'truncated', flags = 'in_doubt' WHERE id = 1")
    assert answers(path) == ["one", "two"]
