import csv
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pyarrow.parquet
import pytest
from runfiles import MS, S, T, talk, write
from scipy import stats as scipy_stats

from evalkit.analysis import tables
from evalkit.analysis.measures import measure
from evalkit.conversation import ToolCall
from evalkit.errors import RunFileError, SettingsError
from evalkit.runfile import exports, turn_columns
from evalkit.runfile.store import RunFile, open_to_read

COLUMNS = [
    *("conversation", "repeat", "turn", "status", "answer", "tool_calls", "finish_reason"),
    *("error_kind", "error_message", "http_status", "attempts", "ttft_ms", "latency_ms", "tpot_ms"),
    *("prompt_tokens", "output_tokens", "token_source", "score", "scorer", "extracted", "tags", "group"),
    *("outcome", "refusal", "reasoning"),
]
TRUST = [
    *("loop_lag_p99_ms", "client_bound", "gc_pauses", "gc_pause_max_ms", "cpu_share", "connections_opened"),
    *("attempts", "attempts_on_new_connections", "reads", "reads_with_several_events"),
    *("client_bound_metrics", "medians_ms", "loop_stall_max_ms", "stalled_share", "sessions_not_known"),
    *("function_calls", "function_wait_max_ms"),
    *("streams", "streams_at_once", "streams_first_read_late"),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "demo.evalkit"


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """A run of 40 conversations of 3 turns, twice, with failures; and what went in, as a frame."""
    rng = np.random.default_rng(7)
    turns = []
    for number in range(40):
        skill = rng.beta(1, 1.5)
        for repeat in (1, 2):
            for turn in (1, 2, 3):
                error = rng.choice(["timeout", "server", "truncated"]) if rng.random() < 0.12 else None
                tokenless = error == "server" or (error == "timeout" and rng.random() < 0.5)
                scored = error is None and rng.random() < 0.9
                turns.append(
                    T(
                        f"c{number:02}",
                        turn,
                        repeat=repeat,
                        error=error,
                        ttft_ms=None if tokenless else round(rng.gamma(4, 20 + 30 * (turn == 1)), 3),
                        latency_ms=round(300 + rng.gamma(4, 100), 3),
                        end_ms=3000.0 if error == "timeout" else 100.0,
                        tokens=int(rng.integers(2, 90)) if rng.random() < 0.8 else None,
                        score=float(rng.random() < skill) if scored else None,
                    )
                )
    conversations = [talk(f"c{n:02}", group=f"g{n // 2}" if n < 10 else None) for n in range(40)]
    file = write(tmp_path_factory.mktemp("runs") / "big.evalkit", [S(turns, end_ms=12_000.0)], conversations)
    return file, pd.DataFrame([vars(turn) for turn in turns])


# --- turns


def test_turns_has_the_exported_columns_and_a_row_a_turn(path: Path) -> None:
    call = ToolCall("get_weather", '{"city": "Boston"}', "call-1")
    write(
        path,
        [
            S(
                [
                    T("b", 1, tokens=8, score=1.0, extracted=35, calls=(call,), attempts=2),
                    T("a", 1, error="timeout", ttft_ms=None, text=""),
                    T("a", 2, score=0.5, extracted={"got": [1, 2]}, scorer="regex"),
                ]
            )
        ],
        [talk("b", tags=("sum", "easy"), group="sums"), talk("a")],
    )
    frame = tables.turns(path)
    assert list(frame.columns) == COLUMNS
    assert frame["conversation"].tolist() == ["b", "a", "a"]
    good, late, half = frame.to_dict("records")
    assert (good["status"], good["answer"], good["finish_reason"], good["http_status"]) == (
        "answered",
        "35",
        "stop",
        200,
    )
    assert good["tool_calls"] == [call.to_json()]
    assert (good["ttft_ms"], good["latency_ms"], good["tpot_ms"]) == (50.0, 400.0, 350 / 7)
    assert (good["prompt_tokens"], good["output_tokens"], good["token_source"]) == (20, 8, "usage")
    assert (good["score"], good["scorer"], good["extracted"], good["tags"]) == (1.0, "number", 35, ["sum", "easy"])
    assert (late["status"], late["error_kind"], late["error_message"]) == ("error", "timeout", "the timeout message")
    assert (half["score"], half["scorer"], half["extracted"]) == (0.5, "regex", {"got": [1, 2]})
    assert (half["token_source"], half["tags"]) == ("none", [])
    assert (good["group"], pd.isna(half["group"])) == ("sums", True)


def test_missing_values_are_missing_and_never_zero(path: Path) -> None:
    write(path, [S([T("a", 1, error="server", ttft_ms=None)])])
    row = tables.turns(path).iloc[0]
    missing = "ttft_ms latency_ms tpot_ms prompt_tokens output_tokens score scorer extracted tool_calls finish_reason"
    assert row[missing.split()].isna().all()


def test_latency_of_a_retried_turn_is_that_of_its_good_attempt(path: Path) -> None:
    write(path, [S([T("a", 1, attempts=3)])])
    row = tables.turns(path).iloc[0]
    assert (row["attempts"], row["latency_ms"], row["status"]) == (3, 400.0, "answered")


def test_counts_are_nullable_integers_and_an_empty_run_has_all_columns(path: Path) -> None:
    write(path, [S([])])
    frame = tables.turns(path)
    assert list(frame.columns) == COLUMNS
    assert len(frame) == 0
    for name in ("http_status", "attempts", "prompt_tokens", "output_tokens"):
        assert frame[name].dtype == pd.Int64Dtype()


def test_infinity_that_a_scorer_extracted_can_be_read(path: Path) -> None:
    """It is kept in words, as JSON has none; a file of an earlier version may hold it all the same."""
    write(path, [S([T("a", 1, score=0.0, extracted=float("inf"))])])
    assert tables.turns(path)["extracted"][0] == "inf"
    with RunFile.open(path) as runfile, runfile.connection as connection:
        connection.execute("UPDATE score SET extracted = 'Infinity'")
    assert tables.turns(path)["extracted"][0] == float("inf")


# --- summary: recomputed by other means


def test_summary_counts_and_quantiles_recomputed(big: tuple[Path, pd.DataFrame]) -> None:
    path, truth = big
    summary = tables.summary(path)
    assert summary.index.tolist() == [1, 2, 3, "all"]
    for label, part in [*truth.groupby("turn"), ("all", truth)]:
        row = summary.loc[label]
        answered = part[part["error"].isna()]
        assert (row["turns"], row["answered"], row["errors"]) == (len(part), len(answered), len(part) - len(answered))
        assert row["n"] == answered["score"].notna().sum()
        assert row["accuracy"] == pytest.approx(answered["score"].mean())
        # a time-out sorts behind everything that was answered in time
        times = np.sort(np.append(answered["latency_ms"], np.full((part["error"] == "timeout").sum(), np.inf)))
        assert row["latency_p50_ms"] == times[int(np.ceil(0.5 * len(times))) - 1]
        assert times[-1] == np.inf


def test_ttft_of_time_outs_without_a_token_counts_as_a_lower_bound(big: tuple[Path, pd.DataFrame]) -> None:
    path, truth = big
    first = truth[truth["turn"] == 1]
    tokenless = first["ttft_ms"].isna() & (first["error"] == "timeout")
    assert tokenless.any()
    times = np.sort(np.append(first["ttft_ms"].dropna(), np.full(tokenless.sum(), np.inf)))
    estimate = measure(path).by_turn[0].ttft_ms["p50"]
    assert estimate.n == len(times)
    assert estimate.value == times[int(np.ceil(0.5 * len(times))) - 1]


def test_tpot_recomputed(big: tuple[Path, pd.DataFrame]) -> None:
    path, truth = big
    good = truth[truth["error"].isna() & truth["tokens"].notna()]
    tpot = (good["latency_ms"] - good["ttft_ms"]) / (good["tokens"] - 1)
    got = tables.summary_json(path)["tpot_ms"]
    assert got["p50"] == pytest.approx(np.median(tpot), abs=1e-5)
    assert got["p99"] == pytest.approx(np.quantile(tpot, 0.99), abs=1e-5)


def test_accuracy_interval_is_clustered_by_group_or_conversation(big: tuple[Path, pd.DataFrame]) -> None:
    path, truth = big
    scored = truth[truth["error"].isna() & truth["score"].notna()]
    number = scored["conversation"].str[1:].astype(int)
    clusters = np.where(number < 10, "group " + (number // 2).astype(str), scored["conversation"])
    p, n = scored["score"].mean(), len(scored)
    totals = (scored["score"] - p).groupby(clusters).sum()
    k = len(totals)
    assert k == 35
    deff = k / (k - 1) * (totals**2).sum() / n**2 / (p * (1 - p) / (n - 1))
    assert deff > 1.3
    n_eff = n / deff * (scipy_stats.t.ppf(0.975, n - 1) / scipy_stats.t.ppf(0.975, k - 1)) ** 2
    z = scipy_stats.norm.ppf(0.975)
    limits = np.sort(np.roots([1 + z * z / n_eff, -(2 * p + z * z / n_eff), p * p]))
    row = tables.summary(path).loc["all"]
    assert (row["low"], row["high"]) == pytest.approx(tuple(limits))


# --- summary: errors, targets, scores


def test_errors_are_not_zeros(path: Path) -> None:
    turns = [T(f"c{n}", 1, score=1.0) for n in range(8)]
    turns += [T(f"d{n}", 1, error="server", ttft_ms=None) for n in range(2)]
    result = tables.summary_json(write(path, [S(turns)]))
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
    result = tables.summary_json(write(path, [S(turns)], conversations))
    answered, every = result["accuracy"], result["accuracy_all"]
    assert (answered["value"], answered["n"], answered["wrong"], answered["unscored"]) == (1 / 2, 2, 1, 2)
    assert (every["value"], every["n"], every["wrong"], every["unscored"]) == (1 / 3, 3, 1, 3)
    assert answered["n"] + answered["unscored"] == result["answered"]
    assert every["n"] + every["unscored"] == result["turns"]


def test_partial_credit_counts_in_the_mean_and_as_wrong(path: Path) -> None:
    result = tables.summary_json(write(path, [S([T("a", 1, score=0.5), T("b", 1, score=1.0)])]))
    assert (result["accuracy"]["value"], result["accuracy"]["wrong"]) == (0.75, 1)


def test_a_run_without_any_score_has_no_accuracy(path: Path) -> None:
    result = tables.summary_json(write(path, [S([T("a", 1)])], [talk("a", targets=(None,))]))
    expected = {"value": None, "low": None, "high": None, "n": 0, "wrong": 0, "unscored": 1}
    assert result["accuracy"] == result["accuracy_all"] == expected


# --- summary: time-outs


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
    assert tables.summary_json(write(path, [S(turns[:99])]))["ttft_ms"]["p99"] is None
    assert tables.summary_json(write(tmp_path / "more.evalkit", [S(turns)]))["ttft_ms"]["p99"] == 50.0


# --- summary: open loop


def test_schedule_latency_counts_from_the_time_a_turn_was_due(path: Path) -> None:
    turns = [T(f"c{n}", 1, due_ms=-100.0 * n) for n in range(21)] + [T("c0", 2)]
    result = tables.summary_json(write(path, [S(turns)]))
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


# --- summary: sessions


def test_wall_time_is_that_of_the_sessions_without_the_pause_between(path: Path) -> None:
    first = S([T("a", 1), T("a", 2, sent_ms=1500)], start_ms=0, end_ms=None)  # killed: ends with its last turn
    second = S([T("b", 1, sent_ms=900_100)], start_ms=900_000, end_ms=902_000)
    result = tables.summary_json(write(path, [first, second]))
    assert result["wall_s"] == pytest.approx((1500 + 400) / 1000 + 2.0)
    assert result["turns_per_s"] == pytest.approx(3 / result["wall_s"])


def test_failed_turns_are_no_throughput(path: Path) -> None:
    turns = [T(f"c{n}", 1, error="server" if n < 3 else None) for n in range(8)]
    result = tables.summary_json(write(path, [S(turns, end_ms=2000)]))
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
    told = tables.summary_json(path)["trust"]
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
    trust = tables.summary_json(write(path, [*sessions, S([T("b", 1, attempts=3)], end_ms=None)]))["trust"]
    assert (trust["gc_pauses"], trust["gc_pause_max_ms"], trust["cpu_share"]) == (4, 3.5, 0.75)
    assert (trust["connections_opened"], trust["reads"], trust["reads_with_several_events"]) == (8, 150, 6)
    assert (trust["attempts"], trust["attempts_on_new_connections"], trust["loop_lag_p99_ms"]) == (5, 0, None)


def test_requests_on_new_connections_are_counted(path: Path) -> None:
    write(path, [S([T("a", 1, new_connection=True), T("a", 2), T("b", 1, new_connection=True)])])
    trust = tables.summary_json(path)["trust"]
    assert (trust["attempts"], trust["attempts_on_new_connections"]) == (3, 2)


def test_tokens_are_summed_over_the_turns_that_tell_them(path: Path) -> None:
    result = tables.summary_json(write(path, [S([T("a", 1, tokens=8), T("a", 2), T("b", 1, tokens=5)])]))
    assert result["tokens"] == {"prompt": 40, "output": 13}


def test_trust_of_a_run_that_ended_no_session_is_missing(path: Path) -> None:
    write(path, [S([], end_ms=None)])
    result = tables.summary_json(path)
    counts = ("attempts", "attempts_on_new_connections", "sessions_not_known", *TRUST[-3:])
    nothing = dict.fromkeys(counts, 0)
    assert result["trust"] == dict.fromkeys(TRUST) | nothing | {
        "medians_ms": dict.fromkeys(("ttft", "latency", "tpot"))
    }
    assert result["tokens"] == {"prompt": None, "output": None}
    assert (result["wall_s"], result["turns_per_s"], result["turns"], result["by_turn"]) == (None, None, 0, [])
    assert tables.summary(path).index.tolist() == ["all"]


def test_summary_json_is_the_object_that_is_promised(big: tuple[Path, pd.DataFrame]) -> None:
    result = tables.summary_json(big[0])
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
    assert tables.summary_json(measured) == tables.summary_json(big[0])
    pd.testing.assert_frame_equal(tables.summary(measured), tables.summary(big[0]))


# --- reading


def test_a_growing_run_and_an_open_connection_can_be_read(path: Path) -> None:
    write(path, [S([T("a", 1)])])
    with RunFile.open(path) as file:
        assert len(tables.turns(path)) == 1
        assert tables.summary_json(file.connection)["turns"] == 1
    connection = open_to_read(path)
    assert len(tables.turns(connection)) == 1
    assert connection.execute("SELECT 1").fetchone() == (1,)
    connection.close()


@pytest.mark.parametrize("read", [tables.turns, tables.summary, tables.summary_json])
def test_what_is_no_run_file_is_named(tmp_path: Path, read) -> None:
    text = tmp_path / "notes.evalkit"
    text.write_text("not a database")
    with pytest.raises(RunFileError, match=r"notes\.evalkit is not a run file"):
        read(text)


def test_damage_inside_is_named(path: Path) -> None:
    write(path, [S([T(f"c{n}", 1, text="word " * 300) for n in range(40)])])
    with sqlite3.connect(path) as connection:
        root, size = (
            connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'turn'").fetchone()[0],
            connection.execute("PRAGMA page_size").fetchone()[0],
        )
    connection.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    with pytest.raises(RunFileError, match=r"demo\.evalkit is damaged or cut short .*: restore it from a backup"):
        tables.summary(path)


def test_the_object_of_json_needs_neither_pandas_nor_arrow_nor_all_of_scipy(big: tuple[Path, pd.DataFrame]) -> None:
    code = "import sys; from evalkit.analysis import tables; "
    code += "print(tables.summary_json(sys.argv[1])['turns'], *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, big[0]], capture_output=True, text=True, check=True)
    turns, *loaded = done.stdout.split()
    assert turns == "240"
    assert {"pandas", "pyarrow", "scipy.stats"}.isdisjoint(loaded)


def test_groups_of_turns_meet_without_a_seam(
    big: tuple[Path, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tables.turns(big[0])
    for form in tables.FORMATS:
        tables.export(big[0], form, tmp_path / f"whole.{form}")
    monkeypatch.setattr(turn_columns, "ROWS_PER_GROUP", 7)
    monkeypatch.setattr(exports, "ROW_GROUP_BYTES", 1)
    pd.testing.assert_frame_equal(tables.turns(big[0]), whole)
    for form in ("jsonl", "csv"):
        tables.export(big[0], form, tmp_path / f"parts.{form}")
        assert (tmp_path / f"parts.{form}").read_bytes() == (tmp_path / f"whole.{form}").read_bytes()
    tables.export(big[0], "parquet", tmp_path / "parts.parquet")
    parts, once = (pyarrow.parquet.ParquetFile(tmp_path / f"{name}.parquet") for name in ("parts", "whole"))
    assert (parts.num_row_groups, once.num_row_groups) == (35, 1)
    assert parts.read().equals(once.read())


# --- transcript


def test_transcript_tells_one_conversation(path: Path) -> None:
    turns = [
        T("a", 1, score=1.0, reason="35 is 35", extracted=35),
        T("a", 2, error="truncated", text="The prod"),
        T("a", 1, repeat=2, text="36", score=0.0),
        T("b", 1),
    ]
    first, second = tables.transcript(write(path, [S(turns)]), "a")
    assert first == {
        "turn": 1, "user": "a, question 1", "answer": "35", "tool_calls": None, "target": 35, "score": 1.0,
        "reason": "35 is 35", "extracted": 35, "error": None, "ttft_ms": 50.0, "latency_ms": 400.0,
        "outcome": "answered", "refusal": None, "reasoning": None,
    }  # fmt: skip
    assert (second["answer"], second["error"]) == ("The prod", "truncated: the truncated message")
    assert (second["score"], second["latency_ms"]) == (None, None)
    assert [row["answer"] for row in tables.transcript(path, "a", repeat=2)] == ["36"]


def test_transcript_of_an_unknown_conversation_is_an_error(path: Path) -> None:
    write(path, [S([T("a", 1)])])
    with pytest.raises(RunFileError) as caught:
        tables.transcript(path, "z", repeat=3)
    assert str(caught.value) == (
        "the run file holds no finished turn of conversation 'z' in repeat 3: "
        "turns() and 'evalkit export' list what it holds"
    )


# --- export


ODD = 'a\rb\u2028c\n,"d" π'


@pytest.fixture
def odd(path: Path) -> Path:
    call = ToolCall("f", '{"a": 1}', "1")
    turns = [T("a", 1, text=ODD, score=1.0, extracted=[1, None], calls=(call,)), T("a", 2, error="empty", ttft_ms=None)]
    return write(path, [S(turns)], [talk("a", tags=("x", "y"), group="g")])


def test_json_lines_export_is_the_turns(odd: Path, tmp_path: Path) -> None:
    assert tables.export(odd, "jsonl", tmp_path / "out.jsonl") == 2
    first, second = [orjson.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().split(b"\n") if line]
    assert list(first) == COLUMNS
    assert (first["answer"], first["extracted"], first["tags"], first["ttft_ms"]) == (ODD, [1, None], ["x", "y"], 50.0)
    assert (list(first)[-4], first["group"], second["group"]) == ("group", "g", "g")
    assert first["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": 1}'}
    assert [second[name] for name in ("ttft_ms", "score", "output_tokens", "extracted", "finish_reason")] == [None] * 5


def test_csv_export_survives_commas_quotes_and_line_breaks(odd: Path, tmp_path: Path) -> None:
    assert tables.export(odd, "csv", tmp_path / "out.csv") == 2
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        first, second = list(csv.DictReader(file))
    assert list(first) == COLUMNS
    assert (first["answer"], first["tags"], first["extracted"]) == (ODD, '["x","y"]', "[1,null]")
    assert first["group"] == "g"
    assert (second["ttft_ms"], second["score"], second["error_kind"]) == ("", "", "empty")


def test_parquet_export_has_types_also_where_all_is_missing(odd: Path, tmp_path: Path) -> None:
    assert tables.export(odd, "parquet", tmp_path / "out.parquet") == 2
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert table.column_names == COLUMNS
    types = {name: str(table.schema.field(name).type) for name in COLUMNS}
    assert {types[name] for name in ("answer", "error_kind", "extracted", "tool_calls")} <= {"string", "large_string"}
    assert (types["output_tokens"], types["score"], types["tags"]) == ("int64", "double", "list<element: string>")
    assert table["answer"].to_pylist()[0] == ODD
    assert table["output_tokens"].to_pylist() == [None, None]
    assert table["tags"].to_pylist() == [["x", "y"]] * 2
    assert table["group"].to_pylist() == ["g"] * 2


def test_export_to_an_impossible_place_or_format_is_named(odd: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'xlsx' is no export format: choose one of jsonl, csv, parquet"):
        tables.export(odd, "xlsx", tmp_path / "out.xlsx")
    for form in tables.FORMATS:
        with pytest.raises(SettingsError, match=r"nowhere/out cannot be written: .*Choose another place"):
            tables.export(odd, form, tmp_path / "nowhere" / "out")


def test_export_never_writes_over_the_run_file(odd: Path) -> None:
    with pytest.raises(SettingsError, match="is a run file itself: give the export another name"):
        tables.export(odd, "jsonl", odd)
    assert len(tables.turns(odd)) == 2


@pytest.mark.parametrize("form", tables.FORMATS)
def test_export_of_a_run_without_turns_is_an_empty_table(path: Path, tmp_path: Path, form: str) -> None:
    write(path, [S([])])
    assert tables.export(path, form, tmp_path / "out") == 0
    if form == "csv":
        assert (tmp_path / "out").read_text(encoding="utf-8").strip().split(",") == COLUMNS
    if form == "parquet":
        assert pyarrow.parquet.read_table(tmp_path / "out").column_names == COLUMNS
