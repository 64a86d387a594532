"""The window of 60 seconds: never above its limit, and as fast to query when full as when empty."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.engine.pacing.minute_window import BURST_S, COUNTED_S, SLICE_S, WINDOW_S, BurstLimit, MinuteWindow


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0.1, 30)), max_size=80), st.integers(10, 100))
@settings(max_examples=200)
def test_no_window_of_60_seconds_ever_holds_more_than_the_limit(requests, limit):
    clock = Clock()
    budget = MinuteWindow(limit, clock)
    spent = []
    for pause, amount in requests:
        clock.now += pause
        waits = 0
        while (wait := budget.wait_s(amount)) > 0:
            clock.now += wait
            waits += 1
            assert waits < 200
        budget.spend(amount)
        spent.append((clock.now, amount))
    for start, _ in spent:
        inside = [amount for at, amount in spent if start <= at < start + WINDOW_S * (1 - 1e-9)]
        assert sum(inside) <= limit + 1e-6 or len(inside) == 1


def test_more_than_the_whole_limit_goes_when_the_window_is_empty():
    clock = Clock()
    budget = MinuteWindow(10, clock)
    assert budget.wait_s(1000) == 0
    budget.spend(1000)
    assert budget.wait_s(1) == pytest.approx(COUNTED_S)
    clock.now += COUNTED_S
    assert budget.wait_s(1) == 0


def test_the_true_amount_replaces_the_estimate():
    clock = Clock()
    budget = MinuteWindow(100, clock)
    entry = budget.spend(90)
    assert budget.wait_s(50) > 0
    budget.settle(entry, 20)
    assert budget.wait_s(50) == 0


@given(
    st.lists(st.tuples(st.floats(0, 30), st.integers(0, 50), st.floats(0, 200), st.integers(0, 80)), max_size=40),
    st.integers(10, 100),
)
def test_the_reported_wait_is_right_and_settling_keeps_the_sum(steps, limit):
    clock = Clock()
    budget, entries = MinuteWindow(limit, clock), []
    for pause, amount, settle_after, true in steps:
        clock.now += pause
        for entry in [entry for entry in entries if entry[1] <= clock.now]:
            budget.settle(entry[0], entry[2])
            entries.remove(entry)
        wait = budget.wait_s(amount)
        if wait > SLICE_S:
            clock.now += wait - SLICE_S - 1e-6
            assert budget.wait_s(amount) > 0
            clock.now += SLICE_S + 2e-6
        else:
            clock.now += wait + 1e-6
        assert budget.wait_s(amount) == 0
        entries.append((budget.spend(amount), clock.now + settle_after, true))
        assert budget._sum == pytest.approx(sum(piece.amount for piece in budget._slices))
        assert budget.open == sum(piece.open for piece in budget._slices) >= 0
    clock.now += COUNTED_S + 1e-6
    assert budget.wait_s(limit) == 0
    assert budget.open == 0


def test_a_full_window_of_many_is_kept_in_few_slices():
    clock = Clock()
    budget = MinuteWindow(1_000_000, clock)
    for _ in range(300_000):
        clock.now += 0.001
        budget.spend(1)
    assert len(budget._slices) <= COUNTED_S / SLICE_S + 2


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 3)), max_size=80), st.floats(0.5, 500))
def test_no_interval_has_more_than_a_burst_plus_the_refill_plus_one(requests, limit):
    clock = Clock()
    spread, spent = BurstLimit(limit, clock), []
    for pause, seconds_worth in requests:
        clock.now += pause
        clock.now += spread.wait_s() * (1 + 1e-9)
        amount = seconds_worth * limit / 60
        spread.spend(amount)
        spent.append((clock.now, amount))
    for number, (start, _) in enumerate(spent):
        before = 0.0
        for at, amount in spent[number:]:
            assert before <= max(1.0, limit * BURST_S / 60) + limit / 60 * (at - start) + 1e-6
            before += amount


def test_unused_amounts_return_but_never_above_a_burst():
    clock = Clock()
    spread = BurstLimit(600, clock)
    spread.spend(700)
    assert spread.wait_s() == pytest.approx(50.1)  # a minute makes up for whatever was taken
    spread.give_back(550)
    assert spread.wait_s() == 0
    spread.give_back(1000)
    spread.spend(100)
    assert spread.wait_s() == pytest.approx(0.1)


def test_a_limit_can_be_lowered_and_raised_while_what_was_spent_counts():
    now = [0.0]
    window = MinuteWindow(60, clock=lambda: now[0])
    for _ in range(10):
        window.spend(1)
    window.set_limit(10)
    assert window.wait_s(1) > 60
    window.set_limit(11)
    assert window.wait_s(1) == 0
    now[0] = 61.0
    assert window.wait_s(11) == 0
    assert window.burst.wait_s() == 0
