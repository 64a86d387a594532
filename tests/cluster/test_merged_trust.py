"""Several workers' records as one: counts add up, the worst lag counts, stalls are left out."""

from evalkit.cluster.merged_trust import merged


def test_counts_add_up_and_the_worst_lag_counts():
    one = {"reads": 10, "gc_pauses": 1, "loop_lag_p99_ms": 0.5, "cpu_share": 0.2, "stalls": [(100, 130)]}
    other = {"reads": 5, "gc_pauses": 0, "loop_lag_p99_ms": 2.5, "cpu_share": None, "stalls": [(10, 20)]}
    found = merged([one, other])
    assert (found["reads"], found["gc_pauses"]) == (15, 1)
    assert (found["loop_lag_p99_ms"], found["cpu_share"]) == (2.5, 0.2)


def test_stalls_are_missing_since_each_concerns_the_turns_of_one_worker():
    overlapping = [{"stalls": [[0, 100]], "loop_stall_max_ms": 0.1}, {"stalls": [[10, 20]], "loop_stall_max_ms": 0.01}]
    found = merged(overlapping)
    assert "stalls" not in found
    assert found["loop_stall_max_ms"] == 0.1


def test_without_workers_everything_is_missing():
    assert set(merged([]).values()) == {None}
