"""Parts of a run: its first conversations, one turn index, groups of turns."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from runfiles import S, T, talk, write

from evalkit.analysis import measures, tables
from evalkit.errors import SettingsError
from evalkit.run import Run
from evalkit.stats import proportions


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "r.evalkit"


def turns(conversations: int = 12) -> list[T]:
    rng = np.random.default_rng(1)
    return [
        T(
            f"c{n}",
            turn,
            score=float(rng.random() < 0.6),
            latency_ms=100.0 + 10 * n + turn,
            tokens=n,
            attempts=1 + n % 2,
        )
        for n in range(conversations)
        for turn in (1, 2, 3)
    ]


def test_a_part_is_measured_as_a_run_of_that_part(path: Path, tmp_path: Path) -> None:
    write(path, [S(turns())])
    part = tables.summary(write(tmp_path / "part.evalkit", [S(turns()[:15])]))
    pd.testing.assert_frame_equal(Run(path).summary(conversations=5), part)
    pd.testing.assert_frame_equal(Run(path).summary(conversations=12), Run(path).summary())
    pd.testing.assert_frame_equal(Run(path).summary(conversations=99), Run(path).summary())


def test_a_turn_index_is_measured_alone(path: Path) -> None:
    run = Run(write(path, [S(turns())]))
    one = run.summary(turn=2)
    assert one.index.tolist() == [2, "all"]
    assert one.loc["all", "accuracy"] == one.loc[2, "accuracy"] == run.summary().loc[2, "accuracy"]
    assert run.summary(conversations=4, turn=2).loc["all", "retries"] == 2
    assert len(run.turns()) == 36, "the file is as it was"


def test_a_part_without_turns_is_an_empty_run(path: Path) -> None:
    run = Run(write(path, [S(turns())]))
    assert run.summary(turn=9).index.tolist() == ["all"]
    assert "no finished turn" in run.plot_accuracy(turn=9).texts[0].get_text()


@pytest.mark.parametrize("part", [{"conversations": 0}, {"turn": -1}])
def test_a_part_below_1_is_refused(path: Path, part: dict[str, int]) -> None:
    run = Run(write(path, [S(turns())]))
    with pytest.raises(SettingsError, match="must be 1 or more"):
        run.summary(**part)


def test_charts_draw_the_part(path: Path) -> None:
    run = Run(write(path, [S(turns())]))
    for plot in (run.plot_accuracy, run.plot_latency):
        assert [label.get_text().split("\n")[1] for label in plot(conversations=5).get_xticklabels()] == ["n = 5"] * 3
    for plot in (run.plot_ecdf, run.plot_ttft):
        assert [text.get_text() for text in plot(turn=2).get_legend().get_texts()] == ["turns from 2 on (n = 12)"]
    with measures.part(path) as whole:
        assert measures.measure(whole).all.turns == 36


# --- groups of turns


def test_accuracy_by_a_column_is_that_of_its_turns_with_conversations_as_clusters(path: Path) -> None:
    run = Run(write(path, [S(turns())]))
    frame = run.turns()
    table = run.accuracy_by("turn")
    assert table.index.tolist() == [1, 2, 3]
    pd.testing.assert_frame_equal(
        table.reset_index(drop=True), run.summary().iloc[:3][table.columns].reset_index(drop=True), check_dtype=False
    )
    both = run.accuracy_by(frame["output_tokens"] > 5).loc[True]
    own = frame[frame["output_tokens"] > 5]
    expected = proportions.proportion(own["score"], own["conversation"])
    assert both[["accuracy", "low", "high"]].tolist() == [expected.value, expected.low, expected.high]
    assert (both["turns"], both["n"]) == (18, 18)


def test_groups_of_conversations_are_the_clusters(path: Path) -> None:
    talks = [talk(f"c{n}", group=f"g{n // 3}") for n in range(12)]
    run = Run(write(path, [S(turns())], talks))
    table = run.accuracy_by(["all"] * 36)
    assert table.loc["all", ["low", "high"]].tolist() == run.summary().loc["all", ["low", "high"]].tolist()


def test_bins_keep_their_order_and_missing_labels_are_left_out(path: Path) -> None:
    run = Run(write(path, [S([*turns(), T("x", 1, error="server"), T("y", 1)])]))
    bins = pd.cut(run.turns()["output_tokens"].astype(float), [-1, 5, 11, 20], labels=["short", "long", "longest"])
    table = run.accuracy_by(bins)
    assert table.index.tolist() == ["short", "long"]
    assert table.index.name == "output_tokens"
    by_status = run.accuracy_by("status")
    assert by_status.loc["error", ["turns", "answered", "n"]].tolist() == [1, 0, 0]
    assert np.isnan(by_status.loc["error", "accuracy"]), "a failed turn is no wrong answer"
    assert by_status.loc["answered", ["turns", "n"]].tolist() == [37, 36]


def test_labels_that_do_not_fit_are_refused(path: Path) -> None:
    run = Run(write(path, [S(turns())]))
    with pytest.raises(SettingsError, match="there is no column 'length'"):
        run.accuracy_by("length")
    with pytest.raises(SettingsError, match="2 labels were given for 36 turns"):
        run.accuracy_by(["a", "b"])
    assert run.accuracy_by([None] * 36).empty


def test_labels_find_their_turns_by_their_index(path: Path) -> None:
    run = Run(write(path, [S(turns())]))
    frame = run.turns()
    shuffled = frame.sample(frac=1, random_state=1)["turn"]
    assert not shuffled.index.equals(frame.index)
    pd.testing.assert_frame_equal(run.accuracy_by(shuffled), run.accuracy_by("turn"))
    with pytest.raises(SettingsError, match="another index"):
        run.accuracy_by(frame["turn"].set_axis(range(1, len(frame) + 1)))


def test_labels_keep_the_order_of_their_categories(path: Path) -> None:
    run = Run(write(path, [S(turns())]))
    bins = pd.cut(run.turns()["turn"].to_numpy(), [0, 1, 99], labels=["z, first", "a, later"])
    assert list(run.accuracy_by(bins).index) == ["z, first", "a, later"]


def test_labels_that_are_none_are_refused(path: Path) -> None:
    run = Run(write(path, [S(turns())]))
    with pytest.raises(SettingsError, match="give each turn one label"):
        run.accuracy_by([["a"]] * len(run.turns()))
    with pytest.raises(SettingsError, match="give one of its columns"):
        run.accuracy_by(run.turns())
