import sqlite3

import orjson
import pytest
from records import answered, conversation, failed, finished
from runfiles import create

from evalkit.conversation import Conversation, Message, ScorerSpec, ToolCall, Turn
from evalkit.errors import Failure
from evalkit.record import Answer, Attempt, Timing, TurnRecord, Usage
from evalkit.runfile import schema
from evalkit.runfile.finished_turn import FinishedTurn, LazyConversation, stored_turn

CALL = ToolCall("add", '{"a": 1}', "id1")
EXCHANGE = (Message("assistant", None, (CALL,)), Message("tool", "3", tool_call_id="id1"))
CALLING = Attempt(Timing(1, 2, 3), answer=Answer("", "think", "no", (CALL,), "tool_calls"), flags=("no_done",))
LATE = Attempt(Timing(1, 2, 3, end=9), failure=Failure("timeout", "Too long.", retry_after_s=2.5), number=2, round=1)
FULL = Conversation(
    "c1", (Turn("Hi", [1, {"a": None}], ScorerSpec("number", {"abs_tol": 0.5}), "Hello."), Turn("And now?")),
    "Be short.", (Message("user", "Earlier."),), ({"type": "function", "function": {"name": "add"}},), {"add": 3},
    {"seed": 7}, ("tag",), "group", {"note": [1.5]},
)  # fmt: skip
RECORDS = [
    answered(1),
    failed(2),
    answered(1, usage=Usage(3, None, 7)),
    answered(2, streamed=False, usage=None),
    TurnRecord("c1", 2, 2, (LATE, CALLING, answered(1).attempts[0]), EXCHANGE, scheduled=True),
    TurnRecord("c1", 1, 1, (CALLING,)),
    TurnRecord("c1", 1, 2, (LATE,), failure=LATE.failure),
    TurnRecord("c1", 1, 1, failure=Failure("cancelled", "Not asked.")),
]


def stored(path, done):
    with create(path) as runfile:
        runfile.connection.row_factory = sqlite3.Row
        runfile.add([done])
        tables = ("conversation", "turn", "attempt")
        return [[dict(row) for row in runfile.connection.execute(f"SELECT * FROM {table}")] for table in tables]


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("asked", [conversation(), FULL])
def test_rows_are_the_same_after_their_way_as_json(record, asked, tmp_path):
    made = finished(5, asked, record)
    talk, turn, attempts = orjson.loads(orjson.dumps([asked.to_json(), made.turn_row, made.attempt_rows]))
    come = FinishedTurn(LazyConversation(5, talk), turn, attempts)
    assert stored(tmp_path / "come.evalkit", come) == stored(tmp_path / "made.evalkit", made)
    for table, row in (("turn", turn), *(("attempt", row) for row in attempts)):
        schema.check(table, row)


@pytest.mark.parametrize("record", RECORDS)
def test_what_scoring_needs_is_read_from_the_run_file(record, tmp_path):
    made = finished(5, FULL, record)
    turn, attempts = orjson.loads(orjson.dumps([made.turn_row, made.attempt_rows]))
    come = FinishedTurn(LazyConversation(5, orjson.loads(FULL.canonical)), turn, attempts)
    assert come.key == made.key == (5, record.repeat, record.turn)
    assert come.error_kind == (record.failure and record.failure.kind)
    assert come.turns == made.turns == 2
    said = record.answer or Answer()
    with create(tmp_path / "r.evalkit") as runfile:
        runfile.add([come])
        ((key, row, answer),) = runfile.to_score([come.key])
    assert key == come.key
    for number, turn in enumerate(FULL.turns, start=1):
        assert stored_turn(row, number) == (turn, 2, [dict(tool) for tool in FULL.tools])
    assert answer == Answer(said.text, said.reasoning, said.refusal, record.tool_calls, said.finish_reason)


def test_turns_to_score_come_in_the_order_of_their_keys(tmp_path):
    turns = [finished(5, FULL, TurnRecord("c1", repeat, 1, answered(1).attempts)) for repeat in range(1, 31)]
    with create(tmp_path / "r.evalkit") as runfile:
        runfile.add(turns)
        keys = [turn.key for turn in turns[::-2]]
        assert [key for key, *_ in runfile.to_score(keys)] == keys
        assert runfile.to_score([]) == []


def test_no_row_leaves_out_what_its_record_says(tmp_path):
    """A group of columns is left out when it has nothing to say; every column of a full record is there."""
    full = TurnRecord(
        "c1", 1, 1,
        (LATE, answered(1, usage=Usage(3, 2, 1, 2, 1)).attempts[0]._replace(
            answer=Answer("text", "think", "no", (CALL,), "stop", {"content": []}), provenance={"model": "other"})),
        EXCHANGE, scheduled=True,
    )  # fmt: skip
    _, (turn,), attempts = stored(tmp_path / "full.evalkit", finished(0, FULL, full))
    assert {name for name, value in turn.items() if value is None} == {"error_kind", "error_message", "censored_ns"}
    assert {name for name, value in attempts[1].items() if value is None} == {
        "error_kind", "error_message", "error_code", "retry_after_s", "partial",
    }  # fmt: skip
    assert (attempts[0]["error_kind"], attempts[0]["retry_after_s"], attempts[0]["end_ns"]) == ("timeout", 2.5, 9)
