import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from runfiles import S, T, write

from evalkit.analysis.measures import opened
from evalkit.analysis.times.along_run import Timeline, bin_width_s, timeline


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.evalkit"


def read(path: Path) -> Timeline:
    with opened(path) as connection:
        return timeline(connection)


def wall(path: Path, *starts_s: float) -> None:
    """Set when the sessions began by the wall clock."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for number, start in enumerate(starts_s, start=1):
            connection.execute("UPDATE session SET started_wall_ns = ? WHERE id = ?", (round(start * 1e9), number))


def test_turns_are_counted_where_they_ended_failed_ones_apart(path: Path) -> None:
    turns = [T("a", 1, sent_ms=0), T("b", 1, sent_ms=100), T("c", 1, sent_ms=10_000, error="server")]
    result = read(write(path, [S(turns, 0, 60_000)]))
    (one,) = result.stretches
    assert (result.width_s, len(one.answered), one.edges[-1]) == (1.0, 60, 60.0)
    assert (one.answered[0], one.answered.sum(), one.failed[10], one.failed.sum()) == (2, 2, 1, 1)


def test_the_time_between_sessions_is_left_out_and_reported(path: Path) -> None:
    sessions = [S([T("a", 1)], 0, 10_000), S([T("b", 1, sent_ms=50_000)], 50_000, 55_000)]
    write(path, sessions)
    wall(path, 1_000, 1_000 + 3_610)
    result = read(path)
    first, second = result.stretches
    assert (first.paused_s, second.paused_s) == (None, 3_600.0)
    assert (first.edges[-1], second.edges[0], second.edges[-1]) == (10.0, 10.0, 15.0)
    assert second.answered[0] == 1


def test_a_killed_session_ends_with_its_last_turn_and_an_empty_one_is_left_out(path: Path) -> None:
    result = read(write(path, [S([], 0, 500), S([T("a", 1, sent_ms=1_000, latency_ms=400)], 1_000, None)]))
    (one,) = result.stretches
    assert one.edges[-1] == pytest.approx(0.4)
    assert one.answered.sum() == 1
    assert one.paused_s is None


def test_a_run_without_turns_has_no_time(path: Path) -> None:
    assert read(write(path, [S([])])).stretches == ()


@pytest.mark.parametrize(
    ("seconds", "width"), [(0, 1.0), (60, 1.0), (61, 2.0), (121, 5.0), (301, 10.0), (5, 0.1), (86_400, 2000.0)]
)
def test_at_most_60_round_bins(seconds: float, width: float) -> None:
    assert bin_width_s(seconds) == pytest.approx(width)
