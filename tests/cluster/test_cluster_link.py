"""Which worker gets what and when a run ends, without a cluster: workers are put into states."""

import time

import pytest

import evalkit as ek
from evalkit.cluster import cluster_link, shares
from evalkit.cluster.cluster_link import ClusterLink
from evalkit.cluster.cluster_worker import Stage
from evalkit.engine.asking.session_task import SessionTask
from evalkit.engine.saving.process_messages import End, FrameReader, NoMore
from evalkit.settings import Settings


class PendingTask:
    """A task that never ends: its worker hangs."""

    status = "pending"

    def add_done_callback(self, function):
        """Nothing is ever done."""

    def cancel(self):
        """There is nothing to cancel."""


class HungClient:
    """The client of a cluster whose workers never answer."""

    status = "running"

    def __init__(self):
        self.addresses = []

    def nthreads(self):
        return dict.fromkeys(self.addresses, 1)

    def submit(self, function, *arguments, **options):
        return PendingTask()


@pytest.fixture
def begin(sums, tmp_path):
    """Start a session of three conversations on workers with these names."""

    def make(names, **settings):
        client = HungClient()
        client.addresses = list(names)
        link = ClusterLink(client)
        link._endpoint = ek.Endpoint("http://127.0.0.1:9/v1", "m")
        link.start(SessionTask(link._endpoint, Settings(**settings), sums(3, 3), {}, tmp_path / "r.evalkit"))
        return link, [link._pool.add(name) for name in names]

    return make


def start(link, *workers):
    """Let workers that have a share send requests."""
    for worker in workers:
        worker._readings = [(1, 0)]
        worker.facts = {"host": "here"}
        worker.stage, worker.started = Stage.ASKING, True
    link._started_ns = time.perf_counter_ns()


def take_all(link):
    while link._feed.take() is not None:
        pass


def test_a_worker_keeps_its_share_when_one_that_joined_before_it_opens(begin):
    link, (first, late, third) = begin("abc", concurrency=2)
    first.stage = third.stage = Stage.WAITING  # the second one still opens
    link._share(0.0)
    start(link, first, third)
    late.stage = Stage.WAITING
    link._share(1.0)
    assert [worker.share and worker.share.slots for worker in (first, late, third)] == [1, None, 1]


def test_all_workers_end_with_the_run_whether_they_have_a_share_or_not(begin):
    link, (first, second, third) = begin("abc", concurrency=3)
    for worker in (first, second, third):
        worker.stage = Stage.WAITING
    link._share(0.0)
    start(link, first, second, third)
    third.share = None
    take_all(link)
    link._give_out()
    sent = [FrameReader().feed(worker.take_outbox()) for worker in (first, second, third)]
    assert [messages[-1] for messages in sent] == [NoMore()] * 3
    first.stage = second.stage = third.stage = Stage.ENDED
    assert link._is_over()


def test_few_conversations_are_shared_by_all_workers(begin):
    """One that asks first gets no more than its slots while others have none."""
    link, (first, busy) = begin("ab", concurrency=2)
    first.stage = busy.stage = Stage.WAITING
    link._share(0.0)
    start(link, first, busy)
    busy.future = object()  # it has a task, and gets them with the next one
    link._give_out()
    assert (len(first.conversations), len(busy.conversations)) == (2, 1)
    assert b'"conversations"' in busy.take_outbox()


def test_a_run_without_further_conversations_ends_although_its_last_worker_is_lost(begin):
    link, (only,) = begin("a")
    only.stage = Stage.WAITING
    link._share(0.0)
    start(link, only)
    take_all(link)
    link._lose(only, "killed")
    link._give_out()
    assert link._is_over()
    assert link._end().outcome == "done"


def test_a_worker_without_a_share_starts_no_session(begin):
    link, (first, second) = begin("ab")
    first.stage = Stage.WAITING
    link._share(0.0)
    start(link, first)
    second.stage = Stage.ASKING  # its share was taken away before it had started
    link._ask(second)
    assert (second.started, second.future) == (False, None)


@pytest.mark.parametrize("limits", [{"rpm": 600}, {"tpm": 1_000_000}])
def test_a_process_started_again_at_the_same_address_waits_for_its_share(begin, limits):
    link, (first, second) = begin("ab", **limits)
    first.stage = second.stage = Stage.WAITING
    link._share(0.0)
    start(link, first, second)
    link._lose(second, "killed")
    again = link._pool.add("b")
    again.stage = Stage.WAITING
    link._share(1.0)
    assert again.share is None
    link._share(1.0 + shares.COUNTS_S)
    assert (again.share.rpm or again.share.tpm) == next(iter(limits.values())) / 2


def test_a_worker_that_hangs_while_its_clock_is_read_holds_nothing_up(begin):
    link, (first, hung) = begin("ab")
    first.stage = hung.stage = Stage.WAITING
    link._share(0.0)
    link._ask(hung)
    first.stage = Stage.ASKING
    link._give_out()
    assert not link._started_ns
    link._look(hung.asked_s + cluster_link.SILENT_S + 1)
    assert hung not in link._pool.workers.values()
    link._give_out()
    assert link._started_ns
    assert first.conversations


def test_a_worker_that_never_opens_is_no_company(begin):
    link, (only,) = begin("a")
    now = time.monotonic()
    only.stage = Stage.WAITING
    link._look(now)
    only.stage = Stage.OPENING
    link._look(now + cluster_link.ALONE_S - 1)
    assert not link._is_over()
    link._look(now + cluster_link.ALONE_S + 1)
    assert link._is_over()
    end = link._end()
    assert isinstance(end, End)
    assert "has had no workers for 60 s" in end.error_text
