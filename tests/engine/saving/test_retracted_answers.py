"""Answers that may be incomplete are retracted: in the run file, and for sessions that were killed."""

import os
import signal
import subprocess
import sys
import time

import pytest
from incomplete_answers import MODELS, check_whole, data, script
from records import answered, conversation, failed, finished
from runfiles import create

import evalkit as ek
from evalkit.endpoint import Endpoint
from evalkit.engine.saving import retracted_answers
from evalkit.record import Score
from evalkit.scripted.server import serve
from evalkit.scripted.taskingai_faults import ModelDeath
from evalkit.settings import Settings


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("THE_KEY", "tk" + "Abcd1234" + "s" * 22)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.evalkit"


@pytest.mark.parametrize("later", [True, False])
def test_a_retracted_answer_counts_as_failed_until_it_is_sent_again(path, later):
    with create(path) as runfile:
        runfile.add([finished(0, conversation(turns=3), turn) for turn in (answered(1), answered(2), failed(3))])
        scores = [(0, 1, turn, Score("number", 1.0, "right", 2)) for turn in (1, 2)]
        runfile.add((), scores)
        query = runfile.connection.execute
        query("INSERT INTO score SELECT conversation, repeat, turn, 1, 'judge', 0.5, NULL, NULL, NULL FROM score")
        found = retracted_answers.retract(runfile, 0, 1, [1], later=later)
        assert found == [(1, None, 1.0, True), (2, None, 1.0, True), (3, "server", None, True)][: 3 if later else 1]
        rows = query("SELECT turn, status, error_kind, answer, latency_ns, turn_time_ns, flags FROM turn").fetchall()
        assert rows[0] == (1, "error", "truncated", "The answer is 2.", None, None, "no_done in_doubt")
        assert rows[1][1:3] == (("error", "truncated") if later else ("answered", None))
        assert rows[2][1:3] == ("error", "server")
        assert query("SELECT DISTINCT turn FROM score").fetchall() == ([] if later else [(2,)])
        (kind, partial, flags), *others = query("SELECT error_kind, partial, flags FROM attempt").fetchall()
        assert (kind, partial, flags) == ("truncated", "The answer is 2.", "no_done in_doubt")
        assert [kind for kind, *_ in others] == [None, "server"]
        messages = [text for (text,) in query("SELECT error_message FROM turn WHERE error_kind = 'truncated'")]
        assert messages[0].startswith("The answer ended without a finish reason, within a second of a failure")
        assert messages[1:] == ["This turn saw an earlier answer that may be incomplete: both are sent again."] * later
        runfile.add([finished(0, conversation(), answered(1, "whole"))])
        assert query("SELECT status, answer FROM turn WHERE turn = 1").fetchone() == ("answered", "whole")


@pytest.mark.parametrize(
    ("message", "retracted"),
    [
        ("Nothing listens on HOST: is the server started?", 1),
        ("A kept connection was closed by HOST just as it was used again. Ask again.", 0),  # as older versions wrote it
    ],
)
def test_a_connection_lost_on_reuse_makes_no_answer_incomplete(path, message, retracted):
    with create(path) as runfile:
        runfile.add([finished(0, conversation(turns=1), answered(1, flags=("no_finish_reason",)))])
        runfile.add([finished(1, conversation("c2", 1), failed(1, "connection", identity="c2", message=message))])
        runfile.connection.execute("UPDATE attempt SET end_ns = end_ns + 1000 WHERE error_kind NOT NULL")
        assert retracted_answers.retract_incomplete(runfile, Settings()) == retracted


@pytest.mark.parametrize("wait_s", [0.1, 0.3])
def test_resume_completes_a_session_that_was_killed_while_it_sent_again(tmp_path, path, wait_s):
    """Failed requests wait to be tried again, or new answers are on their way."""
    with serve(script(ModelDeath(0.6, 0.05))) as server:
        endpoint = Endpoint(server.base_url, MODELS[0], "THE_KEY")
        code = (
            f"import evalkit as ek; e = ek.Endpoint({server.base_url!r}, {MODELS[0]!r}, 'THE_KEY'); "
            f"ek.evaluate({str(data(tmp_path))!r}, e, out={str(path)!r}, concurrency=10, retries=5)"
        )
        process = subprocess.Popen([sys.executable, "-c", code], env=os.environ)
        try:
            while not server.stats()["faults"].get("model_killed"):
                assert process.poll() is None
                time.sleep(0.01)
            time.sleep(wait_s + 0.6)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        run = ek.resume(path, endpoint=endpoint)
        if run.summary_json()["errors"]:
            run = ek.resume(path, endpoint=endpoint)
    check_whole(run)
    assert run.summary_json()["turns"] == 80


def test_one_request_after_another(tmp_path, path):
    """The next request shows that the model had died during the one before."""
    with serve(script(ModelDeath(1.0, 0.2))) as server:
        endpoint = Endpoint(server.base_url, MODELS[1], "THE_KEY")
        run = ek.evaluate(data(tmp_path, 5, 3), endpoint, out=path, concurrency=1, retries=5)
        if run.summary_json()["errors"]:
            run = ek.resume(path, endpoint=endpoint)
    check_whole(run)


def test_a_spooled_answer_that_was_sent_again_since_is_not_recovered(path):
    with create(path) as runfile:
        runfile.add([finished(0, conversation(), answered(1))])
        (sent,) = runfile.connection.execute("SELECT sent_ns FROM turn").fetchone()
        assert [runfile.holds(0, 1, 1, sent + more) for more in (-1, 0, 1)] == [True, True, False]
        runfile.begin_session(5, {})
        assert [runfile.holds(0, 1, 1, sent + more) for more in (-1, 0, 1)] == [False, True, False]
