"""The table of a summary shows rounded numbers and has exact ones."""

import pickle

import pandas as pd
import pytest
from runfiles import S, T, write

from evalkit.analysis import tables
from evalkit.analysis.summary_frame import SummaryFrame


@pytest.fixture
def summary(tmp_path):
    turns = [T(f"c{n}", 1, score=float(n % 3 > 0), ttft_ms=10 + n / 7, latency_ms=100 + n / 7) for n in range(20)]
    return tables.summary(write(tmp_path / "r.evalkit", [S(turns)]))


def test_shown_numbers_are_rounded_and_the_numbers_are_exact(summary):
    accuracy, latency = summary.loc["all", "accuracy"], summary.loc["all", "latency_p50_ms"]
    assert (accuracy, latency) == (0.65, pytest.approx(100 + 9.5 / 7, abs=1e-6))
    for text in (repr(summary[["accuracy", "low", "latency_p50_ms"]]), summary._repr_html_()):
        assert "101.4" in text
        assert "101.35" not in text
        assert f"{summary.loc['all', 'low']:.3f}" in text
        assert f"{summary.loc['all', 'low']:.4f}" not in text


def test_what_is_taken_from_it_is_shown_alike(summary):
    for part in (summary.loc[["all"]], summary[["low"]], summary.drop(columns="high"), summary.head(1), summary.T.T):
        assert isinstance(part, SummaryFrame)
        assert f"{summary.loc['all', 'low']:.4f}" not in repr(part)
    assert "nan" in repr(SummaryFrame({"accuracy": [float("nan")], 5: ["x"]})).lower()


def test_it_is_a_dataframe_for_everything_else(summary):
    pd.testing.assert_frame_equal(summary, pd.DataFrame(summary))
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(summary)), summary)
    assert summary["low"].mean() == pd.DataFrame(summary)["low"].mean()
    assert pd.concat([summary, summary]).shape == (2 * len(summary), len(summary.columns))
    assert str(float(summary.loc["all", "low"])) in summary.to_csv()
