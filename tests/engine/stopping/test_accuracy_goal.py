"""Runs that end when their accuracy is known well enough: which conversations count, and that the run stops there."""

import argparse
import random

import pytest
from commands import evalkit
from records import answered, conversation, failed, finished
from runfiles import S, T, create, talk, write

import evalkit as ek
from evalkit.cli.run import _half_width
from evalkit.engine.saving.progress import Progress
from evalkit.engine.saving.scoring_thread import ScoringThread
from evalkit.engine.saving.writer import Writer
from evalkit.engine.stopping.accuracy_goal import AccuracyGoal
from evalkit.record import Score
from evalkit.runfile import schema, store
from evalkit.scripted.server import Arithmetic, Fault, Law, Script, serve
from evalkit.wording import run_results


@pytest.fixture(scope="module")
def server():
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=5)), process=True) as running:
        yield running


def ask(server, data, out, **settings):
    return ek.evaluate(data, ek.Endpoint(server.base_url, "scripted"), out=out, **settings)


def rows(path, query):
    connection = store.open_to_read(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


# --- which conversations count


def test_finished_conversations_wait_for_earlier_ones():
    """Short conversations, right ones, end first here: taken as they end, all would seem to be right."""
    goal = AccuracyGoal(0.4, 4)
    for position in range(1, 40):
        goal.note(position, 1, 1, 1.0, 1)
    assert goal.status().conversations == 0
    goal.note(0, 4, 3, 0.0, 3)
    assert goal.status().conversations == 0  # one of its turns is still under way
    goal.note(0, 4, 1, 0.0, 1)
    status = goal.status()
    assert status.reached
    assert 1 < status.conversations < 40
    assert status.value == (status.conversations - 1) / (status.conversations + 3)


def test_the_order_in_which_they_end_changes_nothing():
    rng = random.Random(3)
    rows = [(n, 2, 2, float(rng.random() < 0.7) + float(rng.random() < 0.7), 2) for n in range(300)]
    mixed = [row for at in range(0, 300, 8) for row in rng.sample(rows[at : at + 8], len(rows[at : at + 8]))]
    assert mixed != rows
    first, second = AccuracyGoal(0.1, 2).replay(rows).status(), AccuracyGoal(0.1, 2).replay(mixed).status()
    assert first == second
    assert first.reached


def test_a_failed_turn_does_not_count_as_wrong():
    goal = AccuracyGoal(0.1, 2)
    goal.note(0, 2, 2, 1.0, 1)  # one right, one failed
    goal.note(1, 2, 2, 0.0, 0)  # both failed
    status = goal.status()
    assert (status.value, status.conversations) == (1.0, 1)


def test_a_run_file_gives_the_same_status_as_the_run(tmp_path):
    turns = [
        T("a", 1, score=1.0), T("a", 2, error="server"), T("a", 3, score=0.0),
        T("b", 1, score=1.0), T("b", 2, score=1.0), T("b", 3, reason="no number"),
        T("c", 1, score=1.0), T("c", 2, score=1.0),
        T("d", 1, score=1.0), T("d", 2, score=1.0), T("d", 3, score=1.0),
    ]  # fmt: skip
    path = write(tmp_path / "r.evalkit", [S(turns)])
    assert rows(path, schema.PROGRESS) == [(0, 3, 3, 1.0, 2), (1, 3, 3, 2.0, 2), (2, 3, 2, 2.0, 2), (3, 3, 3, 3.0, 3)]
    # its failed turn is to be sent again
    assert rows(path, schema.ANSWERED_PROGRESS_OWN_SCORES)[0] == (0, 3, 2, 1.0, 2)
    status = AccuracyGoal(0.2, 3).replay(rows(path, schema.PROGRESS)).status()
    assert (status.value, status.conversations) == (0.75, 2)  # c has not ended, and d waits for it


def test_an_answer_that_is_not_scored_yet_has_not_ended(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1), T("a", 2)])], [talk("a", (35, None))])
    assert rows(path, schema.PROGRESS) == [(0, 2, 1, 0.0, 0)]  # the second has no target: nothing is to come


def test_the_writer_notes_every_turn_once_and_waits_for_scores(tmp_path, monkeypatch):
    monkeypatch.setattr("evalkit.engine.saving.writer.GOAL_BACKLOG", 4)
    noted = []
    with create(tmp_path / "r.evalkit") as runfile:
        scoring = ScoringThread(lambda turn, answer, tools: Score("number", 1.0))
        scoring.start()
        writer = Writer(runfile, scoring, Progress())
        writer.accuracy_goal = AccuracyGoal(0.01, 1)
        monkeypatch.setattr(writer.accuracy_goal, "note", lambda *status: noted.append(status))
        for begin in range(0, 12, 3):
            writer.add(
                [finished(n, conversation(f"c{n}", 1), answered(identity=f"c{n}")) for n in range(begin, begin + 3)]
            )
        assert len(noted) >= 6  # not left for the end, when it would be of no use
        writer.add([finished(12, conversation("c12", 1), failed(identity="c12"))])
        writer.finish()
        scoring.close()
    assert sorted(noted) == [*((n, 1, 1, 1.0, 1) for n in range(12)), (12, 1, 1, 0.0, 0)]


# --- whole runs


def test_a_run_stops_when_the_interval_is_narrow_enough_and_resume_leaves_it(server, sums, tmp_path):
    out = tmp_path / "r.evalkit"
    server.stats(reset=True)
    run = ask(server, sums(600, 2), out, until_ci=0.1)
    asked = server.stats()["requests"]
    goal = run.summary_json()["until"]
    assert run.outcome == "until_ci"
    assert 2 * goal["conversations"] <= asked < 400
    assert asked == rows(out, "SELECT count(*) FROM turn WHERE status = 'answered'")[0][0]  # in flight, and kept
    assert rows(out, "SELECT outcome FROM session") == [("until_ci",)]
    assert (goal["ci"], goal["reached"], goal["value"], goal["high"]) == (0.1, True, 1.0, 1.0)
    assert 0.9 <= goal["low"] < 0.92
    assert run.info["settings"]["until_ci"] == 0.1
    again = ek.resume(out)
    assert (again.outcome, server.stats()["requests"]) == ("until_ci", asked)
    assert again.summary_json()["until"] == goal


def test_resume_continues_to_the_goal(server, sums, tmp_path):
    out = tmp_path / "r.evalkit"
    first = ask(server, sums(600, 2), out, until_ci=0.1, max_tokens_total=1100)
    before = first.summary_json()["until"]
    assert (first.outcome, before["reached"]) == ("max_tokens_total", False)
    assert 5 < before["conversations"] < 46
    run = ek.resume(out)
    assert run.outcome == "until_ci"
    after = run.summary_json()["until"]
    # what the sessions knew together is what one would have known
    whole = ask(server, sums(600, 2), tmp_path / "whole.evalkit", until_ci=0.1)
    assert after == whole.summary_json()["until"]


def test_failed_turns_are_sent_again_before_they_count(sums, tmp_path):
    out = tmp_path / "r.evalkit"
    faults = [Fault("server_error", numbers={1, 3})]
    with serve(Script(answer=Arithmetic(), faults=faults), process=True) as server:
        first = ask(server, sums(5, 1), out, until_ci=0.1, retries=0, concurrency=1)
        assert first.summary_json()["until"]["conversations"] == 3
        again = ek.resume(out)
    assert (again.outcome, again.summary_json()["until"]["conversations"]) == ("done", 5)
    assert not again.summary_json()["until"]["reached"]


def test_conversations_of_a_group_are_refused(tmp_path):
    data = tmp_path / "d.jsonl"
    data.write_text('{"id": "a", "group": "g", "turns": [{"user": "1 + 1?", "target": 2}]}\n', encoding="utf-8")
    with pytest.raises(ek.SettingsError, match=r"d\.jsonl share a group: find out how many you need"):
        ek.evaluate(data, ek.Endpoint("http://127.0.0.1:9", "m"), out=tmp_path / "r.evalkit", until_ci=0.03)


def test_a_goal_needs_a_checked_dataset(sums, tmp_path):
    with pytest.raises(ek.SettingsError, match="until_ci needs a check of the dataset first"):
        ek.evaluate(sums(), ek.Endpoint("http://127.0.0.1:9", "m"), out=tmp_path / "r", until_ci=0.03, check=False)


# --- the command


def test_the_command_says_what_is_known(server, sums, tmp_path):
    out = tmp_path / "r.evalkit"
    flags = ["--base-url", server.base_url, "--model", "scripted", "--out", out]
    done = evalkit("run", sums(600, 2), *flags, "--until", "ci=0.1")
    assert (done.returncode, done.stderr) == (0, "--until is reached: nothing more is sent\n")
    known = ek.Run(out).summary_json()["until"]
    assert (
        f"stopped after {known['conversations']} conversations: accuracy 100.0%, within ± "
        f"{100 * (1 - known['low']):.2g} points at any time (95 %, anytime-valid); "
    ) in done.stdout
    assert " turns need not be run\n" in done.stdout


@pytest.mark.parametrize(
    ("goal", "text"),
    [
        (
            {"reached": False, "value": 0.5, "low": 0.4, "high": 0.62, "conversations": 80},
            "--until ci=0.03 is not reached after 80 conversations: accuracy 50.0%, "
            "within ± 12 points at any time (95 %, anytime-valid)",
        ),
        (
            {"reached": False, "value": None, "low": None, "high": None, "conversations": 0},
            "--until ci=0.03 is not reached: no conversation with a scored turn has ended",
        ),
        (
            {"reached": False, "value": 0.5, "low": None, "high": None, "conversations": 80},
            "--until ci=0.03 is not reached after 80 conversations: accuracy 50.0%, its limits have crossed: "
            "the conversations are not in random order, shuffle the dataset",
        ),
    ],
)
def test_a_goal_that_is_not_reached_is_reported(goal, text):
    assert run_results.accuracy_goal({"ci": 0.03, **goal})[0] == text


def test_a_goal_is_written_as_ci():
    assert _half_width("ci=0.03") == 0.03
    for text in ("0.03", "ci=", "ci=much", "se=0.03"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}': write it as ci=X, such as ci=0.03"):
            _half_width(text)
