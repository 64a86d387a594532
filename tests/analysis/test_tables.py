import csv
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pyarrow.parquet
import pytest
from runfiles import S, T, talk, write
from scipy import stats as scipy_stats

from evalkit.analysis import tables
from evalkit.analysis.measures import measure
from evalkit.analysis.summary_json import summary_json
from evalkit.conversation import ToolCall
from evalkit.errors import RunFileError, SettingsError
from evalkit.runfile import exports, turn_columns
from evalkit.runfile.store import RunFile, open_to_read

COLUMNS = [
    *("conversation", "repeat", "turn", "status", "answer", "tool_calls", "finish_reason"),
    *("error_kind", "error_message", "http_status", "attempts", "ttft_ms", "latency_ms", "tpot_ms"),
    *("prompt_tokens", "output_tokens", "token_source", "score", "scorer", "extracted", "tags", "group"),
    *("outcome", "refusal", "reasoning", "reasoning_tokens", "cached_tokens", "cache_write_tokens", "logprobs"),
    *("question", "target", "reason", "model"),
]


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
    assert (half["question"], half["target"], good["target"]) == ("a, question 2", 276, 35)


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
    got = summary_json(path)["tpot_ms"]
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


# --- reading


def test_a_growing_run_and_an_open_connection_can_be_read(path: Path) -> None:
    write(path, [S([T("a", 1)])])
    with RunFile.open(path) as file:
        assert len(tables.turns(path)) == 1
        assert summary_json(file.connection)["turns"] == 1
    connection = open_to_read(path)
    assert len(tables.turns(connection)) == 1
    assert connection.execute("SELECT 1").fetchone() == (1,)
    connection.close()


@pytest.mark.parametrize("read", [tables.turns, tables.summary, summary_json])
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
    code = "import sys; from evalkit.analysis.summary_json import summary_json; "
    code += "print(summary_json(sys.argv[1])['turns'], *sys.modules)"
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


HIDDEN = """
import sys; sys.modules["pyarrow"] = None  # as if it were not installed
from evalkit.analysis import tables
from evalkit.errors import MissingExtra
source, folder = sys.argv[1:]
frame = tables.turns(source)
frame.to_pickle(folder + "/turns.pickle")
print(*map(str, frame.dtypes))
for form in ("jsonl", "csv"):
    tables.export(source, form, f"{folder}/hidden.{form}")
try:
    tables.export(source, "parquet", folder + "/hidden.parquet")
except MissingExtra as error:
    print(error)
"""


@pytest.mark.parametrize("several_groups", [False, True])
def test_tables_and_exports_are_the_same_without_pyarrow(
    big: tuple[Path, pd.DataFrame], tmp_path: Path, several_groups: bool
) -> None:
    code = "from evalkit.runfile import turn_columns; turn_columns.AT_ONCE = 7\n" * several_groups + HIDDEN
    done = subprocess.run([sys.executable, "-c", code, big[0], tmp_path], capture_output=True, text=True, check=True)
    kinds, message = done.stdout.splitlines()
    whole = tables.turns(big[0])
    assert kinds.split() == [str(kind) for kind in whole.dtypes]
    pd.testing.assert_frame_equal(
        pd.read_pickle(tmp_path / "turns.pickle"), whole, check_dtype=False, check_column_type=False
    )
    for form in ("jsonl", "csv"):
        tables.export(big[0], form, tmp_path / f"shown.{form}")
        assert (tmp_path / f"hidden.{form}").read_bytes() == (tmp_path / f"shown.{form}").read_bytes()
    assert message == (
        "the export format parquet, written by pyarrow, needs an optional part of evalkit. Install it with: "
        "pip install 'chat-evalkit[parquet]', or in a working copy: pip install -e '.[parquet]'"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "hidden.csv", "hidden.jsonl", "shown.csv", "shown.jsonl", "turns.pickle",
    ]  # fmt: skip


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
        "outcome": "answered", "refusal": None, "reasoning": None, "prompt_tokens": None, "output_tokens": None,
        "reasoning_tokens": None, "cached_tokens": None, "cache_write_tokens": None,
    }  # fmt: skip
    assert (second["answer"], second["error"]) == ("The prod", "truncated: the truncated message")
    assert (second["score"], second["latency_ms"]) == (None, None)
    assert [row["answer"] for row in tables.transcript(path, "a", repeat=2)] == ["36"]


def test_transcript_of_an_unknown_conversation_is_an_error(path: Path) -> None:
    write(path, [S([T("a", 1)])])
    with pytest.raises(RunFileError) as caught:
        tables.transcript(path, "z", repeat=3)
    assert str(caught.value) == (
        "the run file has no finished turn of conversation 'z' in repeat 3; its conversations begin with 'a': "
        "turns() and 'evalkit export' list all turns"
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
    assert (list(first)[-12], first["group"], second["group"]) == ("group", "g", "g")
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
    with pytest.raises(SettingsError, match="there is no export format 'xlsx': choose one of jsonl, csv, parquet"):
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


# --- arrivals


def test_arrivals_have_a_row_a_read_of_each_answered_stream(path: Path) -> None:
    stream = T("b", 1, ttft_ms=40, between_ms=(55, 90), latency_ms=100, sent_ms=7_000, attempts=2)
    failed = T("a", 1, ttft_ms=40, error="truncated", end_ms=300)
    write(path, [S([stream, failed, T("a", 2, ttft_ms=20, latency_ms=30)])], [talk("b"), talk("a")])
    frame = tables.arrivals(path)
    assert list(frame.columns) == ["conversation", "repeat", "turn", "at_ms", "events"]
    assert frame["at_ms"].tolist() == [40, 55, 90, 100, 20, 30]
    assert frame["conversation"].tolist() == ["b"] * 4 + ["a"] * 2
    assert frame["turn"].tolist() == [1] * 4 + [2] * 2
    assert frame["events"].tolist() == [1] * 6


def test_a_run_without_streams_has_no_arrivals(path: Path) -> None:
    write(path, [S([T("a", 1, error="timeout", ttft_ms=None, text="")])])
    frame = tables.arrivals(path)
    assert frame.empty
    assert frame["at_ms"].dtype == float
