"""Several workers' records as one: counts add up, the worst lag counts, stalls are on one clock."""

from evalkit.cluster.merged_trust import merged


def test_counts_add_up_and_the_worst_lag_counts():
    one = {"reads": 10, "gc_pauses": 1, "loop_lag_p99_ms": 0.5, "cpu_share": 0.2, "stalls": [(100, 130)]}
    other = {"reads": 5, "gc_pauses": 0, "loop_lag_p99_ms": 2.5, "cpu_share": None, "stalls": [(10, 20)]}
    found = merged([one, other], [0, 1_000])
    assert (found["reads"], found["gc_pauses"]) == (15, 1)
    assert (found["loop_lag_p99_ms"], found["cpu_share"]) == (2.5, 0.2)
    assert found["stalls"] == [[100, 130], [1010, 1020]]


def test_without_workers_everything_is_missing():
    found = merged([], [])
    assert found.pop("stalls") == []
    assert set(found.values()) == {None}
