import pytest
from runfiles import MS, S, T, write

from evalkit.analysis.client_trust import client_bound
from evalkit.analysis.summary_json import summary_json
from evalkit.wording import run_results
from evalkit.wording.times_trust import times_trust

TIMES = {"ttft_ms": 697.0, "latency_ms": 1200.0}


def trusted(path, *sessions, stream=True):
    return summary_json(write(path / "run.evalkit", sessions, stream=stream))["trust"]


def said(result):
    """The sentences together, and whether one is a warning."""
    sentences = list(times_trust(result, 4))
    return "; ".join(text for text, _ in sentences), any(warning for _, warning in sentences)


@pytest.mark.parametrize("lag", [5.5, 9.1, 9.7])
def test_a_lag_is_compared_with_the_times_that_are_shown(tmp_path, lag):
    result = trusted(tmp_path, S([T("a", 1, tokens=9, **TIMES)], trust={"loop_lag_p99_ms": lag}))
    assert (result["client_bound"], result["client_bound_metrics"]) == (False, [])
    assert result["medians_ms"] == {"ttft": 697.0, "latency": 1200.0, "tpot": 503.0}
    text = f"the times are the endpoint's own: this client may have added up to {lag} ms of 697 ms (TTFT)"
    assert said(result) == (text, False)


@pytest.mark.parametrize(
    ("times", "bound", "metrics"),
    [
        ({"ttft_ms": 45.0, "latency_ms": 1200.0}, True, ["ttft"]),
        ({"ttft_ms": 45.0, "latency_ms": 120.0}, True, ["ttft", "latency", "tpot"]),
        ({"ttft_ms": 697.0, "latency_ms": 707.0}, False, ["tpot"]),  # a short answer to a long prompt
    ],
)
def test_only_the_metrics_that_it_touches_are_marked(tmp_path, times, bound, metrics):
    result = trusted(tmp_path, S([T("a", 1, tokens=9, **times)], trust={"loop_lag_p99_ms": 9.0}))
    assert (result["client_bound"], result["client_bound_metrics"]) == (bound, metrics)
    text, warning = said(result)
    assert warning
    assert text.startswith("the times may be this client's own, not the endpoint's: it may have added up to 9 ms of ")
    assert [name for name in ("ttft", "latency", "tpot") if f"({run_results.NAMES[name]}" in text] == metrics
    headings = [
        run_results.marked_heading(heading, result, "*")
        for heading in ("accuracy", "TTFT p50", "TPOT p50", "latency p95")
    ]
    marks = ["*" if name in metrics else "" for name in ("ttft", "tpot", "latency")]
    assert headings == ["accuracy", f"TTFT p50{marks[0]}", f"TPOT p50{marks[1]}", f"latency p95{marks[2]}"]


def test_where_nothing_is_streamed_the_latency_is_what_counts(tmp_path):
    result = trusted(tmp_path, S([T("a", 1, latency_ms=60.0)], trust={"loop_lag_p99_ms": 9.0}), stream=False)
    assert (result["client_bound"], result["client_bound_metrics"]) == (True, ["latency"])
    assert "up to 9 ms of 60 ms (latency)" in said(result)[0]


def test_the_trust_of_a_killed_session_is_not_known(tmp_path):
    good = S([T("a", 1, **TIMES)])
    result = trusted(tmp_path, good, S([T("b", 1, **TIMES)], end_ms=None))
    assert (result["client_bound"], result["sessions_not_known"], result["loop_lag_p99_ms"]) == (None, 1, 1.0)
    assert said(result)[0] == (
        "the times are the endpoint's own: this client may have added up to 1 ms of 697 ms (TTFT); "
        "whether this client added to the times is not known for 1 session, which was killed or is still running"
    )
    alone = trusted(tmp_path / "alone", S([T("b", 1)], end_ms=None))
    assert (alone["client_bound"], alone["client_bound_metrics"]) == (None, None)
    unknown = "whether this client added to the times is not known for 1 session, which was killed or is still running"
    assert said(alone) == (unknown, False)
    late = S([T("a", 1)], trust={"loop_lag_p99_ms": 40.0})
    assert trusted(tmp_path / "late", late, S([T("b", 1)], end_ms=None))["client_bound"] is True
    # it left nothing behind that is shown
    assert trusted(tmp_path / "idle", good, S([], end_ms=None))["sessions_not_known"] == 0


def test_the_turns_that_a_stall_touched_are_counted(tmp_path):
    turns = [T(f"c{n}", 1, ttft_ms=100.0, latency_ms=400.0, sent_ms=1000.0 * n) for n in range(10)]
    stalls = [[1399 * MS, 1500 * MS], [3450 * MS, 3900 * MS], [4990 * MS, 5001 * MS], [8100 * MS, 9010 * MS]]
    trust = {"loop_lag_p99_ms": 1.0, "loop_stall_max_ms": 910.0, "stalls": stalls}
    result = trusted(tmp_path, S(turns, trust=trust))
    assert result["stalled_share"] == 0.4  # 1, 5, 8 and 9; one was between two turns
    text, warning = said(result)
    assert text.startswith("the times are the endpoint's own, with the exceptions below: ")
    assert text.endswith("; the client stalled for up to 910 ms, during 40.0% of the turns")
    assert warning


def test_a_stall_that_is_short_compared_with_the_times_or_touched_few_turns_is_no_warning(tmp_path):
    turns = [T(f"c{n}", 1, **TIMES, sent_ms=2000.0 * n) for n in range(40)]
    trust = {"loop_lag_p99_ms": 1.0, "loop_stall_max_ms": 30.0, "stalls": [[100 * MS, 130 * MS]]}
    result = trusted(tmp_path, S(turns, trust=trust))
    assert (result["stalled_share"], said(result)[1]) == (0.025, False)
    assert "stalled" not in said(result)[0]
    result = trusted(tmp_path / "long", S(turns, trust={**trust, "loop_stall_max_ms": 300.0}))
    text, warning = said(result)
    assert "the client stalled for up to 300 ms, during 2.5% of the turns" in text
    assert (text.startswith("the times are the endpoint's own: "), warning) == (True, False)


def test_a_run_file_that_tells_no_stalls_has_none_to_tell(tmp_path):
    result = trusted(tmp_path, S([T("a", 1)]))
    assert (result["loop_stall_max_ms"], result["stalled_share"]) == (None, None)
    quiet = trusted(tmp_path / "quiet", S([T("a", 1)], trust={"loop_lag_p99_ms": 1.0, "stalls": []}))
    assert quiet["stalled_share"] == 0.0


def test_calls_of_functions_that_waited_for_a_thread_are_said(tmp_path):
    calls = {"calls": 7, "at_once": 128, "wait_ms": {"p50": 0.1, "p99": 300.0, "max": 312.0}}
    result = trusted(tmp_path / "r.evalkit", S([T("a", 1)], trust={"loop_lag_p99_ms": 0.2, "function_calls": calls}))
    assert (result["function_calls"], result["function_wait_max_ms"]) == (7, 312.0)
    assert "calls of your functions waited up to 312 ms for a thread, which no latency includes" in said(result)[0]


@pytest.mark.parametrize(
    ("lag", "time", "expected"),
    [
        (9.7, 300.0, False),
        (5.5, 770.0, False),
        (9.0, 45.0, True),
        (5.0, 100.0, False),
        (5.1, 100.0, True),
        (0.6, 10.0, True),
        (4.0, None, None),
        (None, 20.0, None),
    ],
)
def test_client_bound_is_more_than_a_twentieth_of_the_time_that_is_shown(
    lag: float | None, time: float | None, expected: bool | None
) -> None:
    assert client_bound(lag, time) is expected
