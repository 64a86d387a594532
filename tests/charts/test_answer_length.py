"""The chart of latency against answer length."""

from pathlib import Path

import charted
import matplotlib as mpl
import numpy as np
from runfiles import S, T, write

mpl.use("agg")

from evalkit.charts import catalogue
from evalkit.run import Run


def test_each_kind_of_answer_is_drawn_where_it_is_counted(tmp_path: Path) -> None:
    path = charted.answers(tmp_path / "r.evalkit")
    chart = catalogue.chart(path, "answer-length")
    ax = chart.draw()
    drawn = {points.get_label(): len(points.get_offsets()) for points in ax.collections}
    lengths = chart.lengths
    assert drawn == dict(zip(("right", "wrong", "cut off"), lengths.counts, strict=False))
    assert sum(drawn.values()) == 60
    assert drawn["cut off"] > 5
    assert ax.get_title(loc="left") == f"Latency: {lengths.growth.value:.0f} ms more per output token"
    assert 13 < lengths.growth.value < 17
    assert f"cut off 40 (n = {drawn['cut off']})" in ax.xaxis.get_figure().axes[0].texts[0].get_text().replace(
        "\n", " "
    )


def test_a_cut_off_answer_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    turns = [T(f"c{n}", 1, score=n % 2, tokens=9, finish_reason="length") for n in range(4)]
    lengths = catalogue.chart(write(tmp_path / "r.evalkit", [S(turns)]), "answer-length").lengths
    assert lengths.counts == (0, 0, 4, 0)
    assert np.isnan(lengths.median_tokens[0])


def test_an_answer_without_a_score_is_drawn_as_unscored(tmp_path: Path) -> None:
    turns = [T("a", 1, score=1, tokens=5), T("b", 1, tokens=6), T("c", 1, score=0, tokens=7)]
    ax = catalogue.chart(write(tmp_path / "r.evalkit", [S(turns)]), "answer-length").draw()
    assert {points.get_label(): len(points.get_offsets()) for points in ax.collections} == {
        "right": 1,
        "wrong": 1,
        "unscored": 1,
    }


def test_without_usage_it_says_why_nothing_is_drawn(tmp_path: Path) -> None:
    chart = Run(write(tmp_path / "r.evalkit", [S([T("a", 1, score=1)])])).charts()["answer-length"]
    assert chart.missing == "No answer length is known: the endpoint reported no output tokens (usage)"
    path = write(tmp_path / "s.evalkit", [S([T("a", 1, score=1, tokens=5), T("a", 2)])])
    one = catalogue.chart(path, "answer-length")
    assert one.finding == "No clear change of latency with answer length"
    assert "answered turns without output tokens: 1" in "\n".join(one._notes)
    failed = catalogue.chart(write(tmp_path / "t.evalkit", [S([T("a", 1, error="server")])]), "answer-length")
    assert failed.missing == "No turn was answered: 1 failed (server 1)"
