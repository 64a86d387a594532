"""Requests that are held back after a refusal, and let go step by step; time is virtual."""

import asyncio
import random

import pytest
from virtual import run

from evalkit.engine.pacing.pause import FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S, STEP_S, Pause


def paused():
    return Pause(clock=asyncio.get_running_loop().time, rng=random.Random(1))


async def going(pause, refusals=0):
    await pause.wait(refusals)
    return asyncio.get_running_loop().time()


def test_after_a_refusal_requests_go_one_by_one_until_an_answer_comes():
    async def main():
        pause = paused()
        pause.back_off(10.0, 0.1)
        waiting = [asyncio.create_task(going(pause)) for _ in range(6)]
        await asyncio.sleep(11.5)
        without_answers = sum(task.done() for task in waiting)
        for _ in range(4):
            pause.note_answer(0.0)
        await asyncio.sleep(0.01)
        assert all(task.done() for task in waiting)
        await asyncio.sleep(2)
        assert not pause.on
        return without_answers, sorted(task.result() for task in waiting)

    without_answers, times = run(main())
    assert without_answers <= 4
    assert 10 < times[0] <= 10.6
    assert times[1] - times[0] == pytest.approx(STEP_S, abs=0.01)


def test_those_refused_most_often_go_first():
    async def main():
        pause = paused()
        pause.back_off(1.0, 0.1)
        order = []

        async def one(refusals):
            await pause.wait(refusals)
            order.append(refusals)

        await asyncio.gather(*(one(refusals) for refusals in (0, 2, 1, 2, 0)))
        return order

    assert run(main()) == [2, 2, 1, 0, 0]


def test_a_refusal_without_a_wait_doubles_it_until_an_answer_comes():
    async def main():
        pause = paused()
        waits = []
        for _ in range(8):
            pause.back_off(None, 0.0)
            waits.append(pause.left_s)
            await pause.wait(1)
        pause.note_answer(0.0)
        pause.back_off(None, 0.0)
        waits.append(pause.left_s)
        return waits

    *waits, after_answer = run(main())
    for expected, wait in zip([1, 2, 4, 8, 8, 8, 8, 8], waits, strict=True):
        assert expected * FIRST_BACK_OFF_S <= wait <= expected * 1.25
    assert LONGEST_BACK_OFF_S <= after_answer <= 1.25 * LONGEST_BACK_OFF_S


def test_requests_sent_before_the_refusal_say_nothing_new():
    async def main():
        pause = paused()
        await asyncio.sleep(5)
        pause.back_off(None, 0.1)
        first = pause.until
        await asyncio.sleep(0.2)
        for _ in range(10):  # all were sent 0.4 s ago, before the first refusal came
            pause.back_off(None, 0.4)
        return first, pause.until

    first, last = run(main())
    assert first == last


def test_answers_to_requests_sent_before_the_refusal_say_nothing_either():
    async def main():
        pause = paused()
        await asyncio.sleep(5)
        pause.back_off(None, 0.1)
        pause.note_answer(0.2)
        refused = pause.refused_s
        await pause.wait(1)
        pause.back_off(None, 0.0)
        return refused, pause.left_s

    refused, left_s = run(main())
    assert refused >= 0
    assert left_s >= 2 * FIRST_BACK_OFF_S


def test_the_wait_starts_at_its_beginning_after_a_quiet_minute():
    async def main():
        pause = paused()
        for _ in range(4):
            pause.back_off(None, 0.0)
            await pause.wait(1)
        pause.note_answer(0.0)
        await asyncio.sleep(300)
        pause.back_off(None, 0.0)
        return pause.left_s

    assert run(main()) <= 1.25 * FIRST_BACK_OFF_S


def test_refused_since():
    async def main():
        pause = paused()
        assert pause.refused_s == 0
        pause.back_off(None, 0.0)
        await asyncio.sleep(7)
        refused = pause.refused_s
        pause.note_answer(0.0)
        return refused, pause.refused_s

    assert run(main()) == (pytest.approx(7, abs=0.01), 0.0)


@pytest.mark.parametrize(
    ("failing", "slow_s", "parallel"),
    [(0.0, 0.02, 64), (0.3, 0.02, 64), (0.3, 1.5, 64), (0.6, 0.02, 64), (0.6, 1.5, 64), (1.0, 0.02, 1)],
)
def test_after_one_refusal_the_rate_comes_back_also_if_requests_fail_for_other_reasons(failing, slow_s, parallel):
    """64 clients; answers take 20 ms, failures up to 1.5 s. If nothing is answered, one goes at a time."""

    async def main():
        loop, pause, drawn = asyncio.get_running_loop(), paused(), random.Random(2)
        pause.back_off(0.05, 0.0)
        flying, most = [0], [0]

        async def request():
            if pause.on:
                await pause.wait()
            sent = loop.time()
            flying[0] += 1
            most[0] = max(most[0], flying[0])
            failed = drawn.random() < failing
            await asyncio.sleep(slow_s if failed else 0.02)
            flying[0] -= 1
            if pause.on:
                (pause.note_failure if failed else pause.note_answer)(loop.time() - sent)

        async def client():
            while flying[0] < 64 and most[0] < 64:
                await request()

        clients = [asyncio.create_task(client()) for _ in range(64)]
        await asyncio.wait(clients, timeout=30.0)
        for each in clients:
            each.cancel()
        return most[0], pause.on and most[0] < 64

    assert run(main()) == (parallel, parallel == 1)


def test_a_short_hold_after_a_refusal_costs_no_request_its_place():
    async def main():
        pause = paused()
        pause.back_off(0.1, 0.0)
        tasks = [asyncio.create_task(going(pause)) for _ in range(9)]
        await asyncio.sleep(0.3)
        for _ in range(4):
            pause.note_answer(0.0)
        await asyncio.sleep(0.01)
        assert sum(task.done() for task in tasks) == 6
        pause.hold(0.2)
        for _ in range(3):  # sent before the hold, which is no refusal
            pause.note_failure(0.0)
        await asyncio.sleep(0.1)
        assert sum(task.done() for task in tasks) == 6
        await asyncio.sleep(0.2)
        return sum(task.done() for task in tasks)

    assert run(main()) == 9


def test_a_failure_of_a_request_sent_before_the_refusal_lets_none_go():
    async def main():
        pause = paused()
        await asyncio.sleep(5)
        pause.back_off(0.1, 0.1)
        tasks = [asyncio.create_task(going(pause)) for _ in range(4)]
        await asyncio.sleep(0.2)
        pause.note_answer(0.0)
        for _ in range(2):
            pause.note_failure(0.3)
        await asyncio.sleep(0.01)
        return sum(task.done() for task in tasks)

    assert run(main()) == 2


def test_while_nothing_is_answered_failures_let_none_go():
    async def main():
        pause = paused()
        pause.back_off(0.1, 0.0)
        tasks = [asyncio.create_task(going(pause)) for _ in range(9)]
        await asyncio.sleep(0.2)
        for _ in range(5):
            pause.note_failure(0.0)
        await asyncio.sleep(0.01)
        return sum(task.done() for task in tasks)

    assert run(main()) == 1


def test_a_cancelled_waiter_keeps_nobody_waiting():
    async def main():
        pause = paused()
        pause.back_off(1.0, 0.1)
        tasks = [asyncio.create_task(going(pause)) for _ in range(5)]
        await asyncio.sleep(0.5)
        for task in tasks[:4]:
            task.cancel()
        return await tasks[4]

    assert run(main()) < 2


@pytest.mark.parametrize(("quota", "window_s", "clients"), [(10, 3.0, 16), (60, 60.0, 8), (5, 10.0, 40), (1, 1.0, 4)])
@pytest.mark.parametrize("names_wait", [True, False])
def test_a_quota_refuses_few_requests_and_no_request_often(quota, window_s, clients, names_wait):
    """Clients of a fixed window; each sends as soon as it may."""

    async def main():
        loop, pause = asyncio.get_running_loop(), paused()
        window = [-1e9, 0]
        refused, worst = [0], [0]

        async def request():
            refusals = 0
            while True:
                if pause.on:
                    await pause.wait(refusals)
                sent = loop.time()
                await asyncio.sleep(0.02)
                now = loop.time()
                if now - window[0] >= window_s:
                    window[:] = now, 0
                window[1] += 1
                if window[1] <= quota:
                    if pause.on:
                        pause.note_answer(loop.time() - sent)
                    return
                refusals += 1
                refused[0] += 1
                worst[0] = max(worst[0], refusals)
                pause.back_off(window_s - (now - window[0]) if names_wait else None, loop.time() - sent)
                await asyncio.sleep(pause.left_s)

        left = [12 * quota + clients]

        async def client():
            while left[0] > 0:
                left[0] -= 1
                await request()

        await asyncio.gather(*(client() for _ in range(clients)))
        return loop.time(), refused[0], worst[0]

    took_s, refused, worst = run(main())
    windows = 12 + clients / quota
    assert took_s < windows * window_s * (1.6 if names_wait else 3.5) + window_s
    assert refused <= windows * (quota / 2 + 8) + clients
    if names_wait and clients <= 2 * quota:
        assert worst <= 2
