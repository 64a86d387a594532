"""Single charts: what they draw and say, compared with what was measured; test_style has what all charts share."""

import re
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("agg")

import charted
from comparing import run, two
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.patches import StepPatch
from runfiles import S, T, talk, write

from evalkit.analysis.measures import opened
from evalkit.charts import catalogue
from evalkit.comparing.comparison import compare
from evalkit.errors import RunFileError
from evalkit.run import Run
from evalkit.stats.survival import curve


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.evalkit"


def title(ax: Axes) -> str:
    return ax.get_title(loc="left").replace("\n", " ")


def notes(ax: Axes) -> str:
    return " ".join([ax.get_xlabel(), *(text.get_text() for text in ax.texts)]).replace("\n", " ")


# --- accuracy


def test_a_tag_differs_only_if_its_interval_widened_for_all_tags_excludes_the_overall_accuracy(path: Path) -> None:
    talks = [talk(f"c{n}", targets=(1,), tags=("hard" if n < 20 else "easy",)) for n in range(200)]
    ax = catalogue.chart(
        write(path, [S([T(f"c{n}", 1, score=float(n >= 20)) for n in range(200)])], talks), "tags"
    ).draw()
    assert title(ax) == "Compared with the overall 90 %: hard below it, easy above it"


def model_run(path: Path, right: int, *, data: str = "d", questions: int = 40, latency_ms: float = 400) -> Path:
    """A run of 40 conversations, of which the last so many are right."""
    made = [
        T(f"c{n}", 1, latency_ms=latency_ms + n, score=float(n >= questions - right), text=str(n))
        for n in range(questions)
    ]
    return run(path, made, endpoint={"model": path.stem}, dataset={"hash": data})


@pytest.mark.parametrize(
    ("rights", "said"),
    [
        ((12, 16), "No difference in accuracy shown"),
        ((12, 38), "b is more accurate than a"),
        ((38, 12), "a is more accurate than b"),
        ((12, 14, 12), "Compared with a, no difference in accuracy is shown"),
        ((12, 38, 12), "Compared with a, b is more accurate"),
        ((20, 39, 1, 38), "Compared with a, b and d are more accurate, c is less accurate"),
    ],
)
def test_a_model_is_more_accurate_only_where_the_comparison_shows_it(
    tmp_path: Path, rights: tuple[int, ...], said: str
) -> None:
    names = "abcd"[: len(rights)]
    runs = [
        model_run(tmp_path / f"{name}.evalkit", right, latency_ms=400 + 500 * (name == "b"))
        for name, right in zip(names, rights, strict=True)
    ]
    ax = catalogue.models_chart(runs).draw()
    assert title(ax) == f"{said}; median latency 420 ms to 920 ms"
    middles = [tuple(container.lines[0].get_xydata()[0]) for container in ax.containers]
    assert middles[:4:2] == [(419.5, rights[0] / 40), (919.5, rights[1] / 40)]
    shown = any("is better" in contrast.all.words for contrast in compare(*runs).contrasts)
    assert shown == ("difference" not in said)


def test_models_that_cannot_be_compared_are_described(tmp_path: Path) -> None:
    a = model_run(tmp_path / "a.evalkit", 2)
    other = model_run(tmp_path / "b.evalkit", 38, data="another")
    described = "Accuracy 5 % to 95 %; median latency 420 ms to 420 ms"
    ax = catalogue.models_chart([a, other]).draw()
    assert title(ax) == described
    assert "differences are not tested; use evalkit compare" in notes(ax)
    assert catalogue.models_chart([a]).draw().get_legend().get_texts()[0].get_text().startswith("a (n = ")
    same = title(catalogue.models_chart([a, a]).draw())  # one file twice
    assert same.startswith("Accuracy 5 % to 5 %")


def test_a_run_without_scores_is_named_in_a_note_and_not_drawn(tmp_path: Path) -> None:
    scored = run(tmp_path / "a.evalkit", [T("a", 1, score=1.0)], endpoint={"model": "scored"})
    other = run(tmp_path / "b.evalkit", [T("a", 1)], endpoint={"model": "other"})
    ax = catalogue.models_chart([scored, other]).draw()
    assert "not drawn, no scored answer or no median latency: other" in notes(ax)
    assert title(ax) == "scored: accuracy 100 %, median latency 400 ms"


# --- times


def test_the_distribution_is_that_of_kaplan_and_meier_and_ends_at_the_last_time_out(path: Path) -> None:
    turns = [T(f"c{n}", 2, latency_ms=100.0 + 10 * n) for n in range(12)]
    turns += [T(f"t{n}", 2, error="timeout", ttft_ms=None, end_ms=180.0) for n in range(8)]
    ax = catalogue.chart(write(path, [S(turns)]), "latency-distribution").draw()
    expected = curve(np.array([100.0 + 10 * n for n in range(12)]), np.full(8, 180.0))
    line = next(line for line in ax.lines if line.get_label() == "turns from 2 on (n = 20)")
    np.testing.assert_allclose(line.get_ydata()[:-1], expected.share)
    np.testing.assert_allclose(line.get_xdata()[:-1], expected.at)
    assert "8 time-outs counted as lower bounds (Kaplan–Meier)" in notes(ax)


def test_turn_1_is_slower_only_if_its_median_differs_clearly(path: Path) -> None:
    rng = np.random.default_rng(0)
    turns = [
        T(f"c{n}", turn, latency_ms=float(500 * (turn == 1) + rng.gamma(9, 30))) for n in range(30) for turn in (1, 2)
    ]
    ax = catalogue.chart(write(path, [S(turns)]), "latency-distribution").draw()
    assert title(ax).startswith("Turn 1 is slower: median latency ")
    assert [line.get_label().split(" (")[0] for line in ax.lines if "turn" in str(line.get_label())] == [
        "turn 1, cold", "turns from 2 on",
    ]  # fmt: skip


def test_gaps_say_how_many_answers_they_are_of_and_when_reads_were_coarse(path: Path) -> None:
    trust = {"loop_lag_p99_ms": 1.0, "reads": 100, "reads_with_several_events": 30}
    turns = [T(f"c{n}", 1, between_ms=(60.0, 80.0), latency_ms=100.0) for n in range(10)]
    ax = catalogue.chart(write(path, [S(turns, trust=trust)]), "gaps").draw()
    assert title(ax) == "Median gap between reads of a stream: 20 ms, p95 20 ms"
    assert "30 inter-chunk gaps in 10 streamed answers" in notes(ax)
    assert "30 % of reads held several events" in notes(ax)


def test_growth_with_context_is_claimed_only_if_its_interval_excludes_0(path: Path, tmp_path: Path) -> None:
    talks = [talk(f"c{n}") for n in range(12)]
    rng = np.random.default_rng(8)

    def turns(slope: float) -> list[T]:
        return [
            T(f"c{n}", turn, ttft_ms=80 + slope * turn + rng.normal(0, 4), latency_ms=rng.uniform(300, 900), tokens=9,
              prompt_tokens=100 * turn)
            for n in range(12) for turn in (1, 2, 3)
        ]  # fmt: skip

    steep = title(catalogue.chart(write(path, [S(turns(40.0))], talks), "context-growth").draw())
    assert re.match(r"Time to first token: (3[5-9]|4\d) ms more", steep)
    assert "ms more per 100 prompt tokens Latency: no clear change" in steep
    flat = title(catalogue.chart(write(tmp_path / "flat.evalkit", [S(turns(0.0))], talks), "context-growth").draw())
    assert flat.startswith("Time to first token: no clear change as the context of a conversation grows")


def test_prompts_without_enough_turns_have_points_and_no_medians(path: Path) -> None:
    ax = catalogue.chart(
        write(path, [S([T("a", 1, tokens=3), T("a", 2, tokens=3), T("b", 1)])]), "prompt-length"
    ).draw()
    assert "no medians: they need 40 turns from turn 2 on" in notes(ax)
    assert "answered turns without prompt tokens: 1" in notes(ax)
    assert sum(len(points.get_offsets()) for points in ax.findobj(PathCollection)) == 4


# --- along time


def test_bars_over_time_add_up_to_the_turns_and_gaps_are_marked(path: Path) -> None:
    first = [T(f"a{n}", 1, sent_ms=1_000.0 * n, error="server" if n == 3 else None) for n in range(9)]
    ax = catalogue.chart(
        write(path, [S(first, 0, 10_000), S([T("b", 1, sent_ms=90_000)], 90_000, 92_000)]), "timeline"
    ).draw()
    bars = [patch for patch in ax.patches if isinstance(patch, StepPatch)]
    areas = [
        float(((part.values - part.baseline) * np.diff(part.edges)).sum()) for part in map(StepPatch.get_data, bars)
    ]
    np.testing.assert_allclose(areas, [8, 1, 1, 0])
    assert title(ax) == "10 turns in 12 s, 0.75 answered per second on average; 1 failed (server 1)"
    assert "resumed after" in notes(ax)
    assert "2 sessions, the time between them left out" in notes(ax)


def test_an_answer_shows_every_read_and_its_longest_gap(path: Path) -> None:
    write(path, [S([T("a", 1, ttft_ms=40.0, between_ms=(50.0, 90.0), latency_ms=95.0, tokens=4)])])
    ax = catalogue.answer_chart(path, "a").draw()
    dots = next(line for line in ax.lines if line.get_marker() == "o")
    assert dots.get_xydata().tolist() == [[40, 1], [50, 2], [90, 3], [95, 4]]
    assert title(ax) == "First token after 40 ms, then 3 reads in 55 ms; longest gap 40 ms"
    for stamp in (
        "sent",
        "first token 40 ms",
        "end 95 ms",
        "longest gap 40 ms",
        "the endpoint reported 4 output tokens",
    ):
        assert stamp in notes(ax)
    assert title(Run(path).plot_answer("a")) == title(ax)
    assert Run(path).arrivals()["at_ms"].tolist() == [40, 50, 90, 95]
    with pytest.raises(RunFileError, match="no attempt of turn 2"):
        catalogue.answer_chart(path, "a", 2).draw()


@pytest.mark.parametrize("reads", [1, 2, 5, 16, 40])
def test_the_events_of_an_answer_are_counted_in_whole_numbers(path: Path, reads: int) -> None:
    between = tuple(50.0 + at for at in range(reads - 1))
    write(path, [S([T("a", 1, ttft_ms=40.0, between_ms=between, latency_ms=100.0, tokens=reads)])])
    ax = catalogue.answer_chart(path, "a").draw()
    shown = [tick for tick in ax.get_yticks() if 0 <= tick <= reads]
    assert len(shown) >= 2
    assert all(tick == int(tick) for tick in shown)


def test_an_answer_that_failed_midway_says_so(path: Path) -> None:
    write(path, [S([T("a", 1, ttft_ms=40.0, error="truncated", end_ms=300.0)])])
    assert (
        title(catalogue.answer_chart(path, "a").draw()) == "First token after 40 ms; then the answer failed (truncated)"
    )
    assert "the endpoint reported no tokens" in notes(pyplot.gca())


# --- load


def test_a_load_test_has_four_charts_with_its_knee() -> None:
    drawn = [chart.draw() for chart in catalogue.sweep_charts(charted.sweep()).values()]
    assert [title(ax) for ax in drawn] == [
        "Highest throughput: 19.5 turns per second at concurrency 16",
        "Median time to first token rises from 50 ms at concurrency 1 to 300 ms at 16",
        "Best goodput: 15.2 turns per second at concurrency 8",
        "Accuracy: 80 % at concurrency 1 and 72 % at concurrency 16, no fall is shown",
    ]
    for ax in drawn:
        assert any(line.get_xdata()[0] == 8 and line.get_linestyle() == "--" for line in ax.lines)
        assert "knee" in notes(ax)
    assert "client-bound at concurrency 16" in notes(drawn[0])
    assert [len(ax.patches) for ax in drawn] == [1, 1, 1, 0]  # an accuracy is not the client's


def test_a_step_without_a_rate_is_named_and_not_drawn_as_0() -> None:
    load = charted.sweep()
    load.measured = (charted.step(1, 4.0, 50, 0.9), charted.step(2, None, 60, 0.9))
    load.knee = None
    charts = catalogue.sweep_charts(load)
    ax = charts["load-throughput"].draw()
    assert ax.lines[0].get_ydata()[0] == 4
    assert np.isnan(ax.lines[0].get_ydata()[1])
    assert "no rate at concurrency 2: the full load was not reached" in notes(ax)
    assert charts["load-throughput"].alt.endswith("concurrency 1 4 turns/s, concurrency 2 missing; knee: none found.")


def test_goodput_needs_objectives_and_says_so() -> None:
    ax = catalogue.sweep_charts(charted.sweep(slo=None))["load-goodput"].draw()
    assert [text.get_text() for text in ax.texts] == ["There is no goodput: the load test had no objectives (--slo)"]
    empty = SimpleNamespace(**{**vars(charted.sweep()), "measured": (), "knee": None})
    assert {chart.missing for chart in catalogue.sweep_charts(empty).values()} == {"No step of this load test was run"}


# --- pairs


def test_differences_are_those_of_the_comparison(tmp_path: Path) -> None:
    files = two(tmp_path, [1.0, 0.0, 0.0, 1.0] * 10, [1.0, 1.0, 0.0, 1.0] * 10, turns=2)
    (contrast,) = compare(*files).contrasts
    ax = contrast.charts()["differences"].draw()
    effects = [contrast.all, *contrast.by_turn]
    drawn = [container.lines[0].get_xdata()[0] for container in ax.containers]
    assert drawn == [effect.difference.value for effect in effects]
    limits = [container.lines[2][0].get_segments()[0][:, 0].tolist() for container in ax.containers]
    np.testing.assert_allclose(
        limits, [[effect.difference.low, effect.difference.high] for effect in effects], atol=1e-9
    )
    assert title(ax).lower() == contrast.all.words.removesuffix(".").lower()


def test_flips_count_the_turns_that_only_one_run_has_right(tmp_path: Path) -> None:
    (contrast,) = compare(*two(tmp_path, [1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 0.0])).contrasts
    charts = contrast.charts()
    ax = charts["flips"].draw()
    assert title(ax) == "2 turns right only in B, 1 only in A"
    assert [bar.get_width() for bar in ax.patches] == [-1, -1, 2, 2]
    assert list(charts) == ["differences", "flips"]
    assert charts["flips"].alt == (
        "2 turns right only in B, 1 only in A. Right only in A and only in B: all turns 1 and 2; turn 1 1 and 2."
    )


# --- all of them


def test_all_charts_of_a_run_have_names_alt_texts_and_each_draws(path: Path) -> None:
    charted.run(path, conversations=12)
    charts = Run(path).charts()
    assert len(charts) == 11
    assert set(charts) - set(catalogue.charts(path, without=catalogue.NOT_IN_REPORT)) == {"answer-length"}
    for name, chart in charts.items():
        ax = pyplot.figure().subplots()
        assert chart.draw(ax) is ax
        assert chart.alt.startswith(title(ax).split(" ")[0]), name
        assert chart.alt.endswith(".")
    pyplot.close("all")


def test_a_method_of_a_run_draws_one_of_its_charts(path: Path) -> None:
    run = Run(charted.run(path, conversations=8))
    charts = run.charts()
    for method, name in (
        ("latency", "latency"), ("accuracy", "accuracy"), ("ecdf", "latency-distribution"),
        ("context", "context-growth"),
        ("ttft", "first-token-distribution"), ("timeline", "timeline"), ("answer", "answer"),
        ("answer_length", "answer-length"),
    ):  # fmt: skip
        ax = pyplot.figure().subplots()
        assert getattr(run, f"plot_{method}")(ax=ax) is ax
        assert charts[name].missing or title(ax) == charts[name].finding.replace("\n", " "), name
    pyplot.close("all")


def test_charts_of_a_part_of_a_run_are_those_of_its_summary(path: Path) -> None:
    run = Run(charted.run(path, conversations=8))
    assert run.charts(conversations=3)["timeline"].finding.startswith("9 turns in")
    with opened(path) as connection:
        assert catalogue.chart(connection, "timeline").finding == run.charts()["timeline"].finding
