"""What a summary says of its own numbers."""

import pytest
from runfiles import S, T, write

from evalkit.analysis.summary_json import summary_json
from evalkit.console.summary import low_p95


@pytest.mark.parametrize(
    ("turns", "said_of_it"),
    [
        (19, None),
        (20, "p95 of 20 times is that of percentile 91 on average: so few hold too few of the slowest"),
        (60, "p95 of 60 times is that of percentile 94 on average: so few hold too few of the slowest"),
        (100, None),
    ],
)
def test_how_low_a_p95_of_few_times_is(tmp_path, turns, said_of_it):
    path = write(tmp_path / "r.evalkit", [S([T(f"c{n}", 1, latency_ms=400.0 + n) for n in range(turns)])])
    assert low_p95(summary_json(path)) == said_of_it


def test_a_time_out_counts_among_the_times_of_a_p95(tmp_path):
    turns = [T(f"c{n}", 1, latency_ms=400.0) for n in range(23)] + [T("late", 1, error="timeout", ttft_ms=None)]
    assert "p95 of 24 times" in low_p95(summary_json(write(tmp_path / "r.evalkit", [S(turns)])))
