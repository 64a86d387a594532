"""Steps of a load test, measured from run files written by the test."""

import pytest
from runfiles import S, T, talk, write

from evalkit.loadtest.slo import Slo
from evalkit.loadtest.step import read_step
from evalkit.stats import proportions


def asked(name, begin, end, turn=1, **more):
    """A turn of a conversation, due when it was sent."""
    return T(name, turn, ttft_ms=10.0, latency_ms=end - begin, end_ms=end - begin, sent_ms=begin, **more)


def step(tmp_path, turns, *, warm_up=2, open_loop=False, slo=None, targets=(1,), **session):
    names = dict.fromkeys(turn.conversation for turn in turns)
    path = write(tmp_path / "r.evalkit", [S(turns, **session)], [talk(name, targets) for name in names])
    return read_step(path, 2, warm_up=warm_up, open_loop=open_loop, slo=Slo.of(slo))


ROUNDS = [asked("a", 0, 100), asked("b", 0, 100), asked("c", 100, 200), asked("d", 100, 200)]


def test_a_rate_is_what_the_slots_do_while_all_are_busy(tmp_path):
    found = step(tmp_path, [*ROUNDS, asked("e", 200, 300), asked("f", 200, 300)])
    assert found.window_s == pytest.approx(0.2)
    assert found.turns_per_s == pytest.approx(20)
    assert found.turns == 4


def test_the_tail_in_which_a_slot_is_empty_is_outside_the_window(tmp_path):
    found = step(tmp_path, [*ROUNDS, asked("e", 200, 300), asked("f", 200, 250)])
    assert found.window_s == pytest.approx(0.15)
    assert found.turns_per_s == pytest.approx((1 + 1 + 0.5 + 1) / 0.15)


def test_a_turn_due_after_the_window_is_left_out(tmp_path):
    long = [asked("e", 200, 290), asked("e", 290, 400, turn=2, score=0.0), asked("f", 200, 280)]
    found = step(tmp_path, [*ROUNDS, *long], targets=(1, 2))
    assert found.turns == 4
    assert found.latency_ms["p50"].n == 4
    assert found.accuracy.n == 0


def test_warm_up_leaves_out_whole_conversations_with_their_late_turns(tmp_path):
    turns = [
        asked("a", 0, 50), asked("a", 50, 200, turn=2), asked("b", 0, 90),
        asked("c", 90, 190), asked("c", 190, 290, turn=2), asked("d", 200, 300), asked("d", 300, 400, turn=2),
    ]  # fmt: skip
    found = step(tmp_path, turns, targets=(1, 2))
    assert found.warm_up == 2
    # from the end of a's second turn to the end of c, when its slot had no more work
    assert found.window_s == pytest.approx(0.09)
    assert found.turns_per_s == pytest.approx((0.9 + 0.9) / 0.09)
    assert found.turns == 3


def test_with_a_rate_the_window_ends_when_the_last_conversation_starts(tmp_path):
    turns = [asked(name, begin, begin + 100) for name, begin in zip("abcde", range(0, 500, 100), strict=True)]
    found = step(tmp_path, turns, warm_up=1, open_loop=True)
    assert found.window_s == pytest.approx(0.3)
    assert found.turns_per_s == pytest.approx(10)


def test_a_load_that_was_never_complete_has_no_values_per_second(tmp_path):
    found = step(tmp_path, [asked("a", 0, 300), asked("b", 0, 100), asked("c", 100, 200)], slo="ttft=1s")
    assert (found.window_s, found.turns_per_s, found.output_tokens_per_s, found.goodput) == (None, None, None, None)
    assert found.turns == 1  # c ran while both slots were busy: its times count


def test_failed_turns_are_errors_and_never_goodput(tmp_path):
    turns = [*ROUNDS[:3], asked("d", 100, 200, error="server"), asked("e", 200, 300), asked("f", 200, 300)]
    found = step(tmp_path, turns, slo="ttft=50ms")
    assert (found.turns, found.answered, found.errors) == (4, 3, {"server": 1})
    assert found.goodput == found.turns_per_s == pytest.approx(15)
    assert found.within_slo == 0.75
    assert found.error_share == 0.25


def test_tokens_per_second_need_tokens_of_every_answer(tmp_path):
    first = [asked("a", 0, 100), asked("b", 0, 100)]  # turns of the warm-up need not
    rest = [asked(name, at, at + 100, tokens=9) for name, at in (("c", 100), ("d", 100), ("e", 200), ("f", 200))]
    (tmp_path / "whole").mkdir()
    (tmp_path / "part").mkdir()
    assert step(tmp_path / "whole", [*first, *rest]).output_tokens_per_s == pytest.approx(180)
    assert step(tmp_path / "part", [*first, *rest[:-1], asked("f", 200, 300)]).output_tokens_per_s is None


def test_a_missing_time_does_not_meet_its_objective_and_is_counted(tmp_path):
    found = step(tmp_path, [*ROUNDS, asked("e", 200, 300), asked("f", 200, 300)], slo="tpot=1s")
    assert (found.goodput, found.within_slo, found.unknown) == (0, 0, {"tpot": 4})


def test_a_time_out_bounds_the_latency_from_below(tmp_path):
    turns = [*ROUNDS, asked("e", 200, 300), asked("f", 200, 900, error="timeout")]
    found = step(tmp_path, turns)
    assert found.latency_ms["p50"].n == 4


def test_repeats_and_turns_of_one_conversation_are_one_cluster(tmp_path):
    many = [asked(name, at, at + 100, score=1.0) for name, at in (("c", 100), ("d", 100), ("e", 200), ("f", 200))]
    again = [asked(name, at, at + 100, score=1.0, repeat=2) for name, at in (("c", 300), ("d", 300))]
    found = step(tmp_path, [*ROUNDS[:2], *many, *again])
    assert (found.accuracy.value, found.accuracy.n) == (1.0, 6)
    assert found.accuracy == proportions.proportion([1.0] * 6, list("cdefcd"))


def test_lag_that_is_large_compared_with_ttft_marks_the_step(tmp_path):
    found = step(tmp_path, [*ROUNDS], warm_up=0, trust={"loop_lag_p99_ms": 2.0})
    assert (found.loop_lag_p99_ms, found.client_bound) == (2.0, True)


def test_a_run_without_a_turn_has_no_values(tmp_path):
    found = step(tmp_path, [])
    assert (found.turns, found.window_s, found.error_share, found.accuracy.value) == (0, None, 0.0, None)


def late(name, due, sent, end, **more):
    """A turn that was due before it was sent."""
    span = end - sent
    return T(name, 1, ttft_ms=5.0, latency_ms=span, end_ms=span, sent_ms=sent, due_ms=due, **more)


def test_a_time_out_bounds_the_schedule_latency_from_below_as_it_does_the_latency(tmp_path):
    turns = [late(f"c{n}", 10 * n, 10 * n + 5, 10 * n + 55) for n in range(14)]
    turns += [late(f"d{n}", 140 + 10 * n, 150 + 10 * n, 650 + 10 * n, error="timeout") for n in range(6)]
    found = step(tmp_path, [*turns, late("last", 400, 400, 450)], warm_up=0, open_loop=True)
    assert (found.latency_ms["p50"].n, found.schedule_latency_ms["p50"].n) == (20, 20)
    assert found.latency_ms["p50"].value == pytest.approx(50)
    assert found.schedule_latency_ms["p50"].value == pytest.approx(55)
    assert found.schedule_latency_ms["p95"].value is None  # beyond what is known of the six, and not 55


def test_a_turn_cut_off_by_the_end_of_the_step_bounds_both_latencies_and_is_no_failure(tmp_path):
    turns = [late(f"c{n}", 10 * n, 10 * n, 10 * n + 50) for n in range(9)]
    cut = late("cut", 90, 100, 600, error="cancelled")
    found = step(tmp_path, [*turns, cut, late("last", 400, 400, 450)], warm_up=0, open_loop=True, slo="latency=1s")
    assert (found.turns, found.answered, found.interrupted, found.failed, found.error_share) == (10, 9, 1, 0, 0.0)
    assert found.errors == {"cancelled": 1}
    assert (found.latency_ms["p50"].n, found.schedule_latency_ms["p50"].n) == (10, 10)
    assert found.within_slo == 1.0  # it had not missed the second objective yet


def test_a_turn_cut_off_after_it_missed_an_objective_counts_as_missed(tmp_path):
    turns = [late(f"c{n}", 10 * n, 10 * n, 10 * n + 50) for n in range(9)]
    cut = late("cut", 90, 100, 600, error="cancelled")
    found = step(tmp_path, [*turns, cut, late("last", 400, 400, 450)], warm_up=0, open_loop=True, slo="latency=505ms")
    assert found.within_slo == 0.9  # 500 ms after it was sent, 510 ms after it was due


def test_with_a_rate_the_latency_objective_limits_the_schedule_latency(tmp_path):
    turns = [late(f"c{n}", 10 * n, 10 * n + 40 * (n % 2), 10 * n + 40 * (n % 2) + 50) for n in range(20)]
    assert step(tmp_path, turns, warm_up=0, open_loop=True, slo="latency=60ms").within_slo == pytest.approx(10 / 19)
    (tmp_path / "closed").mkdir()
    assert step(tmp_path / "closed", turns, warm_up=0, slo="latency=60ms").within_slo == 1.0


def test_the_realised_rate_is_that_of_the_due_times_after_the_warm_up(tmp_path):
    turns = [late(f"c{n}", due, due, due + 5) for n, due in enumerate((0, 400, 410, 420, 480))]
    assert step(tmp_path, turns, warm_up=1, open_loop=True).realised_rate == pytest.approx(3 / 0.080)
    (tmp_path / "closed").mkdir()
    assert step(tmp_path / "closed", turns, warm_up=1).realised_rate is None
