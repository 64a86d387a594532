"""The conversations of a run for its workers: what is read when, and what lost workers give back."""

import sqlite3
from contextlib import closing

import pytest

import evalkit as ek
from evalkit.cluster import conversation_feed
from evalkit.cluster.conversation_feed import ConversationFeed
from evalkit.engine.asking.session_task import SessionTask
from evalkit.engine.saving.process_messages import RetractAnswer
from evalkit.scripted.server import Arithmetic, Law, Script, serve
from evalkit.settings import Settings


@pytest.fixture
def answered(sums, tmp_path):
    """Make a run that was answered, and change it by SQL; give the task that resumes it."""

    def make(conversations, turns, *statements, **settings):
        data, path = sums(conversations, turns), tmp_path / "r.evalkit"
        with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=0, itl_ms=0))) as server:
            endpoint = ek.Endpoint(server.base_url, "scripted")
            ek.evaluate(data, endpoint, out=path, concurrency=32)
        with closing(sqlite3.connect(path)) as connection, connection:
            for statement in statements:
                connection.execute(statement)
        return SessionTask(endpoint, Settings(**settings), data, {}, path, resumed=True)

    return make


def not_started(first, last):
    return [f"DELETE FROM {table} WHERE {column} IN ({first}, {last})"
            for table, column in (("score", "conversation"), ("turn", "conversation"), ("attempt", "conversation"),
                                  ("conversation", "position"))]  # fmt: skip


@pytest.mark.parametrize("rate", [None, 10])
def test_answered_rows_are_skipped_in_short_pieces(answered, rate, monkeypatch):
    monkeypatch.setattr(conversation_feed, "READ_S", 0.0)
    feed = ConversationFeed(answered(350, 1, *not_started(0, 349), rate=rate))
    assert feed.take().position == 0
    pauses = 0
    while (taken := feed.take()) is None:
        assert not feed.exhausted
        pauses += 1
    assert pauses >= 1
    assert (taken.position, feed.due_ns(), feed.exhausted) == (349, None, True)
    assert taken.due_ns == (None if rate is None else 100_000_000)


def test_answered_rows_take_no_pause_when_they_are_few(answered):
    feed = ConversationFeed(answered(350, 1, *not_started(0, 349)))
    assert [feed.take().position, feed.take().position, feed.take(), feed.exhausted] == [0, 349, None, True]


def test_turns_to_send_again_are_counted_when_they_are_taken(answered):
    failed = "UPDATE turn SET status = 'error', error_kind = 'server' WHERE (conversation, turn) = (0, 1)"
    feed = ConversationFeed(answered(2, 3, failed, "DELETE FROM turn WHERE (conversation, turn) = (0, 3)"))
    lost = feed.take()
    assert (lost.position, feed.sent_again, feed.take_failed()) == (0, 0, [])
    feed.give_back([lost])
    assert feed.sent_again == 0
    assert not feed.exhausted
    assert feed.take().key == lost.key
    assert feed.sent_again == 2  # the third, which is missing, and the first, which had failed
    assert feed.take_failed() == [RetractAnswer(0, 1, 1, later=False)]
    assert feed.take_failed() == []
