"""How a worker collects what its asking process sends."""

import pytest

from evalkit.cluster import worker_sessions


class Child:
    """An asking process that always has something to read."""

    def __init__(self, *sent):
        self.sent, self.reads = sent, 0

    def receive_bytes(self, wait_ms):
        self.reads += 1
        return self.sent[min(self.reads, len(self.sent)) - 1]


def test_small_messages_are_collected_in_few_reads():
    child, wait_s = Child(b'["turns",[]]\n'), 0.2
    received = worker_sessions._received(child, wait_s)
    assert received == b'["turns",[]]\n' * child.reads
    assert 1 <= child.reads <= wait_s / worker_sessions.COLLECT_S + 2


@pytest.mark.parametrize("urgent", [b'["call",0,"f","{}"]\n', b'["end",1]\n', b"x" * (worker_sessions.MOST_BYTES + 1)])
def test_what_somebody_waits_for_or_is_large_is_passed_on_immediately(urgent):
    child = Child(b'["turns",[]]\n', urgent)
    assert worker_sessions._received(child, 60.0) == b'["turns",[]]\n' + urgent
    assert child.reads == 2


def test_what_a_process_sent_before_it_ended_is_not_lost():
    assert worker_sessions._received(Child(b'["turns",[]]\n', None), 60.0) == b'["turns",[]]\n'
    assert worker_sessions._received(Child(None), 60.0) is None
