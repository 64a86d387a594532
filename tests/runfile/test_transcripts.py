"""Transcripts as they are read from a run file, with the results of tool calls."""

import json
import sqlite3
from contextlib import closing

import pytest
from runfiles import S, T, talk, write

from evalkit.conversation import ToolCall
from evalkit.runfile import store
from evalkit.runfile.plain_transcripts import lines
from evalkit.runfile.transcripts import AnsweredCall, transcript_of, transcripts, transcripts_at

ADD, SUB = ToolCall("add", '{"a": 1}', "x"), ToolCall("sub", "{}", "y")


def asked(*calls):
    return {"role": "assistant", "content": None, "tool_calls": [call.to_json() for call in calls]}


def result(text, to):
    return {"role": "tool", "content": text, "tool_call_id": to, "name": "f"}


def answered_calls(tmp_path, calls, exchange):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, calls=calls)])])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE turn SET exchange = ?", (json.dumps(exchange) if exchange else None,))
    with store.reading(path) as connection:
        (turn,) = transcript_of(connection, "a", 1).turns
        return turn


@pytest.mark.parametrize(
    ("calls", "exchange", "results"),
    [
        ((ADD, SUB), [], [None, None]),
        ((ADD, SUB), [asked(ADD, SUB), result("2", "y"), result("1", "x")], ["1", "2"]),
        ((ADD, SUB), [asked(ADD), result("1", "x")], ["1", None]),  # the second call ended the turn
        ((ADD, ADD), [asked(ADD), result("1", "x"), asked(ADD), result("2", "x")], ["1", "2"]),  # ids are used again
        ((ADD, ADD), [asked(ADD, ADD), result("1", "x"), result("2", "x")], ["1", "2"]),  # by one message
        ((ADD,), [asked(ADD), result("1", "other")], [None]),
        ((ADD,), [asked(ADD), result([{"type": "text", "text": "1"}], "x")], ["1"]),
    ],
)
def test_each_call_has_its_own_result(tmp_path, calls, exchange, results):
    turn = answered_calls(tmp_path, calls, exchange)
    assert turn.answered_calls() == [AnsweredCall(*call[:2], one) for call, one in zip(calls, results, strict=True)]


def test_the_lines_of_a_turn_have_results_and_what_was_extracted(tmp_path):
    turns = [T("a", 1, calls=(ADD,), score=0.0, extracted={"n": 3}, reason="not 35")]
    path = write(tmp_path / "r.evalkit", [S(turns)])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE turn SET exchange = ?", (json.dumps([asked(ADD), result("1", "x")]),))
    with store.reading(path) as connection:
        (transcript,) = transcripts(connection)
    assert list(lines(transcript.turns[0])) == [
        ("user", "a, question 1"), ("answer", "35"), ("call", 'add({"a": 1})'), ("result", "1"), ("target", "35"),
        ("extracted", '{"n": 3}'), ("score", "0: not 35"),
    ]  # fmt: skip


def test_conversations_are_found_by_position_and_by_id(tmp_path):
    turns = [T("a", 1), T("b", 1), T("b", 2), T("b", 1, repeat=2, text="again")]
    path = write(tmp_path / "r.evalkit", [S(turns)], [talk("a", (1,)), talk("b", (1, 2))])
    with store.reading(path) as connection:
        found = list(transcripts_at(connection, 1))
        assert [(each.conversation, each.repeat, len(each.turns)) for each in found] == [("b", 1, 2), ("b", 2, 1)]
        assert found[0].row["turns"][1]["target"] == 2
        assert transcript_of(connection, "b", 2) == found[1]
        assert transcript_of(connection, "b", 3) is None
        assert [each.conversation for each in transcripts(connection)] == ["a", "b", "b"]
