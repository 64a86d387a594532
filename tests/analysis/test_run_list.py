"""The runs in a folder: the numbers of the summary, in the order of time, and a line for what cannot be read."""

import shutil
import sqlite3
from contextlib import closing

import hostile_runfiles as hostile
import pytest
from comparing import said
from runfiles import S, T, talk, write

import evalkit as ek
from evalkit.analysis import run_list
from evalkit.analysis.summary_json import summary_json
from evalkit.errors import SettingsError
from evalkit.runfile import migrations


def numbers(result):
    """What a list and a summary have in common."""
    kept = {name: result[name] for name in ("run", "turns", "answered", "accuracy", "planned")}
    return {**kept, **{name: result[name]["p50"] for name in ("ttft_ms", "latency_ms")}}


def assert_as_in_the_summary(path):
    listed, summary = numbers(run_list.read_line(path).to_json()), numbers(summary_json(path))
    for name in ("value", "low", "high"):
        assert listed["accuracy"].pop(name) == pytest.approx(summary["accuracy"].pop(name), abs=1e-12)
    for name in ("ttft_ms", "latency_ms"):
        assert listed.pop(name) == pytest.approx(summary.pop(name), abs=1e-9)
    del listed["planned"], summary["planned"]
    assert listed == summary


def test_the_numbers_are_those_of_the_summary_with_groups_repeats_failures_and_missing_scores(big):
    assert_as_in_the_summary(big[0])


@pytest.mark.parametrize(
    "turns",
    [
        [],
        [T("a", 1, error="server", latency_ms=None, ttft_ms=None)],
        [T("a", 1, score=1.0)],
        [T("a", 1, score=0.4), T("a", 2, score=1.0), T("b", 1, score=0.25)],
        [T("a", 1, ttft_ms=None, error="timeout", end_ms=900.0), T("b", 1, score=1.0, latency_ms=300.0)],
        [T(name, 1, error="timeout", end_ms=900.0) for name in "abc"],
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_the_numbers_of_few_turns_are_those_of_the_summary(path, turns, stream):
    assert_as_in_the_summary(write(path, [S(turns)], stream=stream))


def test_a_later_scoring_counts(path):
    write(
        path,
        [S([T("a", 1, score=0.0, text="35"), T("b", 1, score=0.0, text="35")])],
        [talk("a", (35,)), talk("b", (35,))],
    )
    ek.Run(path).score("number")
    assert run_list.read_line(path).accuracy.mean.value == 1.0
    assert_as_in_the_summary(path)


def test_runs_are_in_the_order_in_which_they_started_and_what_else_the_folder_has_is_not_listed(tmp_path):
    for name in ("b", "a"):
        write(tmp_path / f"{name}.evalkit", [S([T("x", 1, score=1.0)])])
    write(tmp_path / "killed.evalkit", [S([T("x", 1)], end_ms=None)])
    (tmp_path / "notes.txt").write_text("no run")
    (tmp_path / "folder.evalkit").mkdir()
    listed = run_list.list_runs(tmp_path)
    assert [run.path.stem for run in listed.runs] == ["b", "a", "killed"]
    assert [run.outcome for run in listed.runs] == ["done", "done", None]
    assert listed.unreadable == ()


def test_a_file_that_cannot_be_read_is_a_line_with_its_cause(tmp_path):
    good = write(tmp_path / "good.evalkit", [S([T("x", 1, score=1.0)])])
    (tmp_path / "empty.evalkit").write_bytes(b"")
    (tmp_path / "short.evalkit").write_bytes(good.read_bytes()[:6000])
    (tmp_path / "gone.evalkit").symlink_to(tmp_path / "nowhere")
    listed = run_list.list_runs(tmp_path)
    assert [run.path for run in listed.runs] == [good]
    causes = {file.path.stem: file.error for file in listed.unreadable}
    assert causes.keys() == {"empty", "short"}
    assert "is empty" in causes["empty"]
    assert "cut short" in causes["short"]


@pytest.mark.parametrize("kind", ["SCHEMAS", "VALUES"])
def test_what_a_stranger_sent_is_refused_or_has_the_numbers_of_the_summary(tmp_path, kind):
    good = write(tmp_path / "good.evalkit", [S([T("a", t, score=1.0, tokens=3) for t in (1, 2)])], [talk("a", (1, 2))])
    folder = tmp_path / "hostile"
    folder.mkdir()
    paths = list(hostile.make(good, folder, getattr(hostile, kind)))
    listed = run_list.list_runs(folder)
    assert {run.path for run in listed.runs} | {file.path for file in listed.unreadable} == set(paths)
    if kind == "SCHEMAS":
        assert listed.runs == ()
    for file in listed.unreadable:
        assert file.path.name in file.error
    for name in ("a-score-of-1e308", "a-score-of-text", "text-for-a-time", "turn-a-billion", "no-run"):
        assert kind == "SCHEMAS" or folder / f"{name}.evalkit" in {file.path for file in listed.unreadable}, name


def test_a_file_of_an_earlier_version_is_listed_and_stays_as_it_is(tmp_path):
    old = tmp_path / "old.evalkit"
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("PRAGMA application_id = 0x65766B74")
        migrations.migrate(connection, 0, to=3)
        connection.execute(
            "INSERT INTO run (name, created_ns, settings, dataset, endpoint) VALUES ('old', 1, '{}', '{}', '{}')"
        )
    before = old.read_bytes()
    (run,) = run_list.list_runs(tmp_path).runs
    assert (run.run, run.turns, run.dataset, run.model, run.outcome) == ("old", 0, "", "", None)
    assert old.read_bytes() == before


def test_the_table_has_the_types_of_its_columns_whatever_is_missing(tmp_path, big):
    empty = ek.runs(tmp_path)
    assert len(empty) == 0
    shutil.copy(big[0], tmp_path / "big.evalkit")
    said(tmp_path / "big.evalkit", dataset={"path": "data/sums.jsonl"}, endpoint={"model": "tiny"})
    (tmp_path / "bad.evalkit").write_text("no run")
    frame = ek.runs(tmp_path)
    assert list(frame.columns) == list(empty.columns)
    assert frame["dataset"][0] == "sums.jsonl"
    assert frame["model"][0] == "tiny"
    assert frame["accuracy"].dtype == float
    assert frame["started"].dt.tz is not None
    assert "not a run file" in frame["error"][1]
    assert frame["accuracy"].isna()[1]


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="there is no folder"):
        ek.runs(tmp_path / "nowhere")
    path = write(tmp_path / "r.evalkit", [S([T("a", 1)])])
    with pytest.raises(SettingsError, match=r"is a file, not a folder of runs: 'evalkit show"):
        ek.runs(path)
