"""What changed since the last run of the same dataset, found among the run files of a folder."""

import sqlite3
from contextlib import closing

import pytest
from comparing import run, timed

from evalkit.report.html_report import report

HASH = "ab" * 32


def started(path, scores, minute, digest=HASH, model="tiny", latency_ms=300.0):
    """A run that was started at this minute."""
    asked = {"base_url": "http://127.0.0.1:9/v1", "model": model}
    run(path, timed(scores, latency_ms), endpoint=asked, dataset={"path": "d.jsonl", "hash": digest})
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE run SET created_ns = ?", (1_800_000_000_000_000_000 + int(minute * 60_000_000_000),))
    return path


@pytest.fixture
def folder(tmp_path):
    started(tmp_path / "oldest.evalkit", [0.0] * 40, 0)
    started(tmp_path / "last.evalkit", [1.0] * 20 + [0.0] * 20, 1, model="tiny|<b>", latency_ms=400.0)
    started(tmp_path / "later.evalkit", [0.0] * 40, 3)
    started(tmp_path / "other.evalkit", [0.0] * 40, 1, digest="cd" * 32)
    started(tmp_path / "unchecked.evalkit", [0.0] * 40, 1, digest=None)
    (tmp_path / "damaged.evalkit").write_bytes(b"SQLite format 3\0" + b"x" * 4096)
    (tmp_path / "folder.evalkit").mkdir()
    return tmp_path


@pytest.mark.parametrize("name", ["r.html", "r.md"])
def test_a_report_says_what_changed_since_the_last_run(folder, name):
    path = started(folder / "this.evalkit", [0.0] * 2 + [1.0] * 38, 2, latency_ms=200.0)
    report([path], folder / name)
    text = folder.joinpath(name).read_text(encoding="utf-8").replace("`", "")
    assert "A is the run last.evalkit of 2027-01-15 08:01 UTC, with tiny|" in text
    assert "Accuracy: B is better by 45.0 points" in text
    assert "B is faster: median latency 40" in text
    assert "20 turns right now and not before, 2 turns right before and not now, of 40" in text
    assert "A and B differ in model (A tiny|" in text


@pytest.mark.parametrize("digest", [HASH, None])
def test_without_an_earlier_run_of_the_dataset_nothing_is_said(tmp_path, digest):
    path = started(tmp_path / "this.evalkit", [1.0] * 4, 2, digest)
    started(tmp_path / "none.evalkit", [1.0] * 4, 1, None)
    report([path], tmp_path / "r.html")
    assert "What changed since" not in tmp_path.joinpath("r.html").read_text(encoding="utf-8")


def test_an_earlier_run_that_cannot_be_compared_is_passed_over(folder):
    started(folder / "empty.evalkit", [], 1.5)
    path = started(folder / "this.evalkit", [1.0] * 40, 2)
    report([path], folder / "r.html")
    assert "A is the run last.evalkit" in folder.joinpath("r.html").read_text(encoding="utf-8")
