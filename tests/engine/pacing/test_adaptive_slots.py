"""The best limit is found and followed: on modelled servers with slots, batches, refusals, faults; and a real one."""

import asyncio
import math
import random
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual import run

from evalkit.client import request_body
from evalkit.client.transport import Transport
from evalkit.conversation import Message
from evalkit.endpoint import Endpoint
from evalkit.engine.asking.request_sender import RequestSender
from evalkit.engine.pacing.adaptive_slots import HISTORY, AdaptiveSlots
from evalkit.engine.pacing.rate_limits import RateLimiter
from evalkit.engine.pacing.slots import Slots
from evalkit.record import Answer, Attempt, Timing, Usage
from evalkit.scripted.server import Law, Script, serve

S = 1_000_000_000


class Server:
    """``slots`` answers of 100 tokens at once, ``service`` seconds each; what is beyond waits in a queue.

    ``draw`` varies the length; ``batch`` makes all slower, twice as slow at so many; ``refuse`` is how many are let
    in before a 429; ``broken`` is the share that fails.
    """

    def __init__(self, slots=10_000, *, service=0.5, draw=lambda: 1.0, stream=True, counts=True, **more):
        self.slots, self.service, self.draw, self.stream, self.counts = slots, service, draw, stream, counts
        self.batch, self.refuse, self.broken = (more.get(name) for name in ("batch", "refuse", "broken"))
        self.inside = self.busy = 0
        self.queue = deque()
        self.chance = random.Random(1)

    async def ask(self):
        if self.refuse is not None and self.inside >= self.refuse:
            return await self.fail("rate_limited")
        if self.broken and self.chance.random() < self.broken:
            return await self.fail("server")
        loop = asyncio.get_running_loop()
        begun = loop.time()
        self.inside += 1
        if self.busy < self.slots:
            self.busy += 1
        else:
            self.queue.append(loop.create_future())
            await self.queue[-1]
        tokens = math.ceil(100 * self.draw())
        seconds = self.service * (1 + self.inside / self.batch if self.batch else 1)
        await asyncio.sleep(seconds / 5)
        first = loop.time()
        await asyncio.sleep(seconds * 4 / 5 * tokens / 100)
        self.busy -= 1
        while self.queue and self.busy < self.slots:
            self.busy += 1
            self.queue.popleft().set_result(None)
        self.inside -= 1
        return {
            "kind": None,
            "ttft_ns": round((first - begun) * S) if self.stream else None,
            "latency_ns": round((loop.time() - begun) * S),
            "output_tokens": tokens if self.counts else None,
        }

    @staticmethod
    async def fail(kind):
        await asyncio.sleep(0.002)
        return {"kind": kind, "ttft_ns": None, "latency_ns": 2_000_000, "output_tokens": None}


def drive(server, seconds, changes=None, busy=10_000):
    """Ask for so long, as much as the slots lets through; the limits by time, in tenths of a second."""

    async def main():
        loop = asyncio.get_running_loop()
        slots, tasks, workers = Slots(1), set(), asyncio.Semaphore(busy)
        adaptive = AdaptiveSlots(slots, loop.time)

        async def one():
            told = await server.ask()
            slots.release()
            workers.release()
            adaptive.note(**told)

        for at, change in (changes or {}).items():
            loop.call_later(at, lambda change=change: [setattr(server, *item) for item in change.items()])
        while loop.time() < seconds:
            await workers.acquire()
            await slots.acquire()
            task = asyncio.create_task(one())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return Limits(adaptive.history)

    return run(main())


class Limits:
    def __init__(self, history):
        self.history = history

    def at(self, second):
        return [limit for since, limit in self.history if since <= second][-1]

    def mean(self, start, end):
        return sum(self.at(start + (end - start) * i / 500) for i in range(500)) / 500

    def near(self, adaptive, start, end, factor=2.0):
        return adaptive / factor <= self.mean(start, end) <= factor * adaptive


DRAWS = {
    "even": lambda chance: lambda: 1.0,
    "exponential": lambda chance: lambda: chance.expovariate(1) + 1e-3,
    "lognormal": lambda chance: lambda: math.exp(chance.gauss(-0.3, 0.8)),
}


@pytest.mark.parametrize(
    ("slots", "how"),
    [
        *((slots, {}) for slots in (1, 4, 16, 64)),
        *((slots, {"stream": False}) for slots in (1, 4, 16)),
        *((slots, {"counts": False}) for slots in (1, 4, 16)),
    ],
)
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_it_settles_near_the_number_of_slots(slots, draw, how):
    limits = drive(Server(slots, draw=draw(random.Random(1)), **how), 120)
    if draw is DRAWS["even"]:
        assert limits.near(slots, 40, 80)
        assert limits.near(slots, 80, 120)
    else:  # eight answers of any length tell latency to a third at best
        assert limits.near(slots, 40, 120, factor=3)


def test_it_doubles_at_first():
    history = drive(Server(64), 20).history
    assert [limit for _, limit in history[:9]] == [1, 2, 4, 8, 16, 32, 64, 128, 64]
    assert history[6][0] < 6


@pytest.mark.parametrize(("before", "after"), [(16, 64), (4, 64), (1, 16), (64, 16), (16, 4), (4, 1)])
def test_it_follows_when_the_number_of_slots_changes(before, after):
    limits = drive(Server(before), 160, {60: {"slots": after}})
    assert limits.near(before, 40, 60)
    assert limits.near(after, 110, 160)


def test_an_endpoint_that_gets_slower_by_itself_gets_no_fewer_requests():
    limits = drive(Server(32), 300, {60: {"service": 2.0}})
    assert limits.near(32, 40, 60)
    assert limits.near(32, 120, 300)


def test_longer_answers_are_not_overload():
    limits = drive(Server(32), 200, {60: {"draw": lambda: 8.0}})
    assert min(limits.at(60 + i) for i in range(140)) >= 16


@pytest.mark.parametrize("refuse", [1, 5, 20, 100])
def test_it_stays_near_the_limit_where_requests_are_refused(refuse):
    limits = drive(Server(refuse=refuse), 120)
    assert limits.near(refuse, 60, 120)
    assert max(limits.at(60 + i) for i in range(60)) <= refuse + 2


def test_simultaneous_refusals_lower_it_once():
    clock, slots = [0.0], Slots(1)
    adaptive = AdaptiveSlots(slots, lambda: clock[0])
    while slots.limit < 64:
        clock[0] += 1
        slots.in_use = slots.limit
        for _ in range(slots.limit * 4):
            adaptive.note(kind=None, ttft_ns=S // 10, latency_ns=S // 2, output_tokens=10)
    adaptive.note(kind="rate_limited", ttft_ns=None, latency_ns=S // 100, output_tokens=None)
    lowered = slots.limit
    for _ in range(30):
        clock[0] += 0.01
        adaptive.note(kind="rate_limited", ttft_ns=None, latency_ns=S // 100, output_tokens=None)
    assert slots.limit == lowered == 32
    clock[0] += 1
    adaptive.note(kind="rate_limited", ttft_ns=None, latency_ns=S // 100, output_tokens=None)
    assert slots.limit == 24


def test_an_occasional_fault_is_not_overload():
    limits = drive(Server(64, broken=0.01), 100)
    assert limits.near(64, 40, 100)


def test_a_failing_endpoint_gets_fewer_requests_until_it_recovers():
    limits = drive(Server(64), 100, {30: {"broken": 1.0}, 50: {"broken": 0.0}})
    assert limits.at(49) == 1
    assert limits.near(64, 75, 100)


def test_a_batch_that_slows_down_gradually_is_filled_while_throughput_grows():
    limits = drive(Server(batch=32, draw=DRAWS["exponential"](random.Random(1))), 100)
    assert 24 <= limits.mean(40, 100) <= 128  # half of what it can do at most is reached at 32, four fifths at 128


def test_without_overload_it_rises_to_the_ceiling():
    assert drive(Server(), 12).history[-1][1] == 1024


def test_the_limit_does_not_rise_while_slots_are_free():
    limits = drive(Server(), 60, busy=5)
    assert max(limit for _, limit in limits.history) <= 8


class Paced(Server):
    """A server as a dialogue asks it: what it gives is an attempt."""

    async def send(self, body, *, stream, due, slot, number=1, round=0, logprobs=False):
        told = await self.ask()
        timing = Timing(due, 0, 0, arrivals=(told["ttft_ns"],), arrival_events=(1,), end=told["latency_ns"])
        return Attempt(timing, streamed=True, answer=Answer("Yes."), usage=Usage(10, told["output_tokens"]))


@pytest.mark.parametrize(("rpm", "tpm"), [(240, None), (None, 26_400), (240, 26_400), (2400, None)])
def test_waiting_for_a_permit_uses_no_slot(rpm, tpm):
    """The server runs 4 in parallel, 50 ms each, which is 4,800 a minute: the limits alone say how fast it is asked."""

    async def main():
        loop = asyncio.get_running_loop()
        server, slots, most = Paced(4, service=0.05), Slots(1), 0
        adaptive = AdaptiveSlots(slots, loop.time)
        sender = RequestSender(
            server,
            Endpoint("http://127.0.0.1:9", "m"),
            slots=slots,
            adaptive_slots=adaptive,
            rate_limiter=RateLimiter(rpm, tpm, loop.time),
        )

        async def one():
            nonlocal most
            while loop.time() < 300:
                await sender.send_with_retries([Message("user", "x" * 40)], due=0)
                most = max(most, slots.in_use)

        tasks = [asyncio.create_task(one()) for _ in range(200)]
        await asyncio.sleep(30)
        while loop.time() < 295:
            assert slots.in_use <= server.inside + 1  # nobody is inside and waits
            await asyncio.sleep(0.37)
        await asyncio.gather(*tasks)
        return Limits(adaptive.history)

    limits = run(main())
    assert limits.history[-1][1] <= 16
    assert limits.near(4, 0, 300, factor=3)


NOTES = st.lists(
    st.tuples(
        st.sampled_from([None, None, None, "rate_limited", "server", "connection", "timeout", "auth", "empty"]),
        st.none() | st.integers(0, 10 * S),
        st.none() | st.integers(0, 100 * S),
        st.none() | st.integers(0, 10_000),
        st.floats(0, 10),
        st.integers(0, 2000),
    ),
    max_size=200,
)


@settings(max_examples=200)
@given(NOTES)
def test_the_limit_stays_within_its_bounds_for_any_input(notes):
    now, slots = 0.0, Slots(7)
    adaptive = AdaptiveSlots(slots, lambda: now, ceiling=40)
    for kind, ttft, latency, tokens, pause, inside in notes:
        now += pause
        slots.in_use = inside
        ttft = None if ttft is None or latency is None else min(ttft, latency)
        adaptive.note(kind=kind, ttft_ns=ttft, latency_ns=latency, output_tokens=tokens)
        assert 1 <= slots.limit <= 40
    assert adaptive.history[0] == (0.0, 1)
    assert adaptive.history[-1][1] == slots.limit


def test_the_history_is_bounded_and_keeps_its_ends():
    history = drive(Server(1, service=0.01), 100).history
    assert len(history) <= HISTORY
    assert history[0] == (0.0, 1)
    assert history[-1][0] > 99
    assert history == sorted(history)


def test_it_finds_the_slots_of_a_real_server():
    async def main(server):
        endpoint, slots = Endpoint(server.base_url, server.model), Slots(1)
        adaptive, tasks = AdaptiveSlots(slots), set()
        body = request_body.request_body(
            [Message("user", "Hello!")], model=server.model, stream=True, include_usage=True
        )

        async def one(transport):
            attempt = await transport.send(body, stream=True, due=0, slot=0)
            slots.release()
            timing = attempt.timing
            adaptive.note(
                kind=attempt.failure.kind if attempt.failure else None,
                ttft_ns=timing.arrivals[0] - timing.sent if timing.arrivals else None,
                latency_ns=timing.end - timing.sent if timing.end else None,
                output_tokens=attempt.usage.output_tokens if attempt.usage else None,
            )

        async with Transport(endpoint) as transport:
            for _ in range(400):
                await slots.acquire()
                tasks.add(asyncio.create_task(one(transport)))
            await asyncio.gather(*tasks)
        return Limits(adaptive.history)

    with serve(Script(law=Law(ttft_ms=10, itl_ms=2, tokens=11, slots=4))) as server:
        limits = asyncio.run(main(server))
        assert server.stats()["status"] == {"200": 400}
    assert limits.near(4, 1.0, 2.9)
