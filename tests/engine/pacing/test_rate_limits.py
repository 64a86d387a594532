"""Requests and tokens per minute, retries, and pauses for all requests; with an injected clock."""

import asyncio
import math
import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual import run

from evalkit.engine.pacing.minute_window import WINDOW_S
from evalkit.engine.pacing.pause import Pause
from evalkit.engine.pacing.rate_limits import FIRST_OUTPUT, RateLimiter
from evalkit.engine.pacing.retries import BUDGET_EXHAUSTED, RetryBudget, RetryPolicy
from evalkit.errors import Failure


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


# ---- retries


@pytest.mark.parametrize("kind", ["rate_limited", "server", "connection", "truncated", "empty"])
def test_temporary_faults_are_retried(kind):
    retry = RetryPolicy(retries=2)
    assert retry.decide(Failure(kind, ""), 1).delay_s is not None
    assert retry.decide(Failure(kind, ""), 3).delay_s is None


@pytest.mark.parametrize("kind", ["auth", "not_found", "bad_request", "timeout", "protocol", "cancelled"])
def test_permanent_failures_are_not_retried(kind):
    assert RetryPolicy().decide(Failure(kind, ""), 1).delay_s is None


@pytest.mark.parametrize(
    ("kind", "code"), [("rate_limited", "insufficient_quota"), ("empty", "length"), ("empty", "content_filter")]
)
def test_lasting_error_codes_are_not_retried(kind, code):
    assert RetryPolicy().decide(Failure(kind, "", code=code), 1).delay_s is None


def test_a_requested_wait_is_obeyed_up_to_a_bound():
    retry = RetryPolicy()
    delay = retry.decide(Failure("rate_limited", "", retry_after_s=7.0), 1).delay_s
    assert delay is not None
    assert 7 <= delay <= 7.5
    assert retry.decide(Failure("rate_limited", "", retry_after_s=3600.0), 1).delay_s is None


@given(st.integers(1, 12), st.integers(0, 1000))
def test_back_off_has_full_jitter_below_a_doubling_cap(number, seed):
    retry = RetryPolicy(retries=20, rng=random.Random(seed))
    delay = retry.decide(Failure("server", ""), number).delay_s
    assert delay is not None
    assert 0 <= delay <= min(30.0, 0.5 * 2 ** (number - 1))


def test_two_clients_that_start_together_do_not_retry_together():
    """Each draws its own waits, in one process and in several."""
    code = (
        "from evalkit.engine.pacing.pause import Pause; from evalkit.engine.pacing.retries import RetryPolicy; "
        "print(RetryPolicy().rng.random(), Pause()._rng.random())"
    )
    told = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)]
    assert len({number for line in told for number in line.split()}) == 4
    delays = [RetryPolicy().decide(Failure("server", ""), 1).delay_s for _ in range(4)]
    assert len(set(delays)) == 4


def test_an_exhausted_retry_budget_ends_retries_with_a_note():
    clock = Clock()
    retry = RetryPolicy(budget=RetryBudget(share=0.2, reserve=3, clock=clock))
    decisions = [retry.decide(Failure("server", ""), 1) for _ in range(5)]
    assert [ruling.delay_s is None for ruling in decisions] == [False] * 3 + [True] * 2
    assert decisions[-1].note == BUDGET_EXHAUSTED == "Not tried again: too many of the last requests failed."
    assert decisions[0].note == ""
    clock.now += 62
    assert retry.decide(Failure("server", ""), 1).delay_s is not None


def test_failures_that_are_not_retried_use_no_budget():
    retry = RetryPolicy(retries=2, budget=RetryBudget(reserve=1, clock=Clock()))
    assert retry.decide(Failure("auth", ""), 1) == (None, "")
    assert retry.decide(Failure("server", ""), 3) == (None, "")
    told = retry.decide(Failure("rate_limited", "", retry_after_s=3600.0), 1)
    assert told == (None, "Not tried again: the endpoint asks to wait 60 min, longer than 120 s.")
    assert retry.decide(Failure("server", ""), 1).delay_s is not None


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=200), st.floats(0, 1), st.integers(0, 20))
def test_retries_stay_a_share_of_the_first_tries(steps, share, reserve):
    clock = Clock()
    budget = RetryBudget(share, reserve, clock)
    tries, retries = [], []
    for pause, first in steps:
        clock.now += pause
        second = int(clock.now)
        if first:
            budget.note_first_try()
            tries.append(second)
        before = sum(at >= second - 60 for at in retries)
        allowed = reserve + share * sum(at >= second - 60 for at in tries)
        if not first:
            yes = budget.allow()
            assert yes == (before + 1 <= allowed)
            retries += [second] * yes


# ---- pauses


def test_all_requests_wait_for_the_end_of_a_pause_and_return_spread_out():
    async def main():
        loop = asyncio.get_running_loop()
        pause = Pause(clock=loop.time)
        assert not pause.on
        pause.hold(30)
        pause.hold(5)  # shorter: changes nothing
        assert pause.on

        async def one():
            await pause.wait()
            return loop.time()

        back = await asyncio.gather(*(one() for _ in range(100)))
        assert not pause.on
        await pause.wait()
        return sorted(back)

    back = run(main())
    assert 30 <= back[0] <= back[-1] <= 32
    assert back[-1] - back[0] > 1.5
    assert len(set(back)) > 90


def test_a_pause_that_is_made_longer_holds_those_who_wait_already():
    async def main():
        loop = asyncio.get_running_loop()
        pause = Pause(clock=loop.time)
        pause.hold(10)
        waiting = asyncio.create_task(pause.wait())
        await asyncio.sleep(9)
        pause.hold(20)
        await waiting
        return loop.time()

    assert 29 <= run(main()) <= 31


@given(st.lists(st.tuples(st.floats(0, 100), st.floats()), max_size=20))
def test_a_pause_is_never_longer_than_its_bound(holds):
    clock = Clock()
    slept = []

    async def sleep(seconds):
        slept.append(seconds)
        clock.now += seconds

    pause = Pause(clock=clock, sleep=sleep)
    for pass_s, seconds in holds:
        clock.now += pass_s
        pause.hold(seconds)
        assert pause.until <= clock.now + 120
    latest = max(clock.now, pause.until)
    asyncio.run(pause.wait())
    assert latest <= clock.now <= latest + 2
    assert not pause.on


# ---- requests and tokens per minute


def test_a_limiter_without_limits_never_waits():
    async def many():
        limiter = RateLimiter()
        assert limiter.unlimited
        return [await limiter.permit(1e9) for _ in range(1000)]

    assert asyncio.run(many()) == [None] * 1000


class Endpoint:
    """Asks as fast as a limiter lets it for so long; keeps when each was let go, and its true tokens."""

    def __init__(self, seconds, *, rpm=None, tpm=None, at_once=64, latency=5.0, request, told=True):
        self.seconds, self.at_once, self.latency, self.request, self.told = seconds, at_once, latency, request, told
        self.rpm, self.tpm = rpm, tpm
        self.sent, self.order = [], []  # [time, true tokens, reserved, time of settling]

    def run(self):
        run(self._all())
        return self

    async def _all(self):
        loop = asyncio.get_running_loop()
        self.limiter = RateLimiter(self.rpm, self.tpm, loop.time)
        await asyncio.gather(*(self._worker(loop) for _ in range(self.at_once)))

    async def _worker(self, loop):
        while loop.time() < self.seconds:
            estimate, limit, prompt, output = self.request()
            permit = await self.limiter.permit(estimate, limit)
            reserved = permit.spent.amount if permit else 0
            entry = [loop.time(), prompt + output, reserved, math.inf]
            self.sent.append(entry)
            await asyncio.sleep(self.latency() if callable(self.latency) else self.latency)
            entry[3] = loop.time()
            if self.told:
                self.limiter.settle(permit, prompt, output)
            else:
                self.limiter.settle(permit, characters=output * 4)

    def windows(self):
        """What each window of 60 s that ends with a request held: the entries."""
        start = 0
        for end, (at, *_) in enumerate(self.sent):
            while self.sent[start][0] <= at - WINDOW_S:
                start += 1
            yield at, self.sent[start : end + 1]

    def used(self, minutes, what):
        return sum(what(entry) for entry in self.sent if entry[0] < minutes * 60) / minutes


@settings(max_examples=6, deadline=None)
@given(st.integers(30, 1500), st.floats(0.01, 20), st.integers(1, 200))
def test_requests_per_minute_are_kept_and_used(rpm, latency, at_once):
    asked = Endpoint(400, rpm=rpm, latency=latency, at_once=at_once, request=lambda: (10, None, 10, 10)).run()
    for _, window in asked.windows():
        assert len(window) <= rpm
    possible = min(rpm, at_once * 60 / latency)
    if possible == rpm:
        assert asked.used(6, lambda entry: 1) >= 0.95 * rpm


@pytest.mark.parametrize("rpm", [4, 60, 600, 6000])
def test_a_minute_s_requests_go_evenly_but_for_ten_seconds_worth(rpm):
    asked = Endpoint(300, rpm=rpm, latency=0.1, at_once=rpm, request=lambda: (10, None, 10, 10)).run()
    times = [at for at, *_ in asked.sent]
    for start in (0, 3, 17, 30, 61, 100):
        for length in (0.001, 1, 5, 20):
            sent = sum(start <= at < start + length for at in times)
            assert sent <= 1 + max(1, rpm / 6) + rpm / 60 * length
    assert asked.used(5, lambda entry: 1) >= 0.95 * rpm


def test_a_minute_s_tokens_go_evenly_but_for_ten_seconds_worth_and_one_request():
    tpm = 60_000
    asked = Endpoint(300, tpm=tpm, latency=2.0, at_once=300, request=lambda: (100, 100, 100, 100)).run()
    for start in (0, 3, 17, 30, 61, 100):
        for length in (0.001, 1, 5, 20):
            sent = sum(tokens for at, tokens, *_ in asked.sent if start <= at < start + length)
            assert sent <= 200 + tpm / 6 + tpm / 60 * length
    assert asked.used(5, lambda entry: entry[1]) >= 0.95 * tpm


def spread(seed, mean_output, *, limit=None, prompt_off=1.0):
    """Requests of any length: (estimate of the prompt, limit, true prompt, true output)."""
    draw = random.Random(seed)

    def request():
        prompt = draw.randint(20, 200)
        output = max(1, round(draw.expovariate(1 / mean_output)))
        return prompt / prompt_off, limit, prompt, min(output, limit) if limit else output

    return request


def guaranteed(asked, tpm):
    """The words of ``Pacer``: above the limit only by what those not settled took above their reservations."""
    for at, window in asked.windows():
        total = sum(tokens for _, tokens, *_ in window)
        beyond = sum(max(0, tokens - reserved) for _, tokens, reserved, settled in window if settled >= at)
        assert total <= tpm + beyond or len(window) == 1


@settings(max_examples=6, deadline=None)
@given(
    st.integers(0, 1000), st.integers(50, 400), st.floats(0.1, 6), st.sampled_from([0.5, 1.0, 2.0, 4.0]),
    st.sampled_from([None, 2000]),
)  # fmt: skip
def test_tokens_per_minute_are_kept_and_used(seed, mean, latency, prompt_off, limit):
    tpm = 400 * (110 + mean)
    request = spread(seed, mean, limit=limit, prompt_off=prompt_off)
    asked = Endpoint(490, tpm=tpm, latency=latency, at_once=300, request=request).run()
    guaranteed(asked, tpm)
    learnt = [window for at, window in asked.windows() if window[0][0] > 60]
    totals = [sum(tokens for _, tokens, *_ in window) for window in learnt]
    assert max(totals) <= 1.005 * tpm
    assert sum(total > tpm for total in totals) <= 0.001 * len(totals)
    assert asked.used(8, lambda entry: entry[1]) >= 0.95 * tpm


@pytest.mark.parametrize("mean", [60, 300])
def test_no_window_is_above_the_tokens_a_minute(mean):
    tpm = 400 * (110 + mean)
    asked = Endpoint(490, tpm=tpm, latency=8.0, at_once=300, request=spread(7, mean, prompt_off=2.0)).run()
    assert max(sum(tokens for _, tokens, *_ in window) for _, window in asked.windows()) <= tpm
    assert asked.used(8, lambda entry: entry[1]) >= 0.95 * tpm


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_no_window_exceeds_its_limit_by_more_than_the_unsettled_requests(data):
    tpm, seed = data.draw(st.integers(1, 5000)), data.draw(st.integers())
    draw = random.Random(seed)
    ratio = data.draw(st.floats(0.1, 10))

    def request():
        estimate = draw.randint(0, 300)
        return estimate, draw.choice([None, 50, 500]), round(estimate * ratio), draw.randint(0, 4000)

    asked = Endpoint(
        300, tpm=tpm, rpm=data.draw(st.sampled_from([None, 20])), at_once=data.draw(st.integers(1, 40)),
        latency=lambda: draw.uniform(0, 100), request=request, told=data.draw(st.booleans()),
    )  # fmt: skip
    asked.run()
    if asked.told:
        guaranteed(asked, tpm)
    for _, window in asked.windows():
        assert asked.rpm is None or len(window) <= asked.rpm


def test_a_late_count_above_the_reservation_is_taken_from_what_follows():
    async def main():
        loop = asyncio.get_running_loop()
        limiter = RateLimiter(tpm=1000, clock=loop.time)
        permit = await limiter.permit(100, max_output=100)
        await asyncio.sleep(10)
        limiter.settle(permit, 100, 850)
        await limiter.permit(40, max_output=10)
        assert loop.time() == pytest.approx(10)
        await limiter.permit(40, max_output=10)
        assert loop.time() == pytest.approx(60.5)
        late = await limiter.permit(100, max_output=100)
        await asyncio.sleep(100)  # it has left the window by now: its excess counts from now on
        limiter.settle(late, 100, 900)
        before = loop.time()
        await limiter.permit(250, max_output=1)
        return loop.time() - before

    assert run(main()) == pytest.approx(60.5)


def test_a_count_below_the_reservation_lets_a_waiter_go_immediately():
    async def main():
        loop = asyncio.get_running_loop()
        limiter = RateLimiter(tpm=1000, clock=loop.time)
        permit = await limiter.permit(100, max_output=900)
        waiting = asyncio.create_task(limiter.permit(100, max_output=500))
        await asyncio.sleep(5)
        limiter.settle(permit, 100, 50)
        await waiting
        return loop.time()

    assert run(main()) <= 5.2


class CountedSlots:
    """A source that counts its slots in use, and gives none for a while."""

    def __init__(self, loop, opens_at=0.0):
        self.loop, self.opens_at, self.in_use, self.closed = loop, opens_at, 0, False

    def check(self):
        if self.closed:
            raise LookupError

    async def acquire(self):
        await asyncio.sleep(max(0.0, self.opens_at - self.loop.time()))
        self.in_use += 1

    def release(self):
        self.in_use -= 1


def test_a_request_holds_neither_slot_nor_permit_while_it_waits_for_the_other():
    async def main():
        loop = asyncio.get_running_loop()
        limiter, slots = RateLimiter(rpm=2, clock=loop.time), CountedSlots(loop, opens_at=45)
        tasks = [asyncio.create_task(limiter.permit(1, slots=slots)) for _ in range(4)]
        await asyncio.sleep(40)
        assert (slots.in_use, limiter._requests._sum) == (0, 0)
        await asyncio.sleep(10)  # one was let go, the next waits for its permit
        assert (slots.in_use, limiter._requests._sum) == (1, 1)
        await asyncio.gather(*tasks)
        return loop.time()

    assert run(main()) > 45 + 60


def test_an_error_of_check_ends_the_wait_for_a_permit():
    async def main():
        loop = asyncio.get_running_loop()
        limiter, slots = RateLimiter(rpm=1, clock=loop.time), CountedSlots(loop)
        tasks = [asyncio.create_task(limiter.permit(1, slots=slots)) for _ in range(100)]
        await asyncio.sleep(10)
        slots.closed = True
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(end, LookupError) for end in ended) == 99
        return loop.time()

    assert run(main()) < 11


def test_a_request_above_the_whole_limit_goes_alone():
    async def main():
        loop = asyncio.get_running_loop()
        limiter = RateLimiter(tpm=1000, clock=loop.time)
        times = []
        for prompt in (10, 5000, 10):
            permit = await limiter.permit(prompt, max_output=10)
            limiter.settle(permit, prompt, 10)
            times.append(loop.time())
        return times

    assert run(main()) == pytest.approx([0, 60.5, 121], abs=1e-6)


def test_reservations_learn_from_use():
    async def main():
        limiter = RateLimiter(tpm=1e9, clock=asyncio.get_running_loop().time)
        reserved = []
        for _ in range(20):
            permit = await limiter.permit(100)
            reserved.append(permit.spent.amount)
            limiter.settle(permit, 150, 30)
        limited = await limiter.permit(100, max_output=20)
        return [*reserved, limited.spent.amount]

    reserved = run(main())
    assert reserved[0] == 100 + FIRST_OUTPUT
    assert reserved[1] == 150 + FIRST_OUTPUT
    assert reserved[8] == reserved[19] == 180
    assert reserved[20] == 170


def test_without_a_token_count_the_length_counts_and_without_that_the_reservation():
    async def main():
        limiter = RateLimiter(tpm=1000, clock=asyncio.get_running_loop().time)
        first = await limiter.permit(100, max_output=400)
        limiter.settle(first, characters=401)
        limiter.settle(first, 1, 1)  # a second time does nothing
        second = await limiter.permit(100, max_output=400)
        limiter.settle(second)
        limiter.settle(None, 5, 5)
        return first.spent.amount, limiter

    _, limiter = run(main())
    assert limiter._tokens._sum == 100 + 101 + 500


def test_permits_go_in_order_and_a_cancelled_waiter_delays_nobody():
    async def main():
        loop = asyncio.get_running_loop()
        limiter, order = RateLimiter(rpm=1, clock=loop.time), []

        async def one(number):
            await limiter.permit(1)
            order.append((number, int(loop.time())))

        tasks = [asyncio.create_task(one(number)) for number in range(5)]
        await asyncio.sleep(1)
        tasks[1].cancel()
        tasks[3].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return order

    assert run(main()) == [(0, 0), (2, 60), (4, 121)]
