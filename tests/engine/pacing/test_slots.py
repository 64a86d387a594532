"""The gate: never more inside than it lets in, in order, and no place is lost whoever is cancelled when."""

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


def waiting(gate):
    return len(gate._waiters)


def test_who_finds_room_enters_without_giving_way(run):
    async def main():
        gate = Slots(2)
        entering = gate.enter()
        with pytest.raises(StopIteration):
            entering.send(None)
        assert gate.try_enter()
        assert not gate.try_enter()
        assert gate.inside == 2

    run(main())


def test_waiters_enter_in_their_order_and_nobody_slips_past_them(run):
    async def main():
        gate, order = Slots(1), []

        async def one(number):
            await gate.enter()
            order.append(number)

        await gate.enter()
        tasks = [asyncio.create_task(one(number)) for number in range(5)]
        await settle()
        assert (waiting(gate), order) == (5, [])
        for _ in range(5):
            gate.leave()
            assert not gate.try_enter()
            await settle()
        await asyncio.gather(*tasks)
        assert (order, gate.inside, waiting(gate)) == ([0, 1, 2, 3, 4], 1, 0)

    run(main())


def test_a_changed_limit_holds_at_once_and_sends_nobody_out(run):
    async def main():
        gate = Slots(3)
        tasks = [asyncio.create_task(gate.enter()) for _ in range(8)]
        await settle()
        gate.limit = 5
        assert (gate.inside, waiting(gate), gate.limit) == (5, 3, 5)
        gate.limit = 2
        for _ in range(3):
            gate.leave()
        assert (gate.inside, waiting(gate)) == (2, 3)
        gate.leave()
        assert (gate.inside, waiting(gate)) == (2, 2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert waiting(gate) == 0

    run(main())


def test_a_waiter_cancelled_just_as_it_is_let_in_hands_the_place_on(run):
    async def main():
        gate = Slots(1)
        await gate.enter()
        first, second = asyncio.create_task(gate.enter()), asyncio.create_task(gate.enter())
        await settle()
        gate.leave()
        first.cancel()
        await settle()
        assert first.cancelled()
        assert second.done()
        assert (gate.inside, waiting(gate)) == (1, 0)

    run(main())


def test_a_waiter_cancelled_before_it_is_let_in_takes_no_place_with_it(run):
    async def main():
        gate = Slots(1)
        await gate.enter()
        first, second = asyncio.create_task(gate.enter()), asyncio.create_task(gate.enter())
        await settle()
        first.cancel()
        gate.leave()
        await settle()
        assert second.done()
        assert (gate.inside, waiting(gate)) == (1, 0)

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
def test_no_place_is_ever_lost_or_made(steps, limit):
    async def main():
        gate, tasks, left, cancelled = Slots(limit), [], set(), set()

        def inside():
            return [t for t in tasks if t.done() and not t.cancelled() and t not in left]

        for step, value in steps:
            highest = max(gate.limit, gate.inside)
            if step == "enter":
                tasks.append(asyncio.create_task(gate.enter()))
            elif step == "leave" and inside():
                left.add(inside()[0])
                gate.leave()
            elif step == "cancel" and value < len(tasks) and not tasks[value].done():
                tasks[value].cancel()
                cancelled.add(tasks[value])
            elif step == "limit":
                gate.limit = value
                highest = max(highest, value)
            elif step == "turn":
                await settle()
                assert gate.inside == len(inside())
            assert gate.inside <= highest
            assert not waiting(gate) or gate.inside >= gate.limit
        await settle()
        assert gate.inside == len(inside())
        while inside():
            left.add(inside()[0])
            gate.leave()
            await settle()
        assert (gate.inside, waiting(gate)) == (0, 0)
        assert all(task.done() for task in tasks)
        assert {task for task in tasks if task.cancelled()} == cancelled

    asyncio.run(main())


@pytest.mark.parametrize("limit", [0, -1])
def test_a_gate_that_lets_nobody_in_is_refused(limit):
    with pytest.raises(SettingsError, match="use 1 or more"):
        Slots(limit)
    gate = Slots(1)
    with pytest.raises(SettingsError):
        gate.limit = limit
    assert gate.limit == 1
