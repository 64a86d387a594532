"""Slots: never more in use than the limit, first come first served, and none is lost when a waiter is cancelled."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loops import pytest_generate_tests  # noqa: F401

from evalkit.engine.pacing.slots import Slots
from evalkit.errors import SettingsError


async def settle():
    for _ in range(3):
        await asyncio.sleep(0)


def waiting(slots):
    return len(slots._waiters)


def test_a_free_slot_is_acquired_without_yielding(run):
    async def main():
        slots = Slots(2)
        entering = slots.acquire()
        with pytest.raises(StopIteration):
            entering.send(None)
        assert slots.try_acquire()
        assert not slots.try_acquire()
        assert slots.in_use == 2

    run(main())


def test_waiters_get_slots_in_order_and_nobody_overtakes_them(run):
    async def main():
        slots, order = Slots(1), []

        async def one(number):
            await slots.acquire()
            order.append(number)

        await slots.acquire()
        tasks = [asyncio.create_task(one(number)) for number in range(5)]
        await settle()
        assert (waiting(slots), order) == (5, [])
        for _ in range(5):
            slots.release()
            assert not slots.try_acquire()
            await settle()
        await asyncio.gather(*tasks)
        assert (order, slots.in_use, waiting(slots)) == ([0, 1, 2, 3, 4], 1, 0)

    run(main())


def test_a_changed_limit_takes_effect_immediately_and_revokes_no_slot(run):
    async def main():
        slots = Slots(3)
        tasks = [asyncio.create_task(slots.acquire()) for _ in range(8)]
        await settle()
        slots.limit = 5
        assert (slots.in_use, waiting(slots), slots.limit) == (5, 3, 5)
        slots.limit = 2
        for _ in range(3):
            slots.release()
        assert (slots.in_use, waiting(slots)) == (2, 3)
        slots.release()
        assert (slots.in_use, waiting(slots)) == (2, 2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert waiting(slots) == 0

    run(main())


def test_a_waiter_cancelled_just_as_it_gets_a_slot_passes_it_on(run):
    async def main():
        slots = Slots(1)
        await slots.acquire()
        first, second = asyncio.create_task(slots.acquire()), asyncio.create_task(slots.acquire())
        await settle()
        slots.release()
        first.cancel()
        await settle()
        assert first.cancelled()
        assert second.done()
        assert (slots.in_use, waiting(slots)) == (1, 0)

    run(main())


def test_a_waiter_cancelled_before_it_gets_a_slot_uses_none(run):
    async def main():
        slots = Slots(1)
        await slots.acquire()
        first, second = asyncio.create_task(slots.acquire()), asyncio.create_task(slots.acquire())
        await settle()
        first.cancel()
        slots.release()
        await settle()
        assert second.done()
        assert (slots.in_use, waiting(slots)) == (1, 0)

    run(main())


STEPS = st.lists(
    st.one_of(
        st.just(("enter", 0)),
        st.just(("leave", 0)),
        st.just(("turn", 0)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("limit"), st.integers(1, 5)),
    ),
    max_size=80,
)


@given(STEPS, st.integers(1, 5))
def test_no_slot_is_ever_lost_or_invented(steps, limit):
    async def main():
        slots, tasks, left, cancelled = Slots(limit), [], set(), set()

        def inside():
            return [t for t in tasks if t.done() and not t.cancelled() and t not in left]

        for step, value in steps:
            highest = max(slots.limit, slots.in_use)
            if step == "enter":
                tasks.append(asyncio.create_task(slots.acquire()))
            elif step == "leave" and inside():
                left.add(inside()[0])
                slots.release()
            elif step == "cancel" and value < len(tasks) and not tasks[value].done():
                tasks[value].cancel()
                cancelled.add(tasks[value])
            elif step == "limit":
                slots.limit = value
                highest = max(highest, value)
            elif step == "turn":
                await settle()
                assert slots.in_use == len(inside())
            assert slots.in_use <= highest
            assert not waiting(slots) or slots.in_use >= slots.limit
        await settle()
        assert slots.in_use == len(inside())
        while inside():
            left.add(inside()[0])
            slots.release()
            await settle()
        assert (slots.in_use, waiting(slots)) == (0, 0)
        assert all(task.done() for task in tasks)
        assert {task for task in tasks if task.cancelled()} == cancelled

    asyncio.run(main())


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_1_is_refused(limit):
    with pytest.raises(SettingsError, match="use 1 or more"):
        Slots(limit)
    slots = Slots(1)
    with pytest.raises(SettingsError):
        slots.limit = limit
    assert slots.limit == 1
