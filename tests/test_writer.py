import pytest
from records import answered, conversation, failed
from test_store import create

from evalkit.errors import RunFileError
from evalkit.record import Score
from evalkit.store import Done
from evalkit.writer import BACKLOG, Progress, Writer


def right(turn, answer):
    return Score("number", 1.0)


def test_everything_added_is_committed_scored_and_counted_by_the_end(tmp_path):
    progress = Progress(total=4)
    with create(tmp_path / "r.evalkit") as runfile:
        writer = Writer(runfile, right, progress)
        writer.add([Done(n, conversation(f"c{n}"), answered(identity=f"c{n}")) for n in range(3)])
        writer.add([Done(3, conversation("c3"), failed(identity="c3", kind="timeout"))])
        writer.finish()
        assert runfile.connection.execute("SELECT count(*) FROM turn").fetchone() == (4,)
        assert runfile.connection.execute("SELECT count(*) FROM score").fetchone() == (3,)
    assert (progress.done, progress.answered, progress.errors) == (4, 3, 1)
    assert (progress.scored, progress.right) == (3, 3.0)
    assert progress.errors_by_kind == {"timeout": 1}
    assert progress.left_s == 0
    assert not writer.unscored
    assert not writer.uncommitted


def test_an_answer_is_committed_and_counted_before_it_is_scored(tmp_path):
    seen = []
    progress = Progress()
    with create(tmp_path / "r.evalkit") as runfile:

        def score(turn, answer):
            count = runfile.connection.execute("SELECT count(*) FROM turn").fetchone()[0]
            seen.append((runfile.connection.in_transaction, count, progress.done))

        writer = Writer(runfile, score, progress)
        writer.add([Done(0, conversation(), answered())])
        assert not seen
        writer.catch_up()
    assert seen == [(False, 1, 1)]


def test_scores_go_with_the_turns_that_come_next(tmp_path):
    with create(tmp_path / "r.evalkit") as runfile:
        writer = Writer(runfile, right, Progress())
        writer.add([Done(0, conversation(turns=3), answered(1))])
        writer.catch_up()
        assert runfile.connection.execute("SELECT count(*) FROM score").fetchone() == (0,)
        writer.add([Done(0, conversation(turns=3), answered(2))])
        assert runfile.connection.execute("SELECT turn FROM score").fetchall() == [(1,)]


def test_what_scoring_cannot_keep_up_with_is_scored_at_the_end(tmp_path):
    progress = Progress()
    with create(tmp_path / "r.evalkit") as runfile:
        writer = Writer(runfile, lambda turn, answer: Score("number", 1.0, f"{turn.target}: {answer.text}"), progress)
        for n in range((BACKLOG + 2500) // 2):
            asked, identity = conversation(f"c{n}"), f"c{n}"
            writer.add([Done(n, asked, answered(turn, f"It is {n}.", identity=identity)) for turn in (1, 2)])
        assert len(writer._unscored) == BACKLOG
        writer.finish()
        scored = runfile.connection.execute("SELECT conversation, turn, reason FROM score").fetchall()
    turns = [(n, turn) for n in range((BACKLOG + 2500) // 2) for turn in (1, 2)]
    assert scored == [(n, turn, f"{2 * turn}: It is {n}.") for n, turn in turns]
    assert progress.scored == BACKLOG + 2500


def test_turns_without_a_target_or_an_answer_get_no_score(tmp_path):
    with create(tmp_path / "r.evalkit") as runfile:
        writer = Writer(runfile, lambda turn, answer: None, Progress())
        writer.add([Done(0, conversation(), answered()), Done(0, conversation(), failed(2))])
        writer.finish()
        assert runfile.connection.execute("SELECT count(*) FROM score").fetchone() == (0,)


def test_a_failed_write_says_what_to_do(tmp_path):
    runfile = create(tmp_path / "r.evalkit")
    runfile.connection.execute("PRAGMA query_only = 1")
    writer = Writer(runfile, right, Progress())
    with pytest.raises(RunFileError) as caught:
        writer.add([Done(0, conversation(), answered())])
    runfile.close()
    assert str(caught.value) == (
        f"{runfile.path} cannot be written: attempt to write a readonly database. What is in it is whole; "
        f"make room or mend the disk, then 'evalkit resume {runfile.path}'"
    )
