"""Runs ranked from judged pairs."""

from pathlib import Path

import numpy as np
import pytest

import evalkit as ek
from evalkit.errors import SettingsError
from evalkit.judging.pairwise import Pair, PairwiseJudging
from evalkit.stats.estimate import Estimate

NONE = Estimate(None, None, None, 0)


def judging(run, against, outcomes, model="judge"):
    pairs = tuple(Pair(f"c{n}", 1, 1, outcome, ("A", "B")) for n, outcome in enumerate(outcomes))
    judge = {"model": model, "rubric": "better"}
    return PairwiseJudging(Path(run), Path(against), Path("j.evalkit"), judge, pairs, {}, {}, NONE, NONE)


def drawn(seed, share, count=60):
    return np.where(np.random.default_rng(seed).random(count) < share, "win", "loss").tolist()


def test_three_runs_are_ranked_with_groups():
    ranks = ek.rank_judged(
        judging("x/good.evalkit", "bad.evalkit", drawn(1, 0.9)),
        judging("x/good.evalkit", "worst.evalkit", drawn(2, 0.9)),
        judging("bad.evalkit", "worst.evalkit", [*drawn(3, 0.5, 50), *["inconsistent"] * 6, "undecided", "failed"]),
        resamples=200,
    )
    assert ranks.runs[0].name == "good"
    assert {run.name: run.groups for run in ranks.runs} == {"good": "a", "bad": "b", "worst": "b"}
    assert (ranks.pairs, ranks.left_out, ranks.reason) == (176, 2, None)
    assert ranks.table().columns.tolist() == ["name", "rating", "low", "high", "groups"]
    assert ranks.to_json()["runs"][0]["rating"] == ranks.runs[0].rating


def test_what_cannot_be_rated_has_a_reason_and_no_number():
    ranks = ek.rank_judged(judging("a.evalkit", "b.evalkit", ["win"] * 20))
    assert {run.rating for run in ranks.runs} == {None}
    assert "won or lost all its comparisons" in ranks.reason
    assert ranks.table()["rating"].isna().all()
    empty = ek.rank_judged(judging("a.evalkit", "b.evalkit", ["failed"]))
    assert (empty.runs, empty.left_out, empty.reason) == ((), 1, "nothing to compare")
    assert empty.table().empty


def test_different_judges_and_no_pairs_are_refused():
    one = judging("a.evalkit", "b.evalkit", ["win"])
    with pytest.raises(SettingsError, match="judged with different values of model: judge, other"):
        ek.rank_judged(one, judging("a.evalkit", "b.evalkit", ["win"], "other"))
    with pytest.raises(SettingsError, match="needs judged pairs"):
        ek.rank_judged()
