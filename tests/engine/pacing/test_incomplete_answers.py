"""Answers without a finish reason: a real run against the scripted TaskingAI, whose model is killed midway."""

import json
import sqlite3

import numpy as np
import pytest
from incomplete_answers import MODELS, check_whole, data, said, script, whole

import evalkit as ek
from evalkit.endpoint import Endpoint
from evalkit.engine.pacing.incomplete_answers import AskedConversation, IncompleteAnswers, may_be_incomplete
from evalkit.errors import Failure
from evalkit.record import IN_DOUBT, UNCONFIRMED, Answer, Attempt, Timing, TurnRecord
from evalkit.scripted.server import Fault, Law, Script, serve
from evalkit.scripted.taskingai_faults import ModelDeath
from evalkit.wording import caveats

MS = 1_000_000


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("THE_KEY", "tk" + "Abcd1234" + "s" * 22)


def halves(out):
    """Attempts whose answers are half: from the text that came, and what is known of them."""
    with sqlite3.connect(out) as connection:
        rows = connection.execute(
            "SELECT row, turn, partial, error_kind, flags FROM attempt JOIN conversation ON position = conversation"
        ).fetchall()
        asked = [
            (json.loads(row)["turns"][turn - 1]["user"], partial, kind, flags)
            for row, turn, partial, kind, flags in rows
        ]
    return [
        (partial, kind, flags) for question, partial, kind, flags in asked if partial and partial != whole(question)
    ]


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (MODELS[0], {"concurrency": 10}),
        (MODELS[1], {"concurrency": 10, "history": "golden"}),
        (MODELS[0], {"rate": 40}),
    ],
    ids=["own", "golden", "open loop"],
)
def test_incomplete_answers_of_a_killed_model_are_sent_again(tmp_path, model, settings):
    out = tmp_path / "r.evalkit"
    with serve(script(ModelDeath(0.6, 0.05))) as server:
        endpoint = Endpoint(server.base_url, model, "THE_KEY")
        run = ek.evaluate(data(tmp_path), endpoint, out=out, retries=5, **settings)
        found = halves(out)
        if run.summary_json()["errors"]:  # too many failed at once to be asked again
            run = ek.resume(out, endpoint=endpoint)
    check_whole(run)
    assert len(found) >= 1
    assert {kind for _, kind, _ in found} == {"truncated"}
    assert all(IN_DOUBT in flags.split() for *_, flags in found)
    told = run.summary_json()
    assert told["turns"] == told["caveats"]["answers"] == told["caveats"]["unconfirmed"] == 80
    assert told["caveats"]["in_doubt"] >= len(found)
    assert told["accuracy"]["n"] == 80
    sentences = caveats.sentences(told["caveats"])
    assert (
        sentences[0]
        == "80 of 80 answers ended without a finish reason: the endpoint does not confirm that they are complete"
    )
    assert "ended within a second of a failure of another request" in sentences[1]


def test_progress_counts_each_turn_once(tmp_path):
    seen = []
    with serve(script(ModelDeath(0.6, 0.05))) as server:
        endpoint = Endpoint(server.base_url, MODELS[0], "THE_KEY")
        ek.evaluate(
            data(tmp_path), endpoint, out=tmp_path / "r.evalkit", concurrency=10, retries=5, watch=seen.append,
        )  # fmt: skip
    progress = seen[-1]
    assert (progress.answered, progress.errors, progress.scored, progress.right) == (80, 0, 80, 80.0)
    assert +progress.errors_by_kind == {}


@pytest.mark.parametrize("history", ["own", "golden"])
def test_resume_finds_incomplete_answers_of_an_earlier_session(tmp_path, history):
    out = tmp_path / "r.evalkit"
    with serve(script(ModelDeath(0.6, 0.05))) as server:
        endpoint = Endpoint(server.base_url, MODELS[0], "THE_KEY")
        run = ek.evaluate(data(tmp_path), endpoint, out=out, concurrency=10, retries=0, history=history)
        answers = run.turns().query("status == 'answered'")
        short = [row for row in answers.itertuples() if len(row.answer.split()) < 20]
        assert len(short) >= 2
        assert run.summary_json()["caveats"]["in_doubt"] == 0
        run = ek.resume(out, endpoint=endpoint)
        check_whole(run)
        assert run.summary_json()["caveats"]["in_doubt"] >= len(short)
        requests = server.stats()["requests"]
        ek.resume(out, endpoint=endpoint)
        assert server.stats()["requests"] == requests  # a second time there is nothing in doubt


def test_answers_with_finish_reasons_are_never_retracted(tmp_path):
    faults = [Fault("empty", share=0.1), Fault("eof_midway", share=0.1)]
    with serve(Script(answer=said, law=Law(ttft_ms=5, itl_ms=1), faults=faults)) as server:
        endpoint = Endpoint(server.base_url, server.model)
        run = ek.evaluate(data(tmp_path), endpoint, out=tmp_path / "r.evalkit", concurrency=10, retries=8)
    told = run.summary_json()["caveats"]
    assert (told["unconfirmed"], told["in_doubt"]) == (0, 0)
    assert caveats.sentences(told) == []


# ---- the rule


def answer_of(turn, sent_ms, end_ms, *flags, streamed=True):
    timing = Timing(0, 0, sent_ms * MS, end=end_ms * MS)
    attempt = Attempt(timing, streamed=streamed, answer=Answer("x"), flags=flags or (UNCONFIRMED,))
    return TurnRecord("c", 1, turn, (attempt,))


def failed_at(end_ms, kind="empty", code=None, **fields):
    return Attempt(Timing(0, 0, 0, end=end_ms * MS), failure=Failure(kind, "it failed", 200, code), **fields)


CASES = [
    # sent, ended, another failed (ms), in doubt
    (0, 5000, 5128, True),
    (0, 5000, 4996, True),
    (0, 5000, 6000, True),
    (0, 5000, 6001, False),
    (0, 5000, 4000, True),
    (0, 5000, 3999, False),
    (4500, 5000, 4499, False),  # sent after the failure
    (4500, 5000, 4501, True),
]


@pytest.mark.parametrize(("sent", "end", "failed", "incomplete"), CASES)
def test_rule(sent, end, failed, incomplete):
    times = [np.array([value * MS]) for value in (sent, end, failed)]
    assert may_be_incomplete(*times).tolist() == [incomplete]
    watcher, asked, record = IncompleteAnswers(2), AskedConversation(None, {}), answer_of(1, sent, end)
    events = [
        (end, lambda: watcher.note_answer(asked, record)),
        (failed, lambda: watcher.note_failure(failed_at(failed))),
    ]
    asked.answers[1] = record
    for _, event in sorted(events, key=lambda event: event[0]):
        event()
    assert asked.has_retracted is incomplete
    watcher.end(asked)
    assert list(watcher.ready) == [asked] * incomplete


def test_rule_over_many_failures():
    sent, end = np.array([0, 0, 90, 90]) * MS, np.array([50, 3000, 100, 9000]) * MS
    assert may_be_incomplete(sent, end, np.array([10, 80, 5000]) * MS).tolist() == [True, False, False, False]
    assert may_be_incomplete(sent, end, np.array([], dtype=np.int64)).tolist() == [False] * 4


@pytest.mark.parametrize(
    "failed",
    [
        failed_at(5000, "timeout"), failed_at(5000, "rate_limited"), failed_at(5000, "bad_request"),
        failed_at(5000, "auth"), failed_at(5000, "empty", "length"), failed_at(5000, "empty", "content_filter"),
        failed_at(5000, "connection", connection_lost_on_reuse=True), failed_at(5000, "cancelled"),
    ],
)  # fmt: skip
def test_failures_that_say_nothing_about_the_model_retract_no_answer(failed):
    watcher, asked = IncompleteAnswers(2), AskedConversation(None, {})
    asked.answers[1] = record = answer_of(1, 0, 5000)
    watcher.note_failure(failed)
    watcher.note_answer(asked, record)
    watcher.note_failure(failed)
    assert not asked.has_retracted


@pytest.mark.parametrize("record", [answer_of(1, 0, 5000, "buffered"), answer_of(1, 0, 5000, streamed=False)])
def test_confirmed_and_unstreamed_answers_are_never_retracted(record):
    watcher, asked = IncompleteAnswers(2), AskedConversation(None, {1: record})
    watcher.note_answer(asked, record)
    watcher.note_failure(failed_at(5000))
    assert not asked.has_retracted


def test_a_turn_is_sent_again_as_often_as_it_may_be_retried():
    for most in (0, 1, 3):
        watcher, asked, again = IncompleteAnswers(most), AskedConversation(None, {}), 0
        for time in range(5):
            asked.answers[1] = record = answer_of(1, 0, 1000 * time)
            watcher.note_answer(asked, record)
            watcher.note_failure(failed_at(1000 * time))
            again += asked.has_retracted
            asked.has_retracted = False
        assert again == most


def test_later_turns_are_sent_again_where_they_saw_the_incomplete_one():
    for own, left in ((True, [1]), (False, [1, 3])):
        watcher, asked = IncompleteAnswers(2), AskedConversation(None, {}, own_history=own)
        for turn in (1, 2, 3):
            asked.answers[turn] = answer_of(turn, 0, 1000 if turn == 2 else 9000)
        watcher.note_answer(asked, asked.answers[2])
        told = []
        watcher.on_retract = lambda asked, turn, told=told: told.append(turn)
        watcher.note_failure(failed_at(1100))
        assert told == [2]
        assert sorted(asked.answers) == left
