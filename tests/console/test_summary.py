"""Notes on the numbers of a summary."""

import io
import re

import pytest
from comparing import run
from rich.console import Console
from runfiles import S, T, write

from evalkit.analysis.summary_json import summary_json
from evalkit.console.summary import low_p95, summary
from evalkit.run import Run


@pytest.mark.parametrize(
    ("turns", "said_of_it"),
    [
        (19, None),
        (20, "p95 of 20 times is on average only percentile 91: too few times to include the slowest"),
        (60, "p95 of 60 times is on average only percentile 94: too few times to include the slowest"),
        (100, None),
    ],
)
def test_how_low_a_p95_of_few_times_is(tmp_path, turns, said_of_it):
    path = write(tmp_path / "r.evalkit", [S([T(f"c{n}", 1, latency_ms=400.0 + n) for n in range(turns)])])
    assert low_p95(summary_json(path)) == said_of_it


@pytest.mark.parametrize(
    ("settings", "said_of_it"),
    [({}, ""), ({"system": "Be\nbrief."}, ', system prompt "Be brief."'), ({"system": ""}, ", no system prompt")],
)
def test_the_title_says_which_system_prompt_a_run_sets(tmp_path, settings, said_of_it):
    path = run(
        tmp_path / "r.evalkit", [T("a", 1)], dataset={"path": "d.jsonl", "turns": 1}, settings=settings,
        endpoint={"base_url": "http://127.0.0.1:9/v1", "model": "m", "params": {}},
    )  # fmt: skip
    console = Console(width=500, record=True, file=io.StringIO())
    summary(console, Run(path), summary_json(path))
    title = console.export_text().splitlines()[0]
    assert re.fullmatch(r".*4 in parallel, started \S+ \d\d:\d\d" + re.escape(said_of_it), title)


def test_a_time_out_counts_among_the_times_of_a_p95(tmp_path):
    turns = [T(f"c{n}", 1, latency_ms=400.0) for n in range(23)] + [T("late", 1, error="timeout", ttft_ms=None)]
    assert "p95 of 24 times" in low_p95(summary_json(write(tmp_path / "r.evalkit", [S(turns)])))
