"""The charts of a history: what they claim is what is real, and every name can be drawn."""

import numpy as np
import pytest
from comparing import run
from matplotlib import pyplot
from runfiles import T

import evalkit as ek
from evalkit.charts.history import AccuracyHistory, LatencyHistory, RunHistory

DRAWS = np.random.default_rng(3).random(60)


def history(folder, rates, latencies=None, names=None):
    noise = np.random.default_rng(4)
    for number, rate in enumerate(rates):
        ms = 400.0 if latencies is None else latencies[number]
        turns = [
            T(
                f"c{n:03}",
                1,
                score=None if rate is None else float(draw < rate),
                latency_ms=ms * float(noise.uniform(0.9, 1.1)),
            )
            for n, draw in enumerate(DRAWS)
        ]
        name = names[number] if names else f"r{number}"
        run(folder / f"{name}.evalkit", turns, dataset={"path": "sums.jsonl"})
    return ek.history(folder)


def test_the_titles_name_the_real_steps_and_no_other(tmp_path):
    found = history(tmp_path, [0.3, 0.9, 0.9], [400, 400, 700])
    step = 100 * found.steps[0].accuracy.difference.value
    assert AccuracyHistory(found).finding == f"Accuracy: 1 of 2 steps is real: +{step:.1f} points at r1"
    assert LatencyHistory(found).finding.startswith("Latency: 1 of 2 steps is real: +")
    assert LatencyHistory(found).finding.endswith(" ms at r2")
    alt = RunHistory(found).alt
    for each in (AccuracyHistory(found).finding, LatencyHistory(found).finding, "r0 32 % (95 %", "Median latency: r0 "):
        assert each in alt


def test_without_a_real_step_none_is_claimed(tmp_path):
    found = history(tmp_path, [0.5, 0.52])
    assert AccuracyHistory(found).finding == "Accuracy: no step is shown to be real (1 step)"
    assert LatencyHistory(found).finding == "Latency: no step is shown to be real (1 step)"


def test_one_run_and_runs_without_scores_can_be_drawn(tmp_path):
    (tmp_path / "one").mkdir()
    assert AccuracyHistory(history(tmp_path / "one", [0.5])).finding == "Accuracy of one run"
    (tmp_path / "none").mkdir()
    found = history(tmp_path / "none", [None, None])
    assert AccuracyHistory(found).missing == "No run has a score"
    assert "Not drawn" not in RunHistory(found).alt
    for each in (found, ek.history(tmp_path / "one")):
        RunHistory(each).save(tmp_path / "h.png")
        assert (tmp_path / "h.png").stat().st_size > 5_000


@pytest.mark.filterwarnings("error")
def test_names_of_any_characters_are_drawn_as_they_are(tmp_path):
    found = history(tmp_path, [0.3, 0.9], names=["$x^2$ 🚀 \u202eabc", "中文" * 20])
    chart = RunHistory(found)
    assert "$x^2$" in chart.alt
    chart.save(tmp_path / "h.svg")
    assert "<dc:title>evalkit</dc:title>" in (tmp_path / "h.svg").read_text(encoding="utf-8")


def test_plot_draws_both_on_one_figure_in_the_place_of_an_axes(tmp_path):
    found = history(tmp_path, [0.3, 0.9])
    upper = found.plot()
    assert [axes.get_ylabel() for axes in upper.figure.axes] == ["accuracy (mean score)", "latency p50 (ms)"]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(16, 9))
    found.plot(left)
    assert right in figure.axes
    assert len(figure.axes) == 3
    figure.canvas.draw()


def test_many_runs_have_a_label_for_some(tmp_path):
    found = history(tmp_path, [0.5] * 30)
    axes = found.plot()
    assert len(axes.get_xticks()) == 12
