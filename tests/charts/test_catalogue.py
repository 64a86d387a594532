import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from runfiles import S, T, talk, write

mpl.use("agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer

from evalkit.analysis.measures import RunMeasures, measure
from evalkit.analysis.times.quantiles import SAMPLED
from evalkit.charts import catalogue
from evalkit.charts.accuracy import AccuracyByTurn
from evalkit.charts.latency import LatencyByTurn
from evalkit.errors import MissingExtra, RunFileError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "demo.evalkit"


def typical(conversations: int = 60, turns: int = 3) -> list[T]:
    """A cold first turn, longer answers and fewer right ones later, some failures."""
    rng = np.random.default_rng(3)
    made = []
    for number in range(conversations):
        skill = rng.beta(3, 1.5)
        for turn in range(1, turns + 1):
            error = rng.choice(["timeout", "server"]) if rng.random() < 0.06 else None
            ttft = (30 + 60 * (turn == 1)) * rng.gamma(20, 0.05)
            score = None if error else float(rng.random() < skill * (1 if turn == 1 else 0.35))
            made.append(
                T(
                    f"c{number}",
                    turn,
                    ttft_ms=None if error else ttft,
                    latency_ms=ttft + rng.gamma(6, 60 + 40 * turn),
                    end_ms=5000,
                    error=error,
                    score=score,
                )
            )
    return made


@pytest.fixture
def run(path: Path) -> RunMeasures:
    return measure(write(path, [S(typical())]))


def bars(ax: Axes) -> list[tuple[float, float, float, float]]:
    """(x, value, low, high) of every marker with an error bar, in the order they were drawn."""
    drawn = []
    for container in ax.containers:
        assert isinstance(container, ErrorbarContainer)
        line, _, (reach,) = container.lines
        for x, y, segment in zip(*line.get_data(), reach.get_segments(), strict=True):
            if not np.isnan(y):
                drawn.append((float(x), float(y), float(segment[0, 1]), float(segment[1, 1])))
    return drawn


def words(ax: Axes) -> str:
    """Everything that is written on the chart."""
    ticks = [label.get_text() for label in ax.get_xticklabels()]
    legend = ax.get_legend()
    entries = [text.get_text() for text in legend.get_texts()] if legend else []
    texts = [text.get_text() for text in ax.texts]
    return "\n".join([ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel(), *ticks, *entries, *texts])


# --- accuracy


def test_accuracy_draws_what_was_measured(run: RunMeasures) -> None:
    ax = AccuracyByTurn(run).draw()
    expected = [row.accuracy.mean for row in run.by_turn] + [row.accuracy_all.mean for row in run.by_turn]
    drawn = bars(ax)
    np.testing.assert_allclose([bar[1:] for bar in drawn], [(e.value, e.low, e.high) for e in expected])
    assert [round(bar[0]) for bar in drawn] == [0, 1, 2, 0, 1, 2]
    assert f"n = {expected[0].n}" in words(ax)
    assert ax.get_ylabel() == "accuracy (mean score)"


def test_accuracy_title_says_a_clear_fall_in_words(run: RunMeasures) -> None:
    first, last = run.by_turn[0].accuracy.mean.value, run.by_turn[2].accuracy.mean.value
    title = AccuracyByTurn(run).draw().get_title(loc="left")
    assert title == f"Accuracy falls from {100 * first:.0f} % in turn 1 to {100 * last:.0f} % in turn 3"


def test_accuracy_title_claims_no_difference_that_chance_may_have_made(path: Path) -> None:
    turns = [T(f"c{n}", turn, score=float(n % 10 < 6 - turn)) for n in range(10) for turn in (1, 2)]
    title = catalogue.chart(write(path, [S(turns)]), "accuracy").draw().get_title(loc="left")
    assert title == "Accuracy: 50 % in turn 1, 40 % in turn 2, no clear difference"


def test_title_looks_past_turns_that_few_conversations_reach(path: Path) -> None:
    turns = [T(f"c{n}", turn, score=1.0) for n in range(20) for turn in (1, 2)]
    title = catalogue.chart(write(path, [S([*turns, T("c0", 3, score=0.0)])]), "accuracy").draw().get_title(loc="left")
    assert title == "Accuracy: 100 % in turn 1, 100 % in turn 2, no clear difference"


def test_turn_without_a_score_is_named_and_not_drawn_as_zero(path: Path) -> None:
    conversations = [talk(f"c{n}", targets=(1, None)) for n in range(6)]
    turns = [T(f"c{n}", turn, score=1.0 if turn == 1 else None) for n in range(6) for turn in (1, 2)]
    ax = catalogue.chart(write(path, [S(turns)], conversations), "accuracy").draw()
    assert [value for _, value, _, _ in bars(ax)] == [1.0]
    assert "no scored\nanswer" in words(ax)
    assert "n = 0" in words(ax)
    assert "answered turns without a score: 6" in words(ax)


def test_accuracy_over_all_turns_is_drawn_only_when_turns_failed(path: Path) -> None:
    ax = catalogue.chart(write(path, [S([T(f"c{n}", 1, score=1.0) for n in range(5)])]), "accuracy").draw()
    assert len(bars(ax)) == 1
    assert "all turns" not in words(ax)


# --- latency


def test_latency_draws_medians_intervals_and_p95_as_measured(run: RunMeasures) -> None:
    ax = LatencyByTurn(run).draw()
    rows = [row.ttft_ms for row in run.by_turn] + [row.latency_ms for row in run.by_turn]
    expected = [(row["p50"].value, row["p50"].low, row["p50"].high) for row in rows]
    np.testing.assert_allclose([bar[1:] for bar in bars(ax)], expected)
    flat = [line.get_ydata()[0] for line in ax.lines if len(line.get_ydata()) == 2 and np.ptp(line.get_ydata()) == 0]
    assert flat == [row["p95"].value for row in rows if row["p95"].value is not None]
    assert ax.get_ylabel() == "time (ms)"
    assert ax.get_yscale() == "log"
    assert "cold" in words(ax)


def test_latency_title_says_both_changes_in_words(run: RunMeasures) -> None:
    first, last = run.by_turn[0], run.by_turn[2]
    token, answer = LatencyByTurn(run).draw().get_title(loc="left").split("\n")
    start, end = first.ttft_ms["p50"].value, last.ttft_ms["p50"].value
    assert token == f"Median time to first token falls from {start:.0f} ms in turn 1 to {end:.0f} ms in turn 3"
    start, end = first.latency_ms["p50"].value, last.latency_ms["p50"].value
    assert answer == f"Median latency rises from {start:.0f} ms in turn 1 to {end:,.0f} ms in turn 3"


def test_time_outs_are_drawn_at_their_bound_and_a_missing_median_is_named(path: Path) -> None:
    turns = [T(f"c{n}", 1) for n in range(8)]
    turns += [T(f"t{n}", 1, error="timeout", ttft_ms=None, end_ms=30_000) for n in range(12)]
    ax = catalogue.chart(write(path, [S(turns)]), "latency").draw()
    assert bars(ax) == []
    heights = sorted(float(y) for points in ax.collections for _, y in points.get_offsets())
    assert heights == [50.0] * 8 + [400.0] * 8 + [30_000.0] * 24
    assert "turn 1, latency in ms: p50 is more than 30,000: 12 of 20 values are lower bounds" in words(ax)
    assert "timed out: at least this" in words(ax)
    assert "12 failed" in words(ax)


def test_ttft_that_was_not_streamed_is_named_and_not_drawn(path: Path) -> None:
    turns = [T(f"c{n}", 1, ttft_ms=None, latency_ms=400.0 + n) for n in range(20)]
    ax = catalogue.chart(write(path, [S(turns)], stream=False), "latency").draw()
    assert [bar[1] for bar in bars(ax)] == [409.5]
    assert "TTFT is missing: no answer was streamed" in words(ax)
    assert "time to first token (TTFT)" not in words(ax)
    assert (ax.get_yscale(), ax.get_ylim()[0]) == ("linear", 0)


def test_few_turns_have_no_p95_and_a_note_says_so(path: Path) -> None:
    ax = catalogue.chart(write(path, [S([T("a", 1), T("b", 1)])]), "latency").draw()
    assert "no p95 below 20 turns: turn 1" in words(ax)


def test_p95_among_the_time_outs_is_not_drawn_and_a_note_says_so(path: Path) -> None:
    turns = [T(f"c{n}", 1) for n in range(20)] + [T(f"t{n}", 1, error="timeout", end_ms=30_000) for n in range(4)]
    ax = catalogue.chart(write(path, [S(turns)]), "latency").draw()
    assert len(bars(ax)) == 2
    assert "p95 unknown because of time-outs: turn 1" in words(ax)


def test_at_most_400_points_stand_behind_a_median(path: Path) -> None:
    ax = catalogue.chart(write(path, [S([T(f"c{n}", 1) for n in range(450)])]), "latency").draw()
    assert sum(len(points.get_offsets()) for points in ax.collections) == 2 * SAMPLED + 2


# --- both


both = pytest.mark.parametrize("name", ["latency", "accuracy"])


@both
def test_a_run_without_turns_says_so(path: Path, name: str) -> None:
    ax = catalogue.chart(write(path, [S([])]), name).draw()
    assert [text.get_text() for text in ax.texts] == ["This run has no finished turn yet"]


@both
def test_a_run_of_failures_says_so(path: Path, name: str) -> None:
    turns = [T(f"c{n}", 1, error="auth" if n else "server", ttft_ms=None) for n in range(5)]
    ax = catalogue.chart(write(path, [S(turns)]), name).draw()
    assert ax.get_title(loc="left") == "No turn was answered: 5 failed (auth 4, server 1)"
    ax.figure.canvas.draw()


@both
def test_one_turn_is_enough(path: Path, name: str) -> None:
    ax = catalogue.chart(write(path, [S([T("a", 1, score=1.0)])]), name).draw()
    assert "in turn 1" in ax.get_title(loc="left")
    ax.figure.canvas.draw()


@both
def test_client_bound_runs_are_marked(path: Path, tmp_path: Path, name: str) -> None:
    slow = write(path, [S([T("a", 1, score=1.0)], trust={"loop_lag_p99_ms": 12.0})])
    is_of_times = name == "latency"
    assert ("client-bound: up to 12 ms of 50 ms (TTFT)" in words(catalogue.chart(slow, name).draw())) is is_of_times
    assert ("client-bound" in words(catalogue.chart(slow, name).draw())) is is_of_times
    good = write(tmp_path / "good.evalkit", [S([T("a", 1, score=1.0)])])
    assert "client-bound" not in words(catalogue.chart(good, name).draw())


@both
def test_draws_on_the_axes_it_is_given_and_leaves_the_style_alone(path: Path, name: str) -> None:
    chart = catalogue.chart(write(path, [S(typical(8))]), name)
    before = dict(mpl.rcParams)
    ax = pyplot.figure().subplots()
    assert chart.draw(ax) is ax
    assert dict(mpl.rcParams) == before


@both
def test_many_turn_indexes_keep_their_labels_apart(path: Path, name: str) -> None:
    conversations = [talk(f"c{n}", targets=range(1, 26)) for n in range(4)]
    turns = [T(f"c{n}", turn, score=1.0) for n in range(4) for turn in range(1, 26)]
    ax = catalogue.chart(write(path, [S(turns)], conversations), name).draw()
    ax.figure.canvas.draw()
    boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
    assert len(boxes) == 9
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


@both
def test_no_figure_is_left_behind_when_the_run_cannot_be_read(path: Path, name: str) -> None:
    with pytest.raises(RunFileError, match="there is no run file"):
        catalogue.chart(path, name)
    assert pyplot.get_fignums() == []


@both
def test_without_matplotlib_the_extra_is_named(path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chart = catalogue.chart(write(path, [S(typical(8))]), name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"drawing a chart needs an optional part .*chat-evalkit\[charts\]"):
        chart.draw()


def test_matplotlib_is_imported_only_to_draw() -> None:
    code = "import sys, evalkit, evalkit.charts.catalogue; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
