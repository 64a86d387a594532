import json
from pathlib import Path

import pandas as pd
import pytest
from runfiles import MS, S, T, talk, write

from evalkit.analysis import tables
from evalkit.analysis.measures import measure
from evalkit.analysis.summary_json import summary_json
from evalkit.runfile.store import RunFile

TRUST = [
    *("loop_lag_p99_ms", "client_bound", "gc_pauses", "gc_pause_max_ms", "cpu_share", "connections_opened"),
    *("attempts", "attempts_on_new_connections", "reads", "reads_with_several_events"),
    *("client_bound_metrics", "medians_ms", "loop_stall_max_ms", "stalled_share", "sessions_not_known"),
    *("function_calls", "function_wait_max_ms", "workers", "workers_lost", "turns_sent_again"),
    *("streams", "streams_at_once", "streams_first_read_late"),
]


# --- errors, targets, scores


def test_errors_are_not_zeros(path: Path) -> None:
    turns = [T(f"c{n}", 1, score=1.0) for n in range(8)]
    turns += [T(f"d{n}", 1, error="server", ttft_ms=None) for n in range(2)]
    result = summary_json(write(path, [S(turns)]))
    assert (result["turns"], result["answered"], result["errors"]) == (10, 8, {"server": 2})
    assert (result["accuracy"]["value"], result["accuracy"]["n"], result["accuracy"]["wrong"]) == (1.0, 8, 0)
    # over all turns a failed one is not right, but neither is it wrong
    assert (result["accuracy_all"]["value"], result["accuracy_all"]["n"], result["accuracy_all"]["wrong"]) == (
        0.8,
        10,
        0,
    )
    assert (result["ttft_ms"]["p50"], result["latency_ms"]["p50"]) == (50.0, 400.0)


def test_turns_without_a_target_are_in_neither_denominator(path: Path) -> None:
    conversations = [talk("a", targets=(1, None, 3)), talk("b", targets=(1, None, 3))]
    turns = [
        T("a", 1, score=1.0),
        T("a", 2),
        T("a", 3, score=None, reason="two numbers, no telling which"),
        T("b", 1, score=0.0),
        T("b", 2, error="empty"),
        T("b", 3, error="empty"),
    ]
    result = summary_json(write(path, [S(turns)], conversations))
    answered, every = result["accuracy"], result["accuracy_all"]
    assert (answered["value"], answered["n"], answered["wrong"], answered["unscored"]) == (1 / 2, 2, 1, 2)
    assert (every["value"], every["n"], every["wrong"], every["unscored"]) == (1 / 3, 3, 1, 3)
    assert answered["n"] + answered["unscored"] == result["answered"]
    assert every["n"] + every["unscored"] == result["turns"]


def test_partial_credit_counts_in_the_mean_and_as_wrong(path: Path) -> None:
    result = summary_json(write(path, [S([T("a", 1, score=0.5), T("b", 1, score=1.0)])]))
    assert (result["accuracy"]["value"], result["accuracy"]["wrong"]) == (0.75, 1)


def test_a_run_without_any_score_has_no_accuracy(path: Path) -> None:
    result = summary_json(write(path, [S([T("a", 1)])], [talk("a", targets=(None,))]))
    expected = {"value": None, "low": None, "high": None, "n": 0, "wrong": 0, "unscored": 1}
    assert result["accuracy"] == result["accuracy_all"] == expected


# --- time-outs


def test_time_out_is_a_lower_bound_of_latency_and_not_dropped(path: Path) -> None:
    quick = [T(f"q{n}", 1, latency_ms=100.0 + n) for n in range(15)]
    late = [T(f"l{n}", 1, error="timeout", end_ms=30_000.0, ttft_ms=80.0) for n in range(5)]
    result = measure(write(path, [S(quick + late)]))
    assert result.all.latency_ms["p50"].value == 109.0
    p95 = result.all.latency_ms["p95"]
    assert (p95.value, p95.n, p95.reason) == (None, 20, "p95 is more than 30,000: 5 of 20 values are lower bounds")
    # the first token came before the time-out: TTFT is known
    assert result.all.ttft_ms["p95"].value == 80.0


def test_other_failures_bound_nothing(path: Path) -> None:
    turns = [T("a", 1), T("b", 1, error="server", end_ms=9000.0, ttft_ms=None)]
    result = measure(write(path, [S(turns)]))
    assert (result.all.latency_ms["p50"].n, result.all.ttft_ms["p50"].n) == (1, 1)


def test_ttft_of_a_run_that_does_not_stream_is_missing(path: Path) -> None:
    turns = [T("a", 1, ttft_ms=None), T("b", 1, error="timeout", ttft_ms=None, end_ms=30_000.0)]
    result = measure(write(path, [S(turns)], stream=False))
    assert (result.all.ttft_ms["p50"].value, result.all.ttft_ms["p50"].n) == (None, 0)
    assert (result.all.latency_ms["p50"].value, result.all.latency_ms["p50"].n) == (400.0, 2)


def test_p99_only_from_a_hundred_turns(path: Path, tmp_path: Path) -> None:
    turns = [T(f"c{n}", 1) for n in range(100)]
    assert summary_json(write(path, [S(turns[:99])]))["ttft_ms"]["p99"] is None
    assert summary_json(write(tmp_path / "more.evalkit", [S(turns)]))["ttft_ms"]["p99"] == 50.0


# --- open loop


def test_schedule_latency_counts_from_the_time_a_turn_was_due(path: Path) -> None:
    turns = [T(f"c{n}", 1, due_ms=-100.0 * n) for n in range(21)] + [T("c0", 2)]
    result = summary_json(write(path, [S(turns)]))
    assert result["schedule_latency_ms"] == result["by_turn"][0]["schedule_latency_ms"]
    assert result["schedule_latency_ms"] == {"p50": 1400.0, "p95": 2300.0, "p99": None}
    assert result["by_turn"][1]["schedule_latency_ms"] == {"p50": None, "p95": None, "p99": None}
    assert result["latency_ms"]["p50"] == 400.0


def test_time_out_of_a_scheduled_turn_is_a_lower_bound_from_its_first_attempts_due(path: Path) -> None:
    turns = [T(f"c{n}", 1, due_ms=-100.0) for n in range(6)]
    turns += [
        T("l0", 1, error="timeout", end_ms=3000.0, due_ms=-100.0),
        T("l1", 1, error="timeout", end_ms=3000.0, due_ms=-900.0, attempts=2),
        T("e0", 1, error="server", end_ms=9000.0, due_ms=-100.0),
        T("c0", 2, error="timeout", end_ms=3000.0),  # of a turn index that has no schedule
    ]
    estimate = measure(write(path, [S(turns)])).by_turn[0].schedule_latency_ms
    assert (estimate["p50"].value, estimate["p50"].n) == (500.0, 8)
    late = measure(write(path.with_name("late.evalkit"), [S([*turns[:1], *turns[6:]])]))
    reason = late.by_turn[0].schedule_latency_ms["p50"].reason
    assert reason == "p50 is more than 3,900: 2 of 3 values are lower bounds"
    assert late.by_turn[1].schedule_latency_ms["p50"].n == 0


def test_closed_loop_has_no_schedule_latency(big: tuple[Path, pd.DataFrame]) -> None:
    measured = measure(big[0])
    assert not measured.open_loop
    assert measured.all.schedule_latency_ms["p50"].n == 0


# --- sessions


def test_wall_time_is_that_of_the_sessions_without_the_pause_between(path: Path) -> None:
    first = S([T("a", 1), T("a", 2, sent_ms=1500)], start_ms=0, end_ms=None)  # killed: ends with its last turn
    second = S([T("b", 1, sent_ms=900_100)], start_ms=900_000, end_ms=902_000)
    result = summary_json(write(path, [first, second]))
    assert result["wall_s"] == pytest.approx((1500 + 400) / 1000 + 2.0)
    assert result["turns_per_s"] == pytest.approx(3 / result["wall_s"])


def test_failed_turns_are_no_throughput(path: Path) -> None:
    turns = [T(f"c{n}", 1, error="server" if n < 3 else None) for n in range(8)]
    result = summary_json(write(path, [S(turns, end_ms=2000)]))
    assert (result["turns"], result["answered"], result["turns_per_s"]) == (8, 5, pytest.approx(2.5))


def test_a_resumed_run_keeps_the_old_timing(path: Path) -> None:
    write(path, [S([T("a", 1, ttft_ms=123.0, latency_ms=456.0)], end_ms=None)])
    before = tables.turns(path)
    with RunFile.open(path) as file:
        file.begin_session(10**15, {})
        file.end_session(10**15 + 500 * MS, "done", {"loop_lag_p99_ms": 0.5})
    pd.testing.assert_frame_equal(tables.turns(path), before)
    assert tables.summary(path).loc[1, "latency_p50_ms"] == 456.0


def test_trust_is_that_of_the_worst_session(path: Path) -> None:
    sessions = [
        S([T("a", 1, ttft_ms=100.0)], trust={"loop_lag_p99_ms": lag}, start_ms=n * 5000, end_ms=n * 5000 + 1000)
        for n, lag in enumerate([1.0, 7.5, 2.0])
    ]
    write(path, sessions)
    told = summary_json(path)["trust"]
    assert (told["loop_lag_p99_ms"], told["client_bound"]) == (7.5, True)
    assert tables.summary(path)["client_bound"].all()


def test_trust_adds_up_what_its_sessions_counted_and_keeps_the_worst_of_the_rest(path: Path) -> None:
    told = {"gc_pauses": 2, "gc_pause_max_ms": 3.5, "cpu_share": 0.25, "connections_opened": 4}
    first = {**told, "reads": 100, "reads_with_several_events": 6}
    second = {**told, "gc_pause_max_ms": 1.0, "cpu_share": 0.75, "reads": 50, "reads_with_several_events": 0}
    sessions = [
        S([T("a", 1)], trust=trust, start_ms=n * 5000, end_ms=n * 5000 + 1000)
        for n, trust in enumerate([first, second])
    ]
    trust = summary_json(write(path, [*sessions, S([T("b", 1, attempts=3)], end_ms=None)]))["trust"]
    assert (trust["gc_pauses"], trust["gc_pause_max_ms"], trust["cpu_share"]) == (4, 3.5, 0.75)
    assert (trust["connections_opened"], trust["reads"], trust["reads_with_several_events"]) == (8, 150, 6)
    assert (trust["attempts"], trust["attempts_on_new_connections"], trust["loop_lag_p99_ms"]) == (5, 0, None)


def test_requests_on_new_connections_are_counted(path: Path) -> None:
    write(path, [S([T("a", 1, new_connection=True), T("a", 2), T("b", 1, new_connection=True)])])
    trust = summary_json(path)["trust"]
    assert (trust["attempts"], trust["attempts_on_new_connections"]) == (3, 2)


def test_tokens_are_summed_over_the_turns_that_tell_them(path: Path) -> None:
    result = summary_json(write(path, [S([T("a", 1, tokens=8), T("a", 2), T("b", 1, tokens=5)])]))
    assert result["tokens"] == {"prompt": 40, "output": 13, "reasoning": None, "cached": None, "cache_write": None}


def test_trust_of_a_run_that_ended_no_session_is_missing(path: Path) -> None:
    write(path, [S([], end_ms=None)])
    result = summary_json(path)
    counts = ("attempts", "attempts_on_new_connections", "sessions_not_known", *TRUST[-3:])
    nothing = dict.fromkeys(counts, 0)
    assert result["trust"] == dict.fromkeys(TRUST) | nothing | {
        "medians_ms": dict.fromkeys(("ttft", "latency", "tpot"))
    }
    assert result["tokens"] == dict.fromkeys(("prompt", "output", "reasoning", "cached", "cache_write"))
    assert (result["wall_s"], result["turns_per_s"], result["turns"], result["by_turn"]) == (None, None, 0, [])
    assert tables.summary(path).index.tolist() == ["all"]


def test_summary_json_is_the_object_that_is_promised(big: tuple[Path, pd.DataFrame]) -> None:
    result = summary_json(big[0])
    times = {"ttft_ms", "latency_ms", "tpot_ms", "schedule_latency_ms", "turn_time_ms"}
    measured = {"turns", "answered", "errors", "accuracy", "accuracy_all", "interrupted", "retries"} | times
    more = {
        "run",
        "by_turn",
        "by_tag",
        "tags_left_out",
        "conversations",
        "doubt",
        "repeats",
        "scoring",
        "tokens",
        "trust",
        "wall_s",
        "turns_per_s",
        "cost",
        "until",
        "arrivals",
        "planned",
        "ignored_parameters",
        "answering_models",
        "caveats",
        "imported",
        "incomplete",
        "raised_limits",
        "checkup",
    }
    assert set(result) == measured | more
    assert set(result["conversations"]) == {"n", "incomplete", "all_right", "last_right", "mean"}
    assert set(result["conversations"]["mean"]) == {"value", "low", "high"}
    assert set(result["trust"]) == set(TRUST)
    assert [set(row) for row in result["by_turn"]] == [measured | {"turn"}] * 3
    for name in ("accuracy", "accuracy_all"):
        assert set(result[name]) == {"value", "low", "high", "n", "wrong", "unscored"}
    for name in times:
        assert set(result[name]) == {"p50", "p95", "p99"}
    assert result["run"] == "primary"
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert list(result["errors"].values()) == sorted(result["errors"].values(), reverse=True)


def test_one_measurement_serves_every_summary(big: tuple[Path, pd.DataFrame]) -> None:
    measured = measure(big[0])
    assert summary_json(measured) == summary_json(big[0])
    pd.testing.assert_frame_equal(tables.summary(measured), tables.summary(big[0]))
