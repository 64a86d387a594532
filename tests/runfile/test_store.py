import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import records
from records import MS, answered, conversation, failed, finished
from runfiles import create

from evalkit.conversation import Message, ToolCall
from evalkit.errors import RunFileError
from evalkit.record import Answer, Score, TurnRecord
from evalkit.runfile import lock_and_flush, migrations, store
from evalkit.runfile.store import RunFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.evalkit"


def test_what_was_put_in_comes_out(path):
    with create(path) as runfile:
        runfile.add([finished(0, conversation(), answered()), finished(0, conversation(), failed(2))])
        runfile.add((), [(0, 1, 1, Score("number", 1.0, "right", 2))])
        runfile.end_session(5, "done", {"loop_lag_p99_ms": 0.5})
    connection = store.open_to_read(path)
    connection.row_factory = sqlite3.Row
    first, second = connection.execute("SELECT * FROM turn ORDER BY turn").fetchall()
    assert (first["status"], first["answer"], first["ttft_ns"], first["latency_ns"], first["output_tokens"]) == (
        "answered", "The answer is 2.", 50 * MS, 80 * MS, 5,
    )  # fmt: skip
    assert (second["status"], second["error_kind"], second["latency_ns"], second["answer"]) == (
        "error", "server", None, "part",
    )  # fmt: skip
    attempt = connection.execute("SELECT * FROM attempt WHERE turn = 1").fetchone()
    assert np.frombuffer(attempt["arrivals"], "<i8").tolist() == [50 * MS, 60 * MS, 80 * MS]
    assert np.frombuffer(attempt["arrival_events"], "<i4").tolist() == [1, 2, 1]
    assert json.loads(connection.execute("SELECT extracted FROM score").fetchone()[0]) == 2
    connection.close()


def test_a_failed_turn_may_be_replaced_and_an_answered_one_never(path):
    with create(path) as runfile:
        runfile.add([finished(0, conversation(), failed(1))])
        runfile.add([finished(0, conversation(), answered(1, "first"))])
        runfile.add([finished(0, conversation(), answered(1, "second"))])
        rows = runfile.connection.execute("SELECT status, answer FROM turn").fetchall()
        attempts = runfile.connection.execute("SELECT count(*) FROM attempt").fetchone()[0]
    assert rows == [("answered", "first")]
    assert attempts == 3


def test_answered_turns_are_counted_and_given_back_for_the_history(path):
    call = ToolCall("add", '{"a": 1}', "id1")
    exchange = (Message("assistant", None, (call,)), Message("tool", "3", tool_call_id="id1"))
    good = answered(3, "It is 3.")
    with create(path) as runfile:
        third = TurnRecord("c1", 1, 3, good.attempts, exchange)
        runfile.add([finished(7, conversation(turns=3), record) for record in (answered(1), failed(2), third)])
        assert runfile.answered() == 2
        given = store.answered_turns(runfile.connection, conversation(turns=3), 7, 1)
    assert sorted(given) == [1, 3]
    assert given[3].exchange == exchange
    assert given[3].answer == Answer("It is 3.")


def test_only_answered_turns_without_a_score_row_are_unscored(path):
    with create(path) as runfile:
        runfile.add([finished(0, conversation(), answered(1)), finished(0, conversation(), answered(2))])
        runfile.add([finished(1, conversation("c2"), failed(1, identity="c2"))])
        runfile.add((), [(0, 1, 1, Score("number", None, "cannot tell"))])
        ((key, row, answer),) = [turn for group in runfile.unscored() for turn in group]
    assert (key, json.loads(row)["id"], answer) == ((0, 1, 2), "c1", Answer("The answer is 2.", finish_reason="stop"))


def test_a_score_is_stored_with_what_it_holds_and_replaces_all_of_an_earlier_one(path):
    full = Score("number", 0.5, "half", [1], [{"scorer": "number", "value": 0.5}])
    bare, unreadable = Score("exact", 1.0), Score("number", None, "no number: \ud83d")
    with create(path) as runfile:
        runfile.add([finished(0, conversation(turns=3), answered(turn)) for turn in (1, 2, 3)])
        runfile.add((), [(0, 1, turn, score) for turn, score in enumerate((full, bare, unreadable), start=1)])
        columns = "turn, scorer, value, reason, extracted, parts"
        first = runfile.connection.execute(f"SELECT {columns} FROM score").fetchall()
        runfile.add((), [(0, 1, turn, bare) for turn in (3, 1)])
        second = runfile.connection.execute(f"SELECT {columns} FROM score").fetchall()
    assert first == [
        (1, "number", 0.5, "half", "[1]", '[{"scorer": "number", "value": 0.5}]'),
        (2, "exact", 1.0, None, None, None),
        (3, "number", None, "no number: ?", None, None),
    ]
    assert second == [(turn, "exact", 1.0, None, None, None) for turn in (1, 2, 3)]


def test_it_can_be_read_while_it_is_written(path):
    with create(path) as runfile:
        runfile.add([finished(0, conversation(), answered(1))])
        reader = store.open_to_read(path)
        assert reader.execute("SELECT count(*) FROM turn").fetchone() == (1,)
        runfile.add([finished(0, conversation(), answered(2))])
        assert reader.execute("SELECT count(*) FROM turn").fetchone() == (2,)
        reader.close()


def test_a_closed_run_file_is_one_file_also_after_it_was_read(path):
    create(path).close()
    store.open_to_read(path).close()
    assert [entry.name for entry in path.parent.iterdir()] == ["run.evalkit"]


def test_a_crash_while_the_log_was_folded_in_is_no_damage(path, tmp_path):
    """The first page of the file tells its new size before the other pages are there; the log still has them."""
    runfile = create(path)
    for n in range(50):
        runfile.add([finished(n, conversation(f"c{n}"), answered(1, "x" * 5000))])
    log = Path(f"{path}-wal").read_bytes()
    before = path.read_bytes()
    runfile.close()
    crashed = tmp_path / "crashed.evalkit"
    crashed.write_bytes(path.read_bytes()[:4096] + before[4096:])
    Path(f"{crashed}-wal").write_bytes(log)
    with RunFile.open(crashed) as reopened:
        assert reopened.answered() == 50


def test_two_never_hold_the_lock_though_its_file_comes_and_goes(path, monkeypatch):
    first = create(path)
    flock = lock_and_flush.fcntl.flock
    late = []

    def close_first_then_lock(lock, how):
        if not late:
            late.append(lock.name)
            first.close()  # between the opening of the lock file and its locking
        flock(lock, how)

    monkeypatch.setattr(lock_and_flush.fcntl, "flock", close_first_then_lock)
    with RunFile.open(path):
        assert whole_message(RunFile.open, path).startswith(f"{path} is in use: ")


def test_a_run_file_that_cannot_be_made_leaves_nothing_behind(path, monkeypatch):
    connect = store._connect

    def full(where):
        connection = connect(where)
        connection.execute("PRAGMA max_page_count = 2")
        return connection

    monkeypatch.setattr(store, "_connect", full)
    assert whole_message(create, path) == (
        f"{path} cannot be written: database or disk is full. Choose another place with --out"
    )
    assert list(path.parent.iterdir()) == []


def whole_message(call, path):
    with pytest.raises(RunFileError) as caught:
        call(path)
    return str(caught.value)


def test_there_is_no_such_run_file(path):
    assert whole_message(store.open_to_read, path) == (
        f"there is no run file {path}: 'evalkit list FOLDER' shows the runs in a folder, "
        f"'evalkit run DATA --out {path}' creates one"
    )


def test_a_link_to_nowhere(path):
    path.symlink_to(path.parent / "gone")
    assert whole_message(create, path).startswith(f"{path} exists already: ")


def test_not_a_run_file(path):
    path.write_text("id,user\n1,hello\n" * 20)
    assert whole_message(store.open_to_read, path) == (
        f"{path} is not a run file: run files are created by 'evalkit run' and end in .evalkit"
    )


def test_an_empty_file(path):
    path.touch()
    assert whole_message(RunFile.open, path) == (
        f"{path} is empty: run files are created by 'evalkit run' and end in .evalkit"
    )


def test_a_folder(tmp_path):
    assert whole_message(store.open_to_read, tmp_path) == f"{tmp_path} is a folder: name a run file in it"


def test_another_database(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    assert whole_message(store.open_to_read, path) == f"{path} is a database, but not a run file of evalkit"


def test_a_newer_version(path):
    create(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert whole_message(store.open_to_read, path) == (
        f"{path} was written by a newer evalkit (file version 99, this one reads up to {migrations.VERSION}): "
        "update with pip install -U chat-evalkit"
    )


def test_a_file_of_the_first_version_is_read_and_gone_on_with(path, monkeypatch):
    rows = [
        ("c1", '{"id": "c1", "group": "g", "tags": ["a", "b"], "turns": [{"user": "?", "target": 2}, {"user": "!"}]}')
    ]
    with monkeypatch.context() as then:
        then.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:1])
        create(path).close()
    connection = sqlite3.connect(path)
    connection.executemany("INSERT INTO conversation VALUES (0, ?, 'hash', ?)", rows)
    for turn in (1, 2):
        connection.execute(
            "INSERT INTO turn (conversation, repeat, turn, status, attempts, token_source, session) "
            "VALUES (0, 1, ?, 'answered', 1, 'none', 1)",
            (turn,),
        )
    connection.commit()
    connection.close()
    asked = "SELECT turns, cluster, tags, turn, has_target FROM turn JOIN conversation ON position = conversation"
    expected = [(2, "g", '["a","b"]', 1, 1), (2, "g", '["a","b"]', 2, 0)]
    reader = store.open_to_read(path)
    assert reader.execute(asked).fetchall() == expected
    reader.close()
    with RunFile.open(path) as runfile:
        assert runfile.connection.execute(asked).fetchall() == expected
        assert runfile.connection.execute("PRAGMA user_version").fetchone() == (migrations.VERSION,)


def test_two_conversations_of_one_id_are_refused_and_nothing_is_lost(path):
    with create(path) as runfile:
        runfile.add([finished(0, conversation("same"), answered(1))])
        with pytest.raises(RunFileError) as caught:
            runfile.add([finished(1, conversation("same"), answered(1))])
        assert str(caught.value) == (
            "conversations number 1 and 2 of the dataset have the same id, 'same': "
            "give every row its own, and start a new run"
        )
        assert runfile.connection.execute("SELECT conversation FROM turn").fetchall() == [(0,)]


def test_cut_short(path):
    with create(path) as runfile:
        runfile.add([finished(n, conversation(f"c{n}"), answered(1, "x" * 5000)) for n in range(50)])
    whole = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(10_000)
    assert whole_message(store.open_to_read, path) == (
        f"{path} is cut short: it has 10,000 bytes of {whole:,}. Copy it again, or run again"
    )


def test_damaged_inside(path):
    create(path).close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * (size - 100))
    assert whole_message(store.open_to_read, path) == (
        f"{path} is damaged or cut short (database disk image is malformed): restore it from a backup or run again"
    )


def test_in_use_by_another_process(path):
    create(path).close()
    code = (
        "import sys, pathlib; from evalkit.runfile.store import RunFile; "
        "held = RunFile.open(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        assert whole_message(RunFile.open, path) == (
            f"{path} is in use: another evalkit is writing to it. Wait for it, or read it meanwhile with 'evalkit show'"
        )
        store.open_to_read(path).close()
        other.send_signal(signal.SIGKILL)
    RunFile.open(path).close()


def test_a_run_file_is_never_written_over(path):
    create(path).close()
    assert whole_message(create, path) == (
        f"{path} exists already: continue it with 'evalkit resume {path}', or name another file with --out"
    )


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/version").exists(), reason="needs a place nobody can write")
def test_a_place_that_cannot_be_written():
    assert whole_message(create, Path("/proc/run.evalkit")).startswith("/proc/run.evalkit cannot be written: ")


def test_what_is_committed_survives_kill_9(path):
    code = (
        "import sys, os, signal, pathlib; sys.path.insert(0, sys.argv[2]); import runfiles, records; "
        "runfile = runfiles.create(pathlib.Path(sys.argv[1])); "
        "runfile.add([records.finished(0, records.conversation(), records.answered(1))]); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(path), str(Path(records.__file__).parent)], check=False)
    with RunFile.open(path) as runfile:
        assert runfile.answered() == 1
