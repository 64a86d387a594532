"""A real asking process that gets its conversations as messages."""

import time

import evalkit as ek
from evalkit.datasets import reader
from evalkit.engine.asking.session_task import SessionTask
from evalkit.engine.child_process import ChildProcess
from evalkit.engine.saving.process_messages import Conversations, End, Stop
from evalkit.engine.stopping.session_outcome import SessionOutcome
from evalkit.scripted.server import Arithmetic, Law, Script, serve
from evalkit.settings import Settings


def until(condition):
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def until_end(child):
    limit = time.monotonic() + 20
    while time.monotonic() < limit:
        for message in child.receive(100) or ():
            if isinstance(message, End):
                return message
    raise AssertionError("it has not ended")


def test_a_stopped_open_loop_starts_no_conversation_that_waited_for_a_slot(sums):
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=500, itl_ms=0))) as server, ChildProcess() as child:
        endpoint = ek.Endpoint(server.base_url, "scripted")
        child.start(SessionTask(endpoint, Settings(rate=100, concurrency=1), None, {}, None))
        due = time.perf_counter_ns()
        rows = [conversation.to_json() for conversation in reader.read(sums(3, 1))]
        child.send(Conversations([[position, row, 1, None, due] for position, row in enumerate(rows)]))
        until(lambda: server.stats()["requests"] == 1)  # it has the only slot, the others wait for it
        child.send(Stop(SessionOutcome.STOPPED))
        assert until_end(child).outcome == SessionOutcome.STOPPED
        assert server.stats()["requests"] == 1


def test_a_stop_that_comes_with_the_task_ends_the_session(sums):
    with serve(Script(answer=Arithmetic())) as server, ChildProcess() as child:
        endpoint = ek.Endpoint(server.base_url, "scripted")
        child.send(Stop(SessionOutcome.STOPPED))
        child.start(SessionTask(endpoint, Settings(), None, {}, None))
        assert until_end(child).outcome == SessionOutcome.STOPPED
        assert server.stats()["requests"] == 0
