import numpy as np
import pytest
from runfiles import S, T, write

from evalkit.analysis.terminal_sketch import log_histogram, sketch


def test_latency_over_time_is_the_median_of_each_part_and_pauses_are_taken_out(tmp_path):
    first = [T(f"a{n}", 1, latency_ms=latency, end_ms=latency) for n, latency in enumerate((100.0, 200.0, 990.0))]
    late = [T("b", 1, sent_ms=60_000.0, latency_ms=400.0), T("c", 1, sent_ms=60_900.0, error="server", end_ms=50.0)]
    sessions = [S(first, end_ms=1000.0), S(late, start_ms=60_000.0, end_ms=61_000.0)]
    drawn = sketch(write(tmp_path / "r.evalkit", sessions), parts=4)
    assert drawn.part_s == pytest.approx(0.5)
    assert drawn.latency_ms[:3].tolist() == [150.0, 990.0, 400.0]
    assert np.isnan(drawn.latency_ms[3])
    assert drawn.failed.tolist() == [0, 0, 0, 1]
    assert drawn.missing == {"output tokens": 4}


def test_what_answered_turns_do_not_tell_is_counted_and_failed_ones_are_not_asked(tmp_path):
    turns = [T("a", 1, ttft_ms=None, latency_ms=None), T("b", 1, tokens=3), T("c", 1, error="timeout", ttft_ms=None)]
    path = write(tmp_path / "r.evalkit", [S(turns)])
    assert sketch(path).missing == {"TTFT": 1, "latency": 1, "output tokens": 1}
    whole = write(tmp_path / "w.evalkit", [S([T("a", 1, tokens=3)])], stream=False)
    assert sketch(whole).missing == {}


def test_a_run_without_a_turn_has_nothing_to_draw(tmp_path):
    drawn = sketch(write(tmp_path / "r.evalkit", [S([], end_ms=None)]))
    assert (drawn.part_s, drawn.ttft, drawn.latency, drawn.missing) == (None, None, None, {})
    assert np.isnan(drawn.latency_ms).all()


def test_a_spread_counts_by_the_logarithm_and_leaves_out_what_is_no_time():
    result = log_histogram(np.array([1.0, 10.0, 99.0, 100.0, np.nan, np.inf]), parts=2)
    assert (result.low, result.high, result.counts.tolist()) == (1.0, 100.0, [1, 3])
    assert log_histogram(np.array([np.nan]), parts=2) is None
    assert log_histogram(np.array([0.0, 5.0, 5.0]), parts=3).counts.tolist() == [3, 0, 0]
    assert log_histogram(np.array([0.0, 0.0]), parts=2).counts.sum() == 2
