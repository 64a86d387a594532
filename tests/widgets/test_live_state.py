"""How a run stands while it goes: what is shown of it, and how seldom its file is looked at."""

import itertools

from runfiles import S, T, write

from evalkit.engine.saving.progress import Progress
from evalkit.widgets.live_state import LATEST, LiveState, status_line


def counted(total, answered, **errors):
    progress = Progress(total=total, answered=answered, errors=sum(errors.values()))
    progress.errors_by_kind.update(errors)
    return progress


def state_of(path, progress, outcome=None):
    state = LiveState(path, progress)
    try:
        return state.now(outcome)
    finally:
        state.close()


def test_counts_accuracy_and_latencies(tmp_path):
    turns = [T("a", 1, latency_ms=100, score=1), T("a", 2, latency_ms=200, score=0), T("b", 1, error="server")]
    path = write(tmp_path / "r.evalkit", [S(turns)])
    state = state_of(path, counted(4, 2, server=1))
    assert (state["state"], state["done"], state["total"], state["errors"]) == ("running", 3, 4, {"server": 1})
    assert (state["accuracy"]["value"], state["accuracy"]["n"]) == (0.5, 2)
    assert state["latencies"] == [[1, 100.0], [2, 200.0]]
    assert status_line(state).startswith("r: 3 of 4 turns · 1 errors (1 server) · ")


def test_the_dashboard_of_a_cluster_is_there_until_the_session_has_ended(tmp_path):
    path, address = write(tmp_path / "r.evalkit", []), "http://127.0.0.1:8787/status"
    assert state_of(path, Progress(dashboard=address))["dashboard"] == address
    assert state_of(path, Progress(dashboard=address), "done")["dashboard"] is None


def test_before_the_first_turn(tmp_path):
    state = state_of(write(tmp_path / "r.evalkit", []), Progress())
    assert (state["accuracy"], state["latencies"], state["per_s"], state["left_s"]) == (None, [], None, None)
    assert status_line(state) == "r: 0 of ? turns · 0 errors"


def test_a_retried_turn_has_one_latency_and_only_the_latest_turns_are_shown(tmp_path):
    turns = [T(f"c{n}", 1, latency_ms=n, attempts=2 if n % 2 else 1, sent_ms=n) for n in range(1, LATEST + 51)]
    latencies = state_of(write(tmp_path / "r.evalkit", [S(turns)]), counted(None, len(turns)))["latencies"]
    shown = [ms for _, ms in latencies]
    assert shown == sorted(set(shown))
    assert shown[-1] == LATEST + 50
    assert len(shown) <= LATEST


def test_the_pause_after_a_read_is_twenty_times_as_long_as_the_read(tmp_path, monkeypatch):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, score=1)])])
    clock, looks = [0.0], []
    state = LiveState(path, counted(9, 1))
    monkeypatch.setattr("evalkit.widgets.live_state.time.monotonic", lambda: clock[0])

    def look():
        looks.append(clock[0])
        clock[0] += 0.1
        return {"accuracy": None, "latencies": []}

    monkeypatch.setattr(state, "_latest", look)
    for _ in range(100):
        state.now()
        clock[0] += 0.05
    assert all(later - earlier >= 2.1 - 1e-9 for earlier, later in itertools.pairwise(looks))
    assert len(looks) >= 2


def test_a_deleted_run_file_does_not_end_the_display(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, score=1)])])
    path.unlink()
    assert state_of(path, counted(2, 1), "done")["accuracy"] is None


def test_the_status_line_of_an_ended_run(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, score=1)])])
    progress = counted(2, 1)
    assert status_line(state_of(path, progress, "done")).endswith(" · done")
    progress.stopping = True
    assert status_line(state_of(path, progress)).endswith("stopping: waiting for answers in flight")
