"""The writer: turns are committed, then scored, then counted."""

import threading
from contextlib import contextmanager

import pytest
from records import answered, conversation, failed, finished
from runfiles import create

from evalkit.engine.saving.progress import Progress
from evalkit.engine.saving.scoring_thread import ScoringThread
from evalkit.engine.saving.writer import BACKLOG, Writer
from evalkit.errors import RunFileError
from evalkit.record import Score


def right(turn, answer, tools=()):
    return Score("number", 1.0)


@pytest.fixture
def writing(tmp_path):
    """A run file and its writer, whose scoring thread is left in the end."""

    @contextmanager
    def write(score, progress=None):
        scoring = ScoringThread(score)
        scoring.start()
        with create(tmp_path / "r.evalkit") as runfile:
            yield runfile, Writer(runfile, scoring, progress or Progress())
        scoring.close()

    return write


def test_everything_added_is_committed_scored_and_counted_by_the_end(writing):
    progress = Progress(total=4)
    with writing(right, progress) as (runfile, writer):
        writer.add([finished(n, conversation(f"c{n}"), answered(identity=f"c{n}")) for n in range(3)])
        writer.add([finished(3, conversation("c3"), failed(identity="c3", kind="timeout"))])
        writer.finish()
        assert runfile.connection.execute("SELECT count(*) FROM turn").fetchone() == (4,)
        assert runfile.connection.execute("SELECT count(*) FROM score").fetchone() == (3,)
    assert (progress.done, progress.answered, progress.errors) == (4, 3, 1)
    assert (progress.scored, progress.right) == (3, 3.0)
    assert progress.errors_by_kind == {"timeout": 1}
    assert progress.left_s == 0
    assert not writer.scoring


def test_an_answer_is_committed_and_counted_before_it_is_scored(writing):
    seen = []
    progress = Progress()
    with writing(lambda turn, answer, tools: seen.append(progress.done), progress) as (runfile, writer):
        writer.add([finished(0, conversation(), answered())])
        assert runfile.connection.execute("SELECT count(*) FROM turn").fetchone() == (1,)
        assert not seen
        writer.use_lull()
        writer.finish()
    assert seen == [1]


def test_scores_are_committed_with_the_next_turns(writing):
    made = threading.Event()

    def score(turn, answer, tools):
        made.set()
        return right(turn, answer)

    with writing(score) as (runfile, writer):
        writer.add([finished(0, conversation(turns=3), answered(1))])
        writer.use_lull()
        assert made.wait(10)
        assert runfile.connection.execute("SELECT count(*) FROM score").fetchone() == (0,)
        while not runfile.connection.execute("SELECT count(*) FROM score").fetchone()[0]:
            writer.add([finished(0, conversation(turns=3), answered(2))])
        assert runfile.connection.execute("SELECT turn FROM score").fetchall() == [(1,)]


def test_what_scoring_cannot_keep_up_with_is_scored_at_the_end(writing):
    progress = Progress()
    with writing(lambda turn, answer, tools: Score("number", 1.0, f"{turn.target}: {answer.text}"), progress) as (
        runfile,
        writer,
    ):
        for n in range((BACKLOG + 2500) // 2):
            asked, identity = conversation(f"c{n}"), f"c{n}"
            writer.add([finished(n, asked, answered(turn, f"It is {n}.", identity=identity)) for turn in (1, 2)])
        assert len(writer._unscored) == BACKLOG
        writer.finish()
        scored = runfile.connection.execute("SELECT conversation, turn, reason FROM score").fetchall()
    turns = [(n, turn) for n in range((BACKLOG + 2500) // 2) for turn in (1, 2)]
    assert scored == [(n, turn, f"{2 * turn}: It is {n}.") for n, turn in turns]
    assert progress.scored == BACKLOG + 2500


def test_turns_without_a_target_or_an_answer_get_no_score(writing):
    with writing(lambda turn, answer, tools: None) as (runfile, writer):
        writer.add([finished(0, conversation(), answered()), finished(0, conversation(), failed(2))])
        writer.finish()
        assert runfile.connection.execute("SELECT count(*) FROM score").fetchone() == (0,)


def test_a_scorer_that_never_returns_delays_neither_turns_nor_the_end(tmp_path):
    scoring = ScoringThread(lambda turn, answer, tools: threading.Event().wait())
    scoring.start()
    with create(tmp_path / "r.evalkit") as runfile:
        waits = [True]
        writer = Writer(runfile, scoring, Progress(), lambda: waits[0])
        for n in range(3):
            writer.add([finished(n, conversation(f"c{n}"), answered(identity=f"c{n}"))])
            writer.use_lull()
        waits[0] = False
        writer.finish(earlier=True)
        assert runfile.connection.execute("SELECT count(*) FROM turn").fetchone() == (3,)
    scoring.close()


def test_a_fault_in_scoring_is_raised_where_scores_are_taken(tmp_path):
    scoring = ScoringThread(lambda turn, answer, tools: 1 / 0)
    scoring.start()
    with create(tmp_path / "r.evalkit") as runfile:
        writer = Writer(runfile, scoring, Progress())
        writer.add([finished(0, conversation(), answered())])
        with pytest.raises(ZeroDivisionError):
            writer.finish()


def test_a_failed_write_says_what_to_do(tmp_path):
    runfile = create(tmp_path / "r.evalkit")
    runfile.connection.execute("PRAGMA query_only = 1")
    writer = Writer(runfile, ScoringThread(right), Progress())
    with pytest.raises(RunFileError) as caught:
        writer.add([finished(0, conversation(), answered())])
    runfile.close()
    assert str(caught.value) == (
        f"{runfile.path} cannot be written: attempt to write a readonly database. What it holds is complete; "
        f"free some space or repair the disk, then 'evalkit resume {runfile.path}'"
    )
