"""Shares hold in every window, whoever joins and leaves."""

from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.cluster import shares
from evalkit.engine.pacing.minute_window import WINDOW_S
from evalkit.settings import Settings

NAMES = ["a", "b", "c", "d", "e"]


def test_slots_add_up():
    for total in (1, 2, 5, 16, 33):
        for count in range(1, min(total, 5) + 1):
            given = shares.slots(total, NAMES[:count])
            assert sum(given.values()) == total
            assert max(given.values()) - min(given.values()) <= 1


def test_a_newcomer_waits_until_the_others_have_used_less_for_a_minute():
    budget = shares.BudgetShares()
    assert budget.update(("a", "b"), 0.0) == {"a": 0.5, "b": 0.5}
    joined = budget.update(("a", "b", "c"), 1.0)
    assert joined["c"] == 0
    assert joined["a"] == joined["b"] == 1 / 3
    assert budget.update(("a", "b", "c"), 60.0)["c"] == 0
    assert abs(budget.update(("a", "b", "c"), 1.0 + shares.COUNTS_S)["c"] - 1 / 3) < 1e-9


def test_the_share_of_a_lost_worker_is_free_after_a_minute():
    budget = shares.BudgetShares()
    budget.update(("a", "b"), 0.0)
    assert budget.update(("a",), 1.0) == {"a": 0.5}
    assert budget.update(("a",), 1.0 + shares.COUNTS_S) == {"a": 1.0}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0.1, 40), st.sets(st.sampled_from(NAMES), min_size=1), st.sets(st.sampled_from(NAMES), max_size=2)
        ),
        min_size=1,
        max_size=12,
    )
)
def test_what_all_may_have_used_in_a_window_is_never_above_the_limit(changes):
    """Workers come, leave, and start again, which makes another session: each may use its share, so all of them add."""
    budget, now, held = shares.BudgetShares(), 0.0, []  # (from, until, session, share)
    sessions: dict[str, str] = {}
    current: dict[str, float] = {}
    for number, (wait, live, restarted) in enumerate(changes):
        until = now + wait
        held += [(now, until, session, share) for session, share in current.items()]
        now = until
        sessions = {name: sessions[name] for name in live & sessions.keys() - restarted}
        sessions |= {name: f"{name}{number}" for name in live - sessions.keys()}
        current = budget.update(tuple(sorted(sessions.values())), now)
    held += [(now, now + 1, session, share) for session, share in current.items()]
    for start in {begin for begin, *_ in held}:
        highest: dict[str, float] = {}
        for begin, end, session, share in held:
            if begin <= start + WINDOW_S and end > start:
                highest[session] = max(highest.get(session, 0.0), share)
        assert sum(highest.values()) <= 1 + 1e-9


def test_a_run_is_spread_over_no_more_workers_than_its_limits_allow():
    assert shares.most_workers(Settings(concurrency=8)) == 8
    assert shares.most_workers(Settings(concurrency=8, rpm=2.5)) == 2
    assert shares.most_workers(Settings(concurrency=8, tpm=25_000)) == 2
    assert shares.most_workers(Settings(concurrency=8, tpm=500)) == 1


def test_shares_add_up_to_the_limits_of_the_run_and_count_what_others_have_spent():
    run = shares.RunShares(Settings(concurrency=5, rpm=60, tpm=60_000))
    spent = {"a": (100.0, 1.0), "b": (20.0, 0.5), "ended": (3.0, 0.25)}
    given = run.of(["a", "b"], spent, 0.0)
    assert [given[name].slots for name in "ab"] == [3, 2]
    assert [(given[name].rpm, given[name].tpm) for name in "ab"] == [(30, 30_000)] * 2
    assert given["a"][3:] == (23.0, 0.75)
    assert given["b"][3:] == (103.0, 1.25)
    assert run.of(["a", "b", "c"], spent | {"c": (0.0, 0.0)}, 1.0).keys() == {"a", "b"}


def test_without_limits_only_slots_are_shared_and_without_workers_nothing():
    run = shares.RunShares(Settings(concurrency=2))
    given = run.of(["a", "b", "c"], dict.fromkeys("abc", (0.0, 0.0)), 0.0)
    assert {name: tuple(share) for name, share in given.items()} == dict.fromkeys("ab", (1, None, None, 0.0, 0.0))
    assert run.of([], {}, 1.0) == {}
