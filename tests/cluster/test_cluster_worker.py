"""What a worker still has to send, by the messages that come from it."""

import time

import pytest
from incomplete_answers import MODELS, data, script

import evalkit as ek
from evalkit.cluster import cluster_worker
from evalkit.cluster.cluster_worker import ClusterWorker
from evalkit.cluster.conversation_feed import FedConversation
from evalkit.datasets import reader
from evalkit.engine.asking.session_task import SessionTask
from evalkit.engine.child_process import ChildProcess
from evalkit.engine.saving import process_messages
from evalkit.engine.saving.process_messages import FinishedTurns, NoMore, RetractAnswer
from evalkit.scripted.server import serve
from evalkit.scripted.taskingai_faults import ModelDeath
from evalkit.settings import Settings


@pytest.fixture
def worker():
    found = ClusterWorker("tcp://127.0.0.1:1")
    found.conversations[7, 1] = FedConversation(7, 1, None, [], None)
    return found


def turn(number, *, last=False):
    return FinishedTurns([[None, last, ["key", [7, 1, number]], []]])


def retracted(number, *, later=True):
    return RetractAnswer(7, 1, number, later)


def has_it(worker, *messages):
    worker.receive(b"".join(process_messages.frame(message) for message in messages))
    return (7, 1) in worker.conversations


def test_a_conversation_ends_with_its_last_turn(worker):
    assert has_it(worker, turn(1))
    assert not has_it(worker, turn(2, last=True))


def test_an_answer_retracted_after_the_last_turn_is_sent_again_by_the_worker_that_has_it(worker):
    assert has_it(worker, turn(1), turn(2, last=True), retracted(2))
    assert not has_it(worker, turn(2, last=True))
    assert has_it(worker, retracted(1))  # and again
    assert has_it(worker, turn(1))
    assert not has_it(worker, turn(2, last=True))


def test_an_answer_retracted_while_the_last_turn_is_in_flight_is_sent_after_it(worker):
    assert has_it(worker, turn(1), retracted(1))
    assert has_it(worker, turn(2, last=True))  # it saw the retracted answer: both follow
    assert has_it(worker, turn(1))
    assert not has_it(worker, turn(2, last=True))


def test_an_answer_retracted_in_the_middle_ends_the_conversation_once(worker):
    assert has_it(worker, turn(1), retracted(1), turn(2))  # of three: the third is not sent before the first
    assert has_it(worker, turn(1), turn(2))
    assert not has_it(worker, turn(3, last=True))


def test_with_golden_history_only_the_retracted_turns_follow(worker):
    assert has_it(worker, turn(1), turn(2), retracted(2, later=False), retracted(1, later=False))
    assert has_it(worker, turn(3, last=True))
    assert has_it(worker, turn(1))
    assert not has_it(worker, turn(2, last=True))


def test_a_late_exchange_brings_the_retraction_in_time(worker, monkeypatch):
    monkeypatch.setattr(cluster_worker, "ENDED_S", -1.0)  # as if all of it had ended long ago
    assert has_it(worker, turn(2, last=True), retracted(2))


def test_what_ended_long_ago_is_forgotten(worker, monkeypatch):
    monkeypatch.setattr(cluster_worker, "ENDED_S", -1.0)
    assert not has_it(worker, turn(2, last=True))
    assert not has_it(worker, retracted(2))


def note_missing(missing, message):
    """Turns that a real asking process has retracted, and not sent again yet."""
    if isinstance(message, RetractAnswer):
        missing |= {(message.position, turn) for turn in ((message.turn, 2) if message.later else (message.turn,))}
    elif isinstance(message, FinishedTurns):
        missing -= {(turn[1][0], turn[1][2]) for _, _, turn, _ in message.turns}


@pytest.mark.parametrize("history", ["own", "golden"])
def test_whatever_a_real_asking_process_retracts_is_with_it_until_it_has_sent_it_again(history, tmp_path, monkeypatch):
    monkeypatch.setenv("THE_KEY", "tk" + "Abcd1234" + "s" * 22)
    worker = ClusterWorker("tcp://127.0.0.1:1")
    retractions, missing, limit = 0, set(), time.monotonic() + 40
    with serve(script(ModelDeath(0.6, 0.05))) as server, ChildProcess() as child:
        endpoint = ek.Endpoint(server.base_url, MODELS[0], "THE_KEY")
        child.start(SessionTask(endpoint, Settings(concurrency=10, history=history, retries=5), None, {}, None))
        found = enumerate(reader.read(data(tmp_path)))
        worker.give([FedConversation(at, 1, each, [at, each.to_json(), 1, None, None], None) for at, each in found])
        child.send_bytes(worker.take_outbox())
        while worker.end is None:
            assert time.monotonic() < limit
            for message in worker.receive(child.receive_bytes(100)):
                retractions += isinstance(message, RetractAnswer)
                note_missing(missing, message)
            assert {position for position, _ in missing} <= {position for position, _ in worker.conversations}
            if not worker.conversations:
                worker.send(NoMore())
                child.send_bytes(worker.take_outbox())
    assert retractions >= 1
    assert not missing
    assert not worker.conversations
