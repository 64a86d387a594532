"""The spool: no turn is lost when a process is killed, a disk is full or a line is damaged."""

import fcntl
import os
import signal
import subprocess
import sys

import pytest
from records import answered, conversation, failed, finished
from runfiles import create

from evalkit.engine.saving import process_messages, spool
from evalkit.engine.saving.spool import SEGMENT, Spool
from evalkit.errors import RunFileError
from evalkit.runfile import store
from evalkit.runfile.store import RunFile, spool_files

BEGUN = (5, 1_700_000_000_000_000_000)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.evalkit"


def line(*turns):
    """A message as the asking process writes it: turns as (position, conversation or None, record)."""
    rows = []
    for position, talk, record in turns:
        asked = talk or conversation(record.conversation, turns=3)
        done = finished(position, asked, record)
        rows.append((talk.to_json() if talk else None, False, done.turn_row, done.attempt_rows))
    return process_messages.frame(process_messages.FinishedTurns(rows))


def spooled(path, *turns):
    """A spool with these turns whose process has ended."""
    written = Spool(path, BEGUN)
    written.write(line(*turns), len(turns))
    written.close()


def stored(path):
    connection = store.open_to_read(path)
    try:
        return connection.execute("SELECT conversation, turn, status, answer, session FROM turn").fetchall()
    finally:
        connection.close()


def test_uncommitted_turns_are_recovered_and_the_spool_is_removed(path):
    create(path).close()
    written = Spool(path, BEGUN)
    written.write(line((0, conversation("c0"), answered(1, "first", identity="c0"))), 1)
    written.write(line((0, None, failed(2, identity="c0")), (1, conversation(), answered(1, "second"))), 2)
    written.close()
    with RunFile.open(path) as runfile:
        assert spool.recover(runfile) == 3
        assert runfile.connection.execute("SELECT started_mono_ns, started_wall_ns FROM session").fetchall()[1] == BEGUN
    assert stored(path) == [(0, 1, "answered", "first", 2), (0, 2, "error", "part", 2), (1, 1, "answered", "second", 2)]
    assert not any(file.exists() for file in spool_files(path))


def test_committed_turns_are_not_recovered_again(path):
    with create(path) as runfile:
        runfile.begin_session(BEGUN[0], {}, BEGUN[1])
        runfile.add([finished(0, conversation("c0"), answered(1, "first", identity="c0"))])
    first, new = (answered(turn, text, identity="c0") for turn, text in ((1, "first"), (2, "new")))
    spooled(path, (0, conversation("c0"), first), (0, None, new))
    with RunFile.open(path) as runfile:
        assert spool.recover(runfile) == 1
        assert runfile.connection.execute("SELECT count(*) FROM attempt").fetchone() == (2,)
        assert runfile.connection.execute("SELECT count(*) FROM session").fetchone() == (2,)
    assert [(turn, answer, session) for _, turn, _, answer, session in stored(path)] == [(1, "first", 2), (2, "new", 2)]


def test_a_conversation_that_only_the_run_file_has_is_found_there(path):
    with create(path) as runfile:
        runfile.add([finished(3, conversation("c3", turns=3), answered(1, identity="c3"))])
    spooled(path, (3, None, answered(2, "later", identity="c3")))
    with RunFile.open(path) as runfile:
        assert spool.recover(runfile) == 1


def lines(path, count, turns=1):
    """A spool of so many lines whose process has ended: each a turn, of one conversation after another."""
    create(path).close()
    written = Spool(path, BEGUN)
    for number in range(count):
        position, turn = divmod(number, turns)
        name = f"c{position}"
        talk = conversation(name, turns=3) if turn == 0 else None
        written.write(line((position, talk, answered(turn + 1, identity=name))), 1)
    written.close()
    return spool_files(path)[0]


def recovered(path):
    with RunFile.open(path) as runfile:
        taken = spool.recover(runfile)
    assert not any(file.exists() for file in spool_files(path))
    assert taken == len(stored(path))
    return [row[:2] for row in stored(path)]


def one_flipped(line):
    return line[:60] + bytes([line[60] ^ 1]) + line[61:]


DAMAGES = {
    "cut off": lambda line: line[:-20],
    "half": lambda line: line[: len(line) // 2] + b"\n",
    "a bit": one_flipped,
    "a digit of the checksum": lambda line: b"00000000" + line[8:],
    "nothing that can be read": lambda line: b"\0" * 512 + b"\n",
    "another value, and JSON still": lambda line: line.replace(b"answered", b"answerec"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("which", range(4))
def test_a_damaged_line_loses_only_its_own_turns_and_is_reported(path, caplog, damage, which):
    file = lines(path, 4)
    _, header, *found = file.read_bytes().splitlines(keepends=True)
    if damage is DAMAGES["cut off"]:  # and what was written later follows, as a disk has room again
        found[which] = damage(found[which].rstrip(b"\n")) + b"\n" * (which < 3)
    else:
        found[which] = damage(found[which])
    file.write_bytes(header + b"".join(found))
    assert recovered(path) == [(position, 1) for position in range(4) if position != which]
    assert caplog.messages == [
        f"1 line of the spool of {path} could not be read: damaged, or cut short by a full disk. "
        "The turns in it that the run file lacks are lost, and 'evalkit resume' sends them again"
    ]


def test_a_write_cut_short_by_a_full_disk_hides_no_later_write(path, monkeypatch, caplog):
    create(path).close()
    written = Spool(path, BEGUN)
    write, room = os.write, [10_000_000]

    def full(file, parts):
        """As on a disk with so much room: what fits is written, after that nothing."""
        if not room[0]:
            raise OSError(28, "No space left on device")
        room[0] -= (wrote := write(file, b"".join(parts)[: room[0]]))
        return wrote

    monkeypatch.setattr(spool.os, "writev", full)
    for number in range(5):
        room[0] = 100 if number == 2 else 10_000_000
        message = line((number, conversation(f"c{number}"), answered(1, identity=f"c{number}")))
        if number == 2:
            with pytest.raises(RunFileError, match="No space left on device"):
                written.write(message, 1)
        else:
            written.write(message, 1)
    written.close()
    assert recovered(path) == [(0, 1), (1, 1), (3, 1), (4, 1)]
    assert caplog.messages[0].startswith("1 line of the spool of ")


def test_turns_that_saw_a_lost_turn_are_left_out(path, caplog):
    file = lines(path, 6, turns=3)
    found = file.read_bytes().splitlines(keepends=True)
    found[-5] = one_flipped(found[-5])  # the second turn of the first conversation
    file.write_bytes(b"".join(found))
    assert recovered(path) == [(0, 1), (1, 1), (1, 2), (1, 3)]
    assert caplog.messages[0].endswith(
        "are lost, and 'evalkit resume' sends them again, with 1 later turn that saw them"
    )


def test_with_a_golden_history_nothing_depends_on_a_lost_turn_but_on_its_conversation(path):
    file = lines(path, 6, turns=3)
    with RunFile.open(path) as runfile, runfile.connection:
        runfile.connection.execute("""UPDATE run SET settings = '{"history": "golden"}'""")
    found = file.read_bytes().splitlines(keepends=True)
    found[3], found[5] = one_flipped(found[3]), one_flipped(found[5])  # 5: the first of its conversation, with its row
    file.write_bytes(b"".join(found))
    assert recovered(path) == [(0, 1), (0, 3)]


def test_a_spool_of_an_earlier_version_is_recovered_without_its_damaged_lines(path, caplog):
    create(path).close()
    parts = [process_messages.frame(process_messages.SessionStarted(*BEGUN))]
    parts += [line((n, conversation(f"c{n}"), answered(1, identity=f"c{n}"))) for n in range(4)]
    parts[2] = parts[2][:-30]  # the next line was glued to it
    spool_files(path)[0].write_bytes(b"".join(parts))
    assert recovered(path) == [(0, 1), (3, 1)]
    assert caplog.messages[0].startswith("1 line of the spool of ")
    with RunFile.open(path) as runfile:
        assert runfile.connection.execute("SELECT started_mono_ns, started_wall_ns FROM session").fetchall()[1] == BEGUN


def test_after_a_damaged_first_line_of_an_earlier_version_turns_go_to_the_last_session(path):
    create(path).close()
    turn = line((0, conversation("c0"), answered(1, identity="c0")))
    spool_files(path)[0].write_bytes(b'["begun", 5, 17\n' + turn)
    assert recovered(path) == [(0, 1)]
    assert [row[-1] for row in stored(path)] == [1]


def test_recovered_turns_stay_with_their_session_which_has_no_end(path):
    lines(path, 1)
    with RunFile.open(path) as runfile:
        spool.recover(runfile)
        assert runfile.session == 0
        assert runfile.connection.execute("SELECT ended_mono_ns, outcome FROM session").fetchall()[1] == (None, None)


def test_the_two_files_alternate_and_stay_short(path):
    create(path).close()
    written = Spool(path, BEGUN)
    message = line((0, conversation("c0"), answered(1, "x" * 1_000_000, identity="c0")))
    for number in range(1, 60):
        written.write(message, 1)
        written.note_committed(number - 1)
    assert written.behind == 1
    written.close()
    sizes = [file.stat().st_size for file in spool_files(path)]
    assert all(0 < size <= SEGMENT + 2 * len(message) for size in sizes)


def test_uncommitted_turns_are_never_overwritten(path):
    create(path).close()
    written = Spool(path, BEGUN)
    for number in range(30):
        talk = conversation(f"c{number}")
        written.write(line((number, talk, answered(1, "x" * 1_000_000, identity=talk.id))), 1)
        written.note_committed(min(number, 3))
    written.close()
    with RunFile.open(path) as runfile:
        spool.recover(runfile)
        positions = {row[0] for row in runfile.connection.execute("SELECT conversation FROM turn")}
    assert positions >= set(range(3, 30))


def test_a_file_that_cannot_be_truncated_is_reported_as_a_full_disk(path, monkeypatch):
    monkeypatch.setattr(spool, "SEGMENT", 10)
    create(path).close()
    written = Spool(path, BEGUN)
    mine = written._files[1]
    written._files[1] = os.open(spool_files(path)[1], os.O_RDONLY)  # one that no ftruncate is allowed on
    with pytest.raises(RunFileError, match=r"run\.evalkit cannot be written: .*free some space or repair the disk"):
        written.write(line((0, conversation("c0"), answered(1, identity="c0"))), 1)
    written.close()
    os.close(mine)


def test_a_conversation_may_continue_in_the_file_that_is_read_first(path, monkeypatch):
    """The files take turns, so what is behind in time may lie in the first of them."""
    monkeypatch.setattr(spool, "SEGMENT", 10)
    create(path).close()
    written = Spool(path, BEGUN)
    for number, (talk, turn) in enumerate([("c0", 1), ("c0", 2), ("c1", 1), ("c1", 2)]):
        position = int(talk[1])
        asked = conversation(talk) if turn == 1 else None
        written.write(line((position, asked, answered(turn, identity=talk))), 1)
        written.note_committed(number)
    written.close()
    assert b'"c1"' not in spool_files(path)[0].read_bytes()
    with RunFile.open(path) as runfile:
        assert spool.recover(runfile) == 2
    assert [turn[:2] for turn in stored(path)] == [(1, 1), (1, 2)]


STRANGERS = (
    '["turns", [[0, 1, null, false, "no record"]]]',
    '["turns", [[null, true, ["key", [0, 1, 1]], []]]]',  # too few values
    '["turns", [[null, true, ["key, x) VALUES (1); --", [0]], []]]]',
    '["turns", [[null, true, ["key", [0, 1, 1, [], 1, 1, "usage"]], []]]]',
    '["turns", [[["key", [0, "c0", "hash", null, 1]], true, ["key", [0, 1, 1, "error", 1, 0, "none"]], []]]]',
    '["turns", [[null, true, ["key", [0, 1, 1, "error", 1, 0, "none"]], []]]]',  # of no conversation
)


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_spool_file_not_written_by_evalkit_is_refused(path, stranger):
    create(path).close()
    spool_files(path)[0].write_text(stranger + "\n")
    with RunFile.open(path) as runfile, pytest.raises(RunFileError) as caught:
        spool.recover(runfile)
    assert str(caught.value).startswith(f"the spool files next to {path} were not written by evalkit (")


def test_recovery_waits_for_the_process_to_end(path):
    create(path).close()
    code = (
        "import sys, pathlib, time; from evalkit.engine.saving.spool import Spool; "
        "held = Spool(pathlib.Path(sys.argv[1]), (5, 6)); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        os.kill(other.pid, signal.SIGSTOP)
        with spool_files(path)[0].open("rb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.kill(other.pid, signal.SIGKILL)
        with RunFile.open(path) as runfile:
            assert spool.recover(runfile) == 0


def test_the_spool_of_a_deleted_run_file_is_not_used_for_a_new_one(path):
    create(path).close()
    spooled(path, (0, conversation("c0"), answered(1, identity="c0")))
    path.unlink()
    create(path).close()
    assert not any(file.exists() for file in spool_files(path))


def test_a_number_too_large_for_the_tables_is_refused(path):
    create(path).close()
    spool_files(path)[0].write_bytes(
        process_messages.frame(process_messages.SessionStarted(2**64 - 1, 1)) + line((0, conversation(), answered()))
    )
    with pytest.raises(RunFileError, match="were not written by evalkit"):
        recovered(path)
