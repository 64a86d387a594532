"""Open-loop schedules: exact, seeded, independent of when they are read; and waits that never end early."""

import asyncio
import math
import statistics
import time
from fractions import Fraction
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import pytest_generate_tests  # noqa: F401

from evalkit.engine.pacing.arrivals import Arrivals, wait_until
from evalkit.errors import SettingsError

RATES = st.floats(1e-3, 1e6)


def first(count, *args, **named):
    return list(islice(Arrivals(*args, **named), count))


@given(RATES, st.integers(0, 5000))
def test_constant_arrivals_never_drift(rate, number):
    due = next(islice(Arrivals(rate), number, None))
    exact = number * 10**9 / Fraction(repr(rate))
    assert exact - 1 < due <= exact


def test_a_rate_is_the_decimal_number_it_prints_as():
    assert first(4, 0.1) == [0, 10 * 10**9, 20 * 10**9, 30 * 10**9]
    assert next(islice(Arrivals(1000), 3_600_000, None)) == 3600 * 10**9
    assert first(3, 1e-05)[2] == 200_000 * 10**9


@settings(max_examples=20, deadline=None)
@given(RATES, st.integers())
def test_poisson_gaps_are_exponential(rate, seed):
    due = first(4000, rate, "poisson", seed)
    gaps = [(later - earlier) * rate / 1e9 for earlier, later in pairwise([0, *due])]
    assert min(gaps) >= 0
    # six standard errors, and half a ns of rounding
    assert statistics.fmean(gaps) == pytest.approx(1, abs=6 / math.sqrt(4000) + rate * 1e-9)
    for span in (0.5, 1.0, 2.0):
        share = math.exp(-span)
        told = sum(gap > span for gap in gaps) / 4000
        assert told == pytest.approx(share, abs=6 * math.sqrt(share * (1 - share) / 4000) + rate * 1e-9)


@given(RATES, st.sampled_from(["constant", "poisson"]), st.integers(), st.lists(st.booleans(), max_size=40))
def test_a_schedule_does_not_depend_on_when_it_is_read(rate, kind, seed, turns):
    arrivals = Arrivals(rate, kind, seed)
    one, other = iter(arrivals), iter(arrivals)
    told: dict[bool, list[int]] = {True: [], False: []}
    for turn in turns:
        told[turn].append(next(one if turn else other))
    shorter = min(len(told[True]), len(told[False]))
    assert told[True][:shorter] == told[False][:shorter]
    for dues in told.values():
        assert dues == first(len(dues), rate, kind, seed)
        assert all(isinstance(due, int) for due in dues)


def test_seeds_differ():
    assert first(5, 10, "poisson", 1) != first(5, 10, "poisson", 2)


@pytest.mark.parametrize(
    ("given", "problem"),
    [((0,), "use one above 0"), ((-1,), "above 0"), ((math.inf,), "above 0"), ((math.nan,), "above 0"),
     ((1, "burst"), "'burst' are unknown: use one of constant, poisson")],
)  # fmt: skip
def test_an_impossible_schedule_is_refused(given, problem):
    with pytest.raises(SettingsError, match=problem):
        Arrivals(*given)


def test_waiting_never_ends_early(run):
    async def main():
        start = time.perf_counter_ns()
        for due in first(40, 700, "poisson"):
            await wait_until(start + due)
            assert time.perf_counter_ns() >= start + due

    run(main())


@given(st.integers(-(10**9), 10**10), st.floats(-0.002, 0.5))
def test_sleeps_that_end_early_or_late_are_corrected(due, error):
    now, slept = 0, []

    async def sleep(seconds):
        nonlocal now
        slept.append(seconds)
        now += max(0, round((seconds + error) * 1e9)) if seconds else 10_000

    asyncio.run(wait_until(due, lambda: now, sleep))
    assert now >= due
    assert now <= max(due, 0) + max(0, error * 1e9) + 20_000
    assert slept.count(0) >= 1  # others had their turn


def test_other_tasks_run_while_it_waits_and_when_it_is_late(run):
    async def main():
        turns = []
        asyncio.get_running_loop().call_soon(turns.append, 1)
        await wait_until(0)
        assert turns == [1]

    run(main())
