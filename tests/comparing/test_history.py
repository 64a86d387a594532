"""The runs of one dataset over time: steps as the comparison measures them, corrected for their number."""

import numpy as np
import pytest
from comparing import answers, run, said
from runfiles import S, T, write

import evalkit as ek
from evalkit.comparing.comparison import compare
from evalkit.errors import SettingsError
from evalkit.stats.multiple_tests import holm

SUMS = {"path": "data/sums.jsonl"}


def runs(folder, rates, latencies=None, *, count=120, **about):
    """A run for each share of right answers, each wrong where its random number is above the share."""
    draws = np.random.default_rng(3).random(count)
    noise = np.random.default_rng(4)
    for number, rate in enumerate(rates):
        ms = 400.0 if latencies is None else latencies[number]
        turns = [
            T(f"c{n:03}", 1, score=float(draw < rate), latency_ms=ms * float(noise.uniform(0.9, 1.1)))
            for n, draw in enumerate(draws)
        ]
        run(folder / f"r{number}.evalkit", turns, dataset=SUMS, endpoint={"model": f"m{number}"}, **about)
    return folder


def test_steps_are_those_of_compare_corrected_by_holm(tmp_path):
    found = ek.history(runs(tmp_path, [0.5, 0.6, 0.6, 0.9]))
    assert [each.path.stem for each in found.runs] == ["r0", "r1", "r2", "r3"]
    alone = [compare(found.runs[n].path, found.runs[n + 1].path).contrasts[0] for n in range(3)]
    for step, contrast in zip(found.steps, alone, strict=True):
        assert step.accuracy.difference == contrast.all.difference
        assert step.accuracy.p == contrast.all.p
        assert step.latency.difference == contrast.times[0].quantiles["latency"]["p50"].difference
        assert step.differs == contrast.differs
    assert [step.accuracy.corrected_p for step in found.steps] == holm([contrast.all.p for contrast in alone])
    assert [step.accuracy_is_real for step in found.steps] == [True, False, True]
    assert found.steps[0].accuracy.words.startswith("r1 is better by 11.7 points")
    assert repr(found) == "History('sums.jsonl', 4 runs; real steps: 2 in accuracy, 0 in latency)"


def test_a_step_that_would_be_real_alone_is_not_among_many(tmp_path):
    base = [0.0] * 60 + [1.0] * 60
    better = [1.0] * 14 + [0.0] * 46 + [0.0] * 4 + [1.0] * 56  # 14 more are right and 4 are not any longer
    noise = [1.0 - score if n // 8 in (3, 10) else score for n, score in enumerate(better)]  # 8 more and 8 fewer
    for number, scores in enumerate([base, better, *[noise, better] * 4]):
        run(tmp_path / f"r{number}.evalkit", answers(scores), dataset=SUMS)
    many = ek.history(tmp_path)
    for path in tmp_path.glob("r[2-9].evalkit"):
        path.unlink()
    alone = ek.history(tmp_path)
    p = alone.steps[0].accuracy.p
    assert 0.01 < p < 0.05
    assert alone.steps[0].accuracy_is_real
    assert many.steps[0].accuracy.p == p
    assert not many.steps[0].accuracy_is_real
    assert "may be chance among 9 comparisons" in many.steps[0].accuracy.words


def test_a_real_step_in_latency_is_found_and_noise_is_not(tmp_path):
    found = ek.history(runs(tmp_path, [0.5] * 4, [400, 400, 520, 520]))
    assert [step.latency_is_real for step in found.steps] == [False, True, False]
    step = found.steps[1].latency.difference
    assert step.low < 120 < step.high
    assert [step.accuracy_is_real for step in found.steps] == [False] * 3


def test_runs_of_the_dataset_are_found_by_its_name_wherever_it_lay(tmp_path):
    runs(tmp_path, [0.5, 0.9])
    run(tmp_path / "elsewhere.evalkit", answers([1.0] * 20), dataset={"path": "/ci/checkout/data/sums.jsonl"})
    run(tmp_path / "other.evalkit", answers([1.0] * 20), dataset={"path": "other.jsonl"})
    found = ek.history("somewhere/sums.jsonl", tmp_path)
    assert [each.path.stem for each in found.runs] == ["r0", "r1", "elsewhere"]
    with pytest.raises(
        SettingsError, match=r"runs of 2 datasets: there are sums.jsonl \(3 runs\), other.jsonl \(1 run\)"
    ):
        ek.history(tmp_path)
    with pytest.raises(SettingsError, match=r"no run in .* is of the dataset none.jsonl: there are sums"):
        ek.history("none.jsonl", tmp_path)


def test_runs_that_share_nothing_have_a_reason_and_no_step(tmp_path):
    runs(tmp_path, [0.5, 0.9])
    run(tmp_path / "r2.evalkit", [T(f"x{n}", 1, score=1.0) for n in range(5)], dataset=SUMS)
    run(tmp_path / "r3.evalkit", [T(f"x{n}", 1, score=1.0) for n in range(5)], dataset=SUMS)
    found = ek.history(tmp_path)
    assert "no conversation in common" in found.steps[1].reason
    assert found.steps[1].accuracy is None
    assert found.steps[1].to_json()["accuracy"] is None
    assert found.steps[2].reason is None
    assert found.steps[2].accuracy.corrected_p is None
    assert not found.steps[2].accuracy_is_real


def test_the_table_has_a_row_for_each_run_and_missing_stays_missing(tmp_path):
    frame = ek.history(runs(tmp_path, [0.5, 0.9], [400, 600])).table()
    assert list(frame["step_is_real"]) == [False, True]
    assert list(frame["latency_step_is_real"]) == [False, True]
    assert np.isnan(frame["step"][0])
    assert frame["step"][1] == pytest.approx(frame["accuracy"][1] - frame["accuracy"][0])
    assert frame["latency_step_ms"].dtype == float
    assert frame["pairs"][1] == 120


def test_one_run_has_no_step_and_a_file_that_cannot_be_read_is_named(tmp_path):
    said(write(tmp_path / "r.evalkit", [S([T("a", 1, score=1.0)])]), dataset=SUMS)
    (tmp_path / "bad.evalkit").write_text("no run")
    found = ek.history(tmp_path)
    assert (len(found.runs), found.steps) == (1, ())
    assert [file.path.stem for file in found.unreadable] == ["bad"]
    assert len(found.table()) == 1
    found.to_json()


def test_a_folder_without_a_readable_run_says_so(tmp_path):
    with pytest.raises(SettingsError, match=r"no run file in .* can be read"):
        ek.history(tmp_path)
