"""Accuracy by tag beside what ``stats.proportion`` makes of the same turns."""

import numpy as np
import pytest
from runfiles import S, T, talk, write

from evalkit.analysis.measures import measure
from evalkit.analysis.summary_json import summary_json
from evalkit.stats import proportions

TAGS = [(), ("a",), ("a", "b"), ("b", "a", "b"), ("c",)]


@pytest.mark.parametrize("grouped", [False, True])
def test_each_tag_has_the_accuracy_of_its_turns(tmp_path, grouped):
    rng = np.random.default_rng(3)
    talks, turns, rows = [], [], []
    for number in range(60):
        tags, group = TAGS[number % 5], f"g{number % 7}" if grouped and number % 3 else None
        talks.append(talk(f"c{number}", tags=tags, group=group))
        for turn in (1, 2, 3):
            error = "server" if rng.random() < 0.1 else None
            score = float(rng.choice([0, 0.5, 1])) if error is None and rng.random() < 0.9 else None
            turns.append(T(f"c{number}", turn, score=score, error=error))
            rows.append((group or f"c{number}", set(tags), error, score))
    run = measure(write(tmp_path / "r.evalkit", [S(turns)], talks))
    assert [row.tag for row in run.by_tag] == ["a", "b", "c"]
    assert [row.turns for row in run.by_tag] == [108, 72, 36]
    for row in run.by_tag:
        own = [each for each in rows if row.tag in each[1]]
        scored = [each for each in own if each[3] is not None]
        expected = proportions.proportion([each[3] for each in scored], np.array([each[0] for each in scored]))
        assert row.answered == sum(each[2] is None for each in own)
        assert row.wrong == sum(each[3] < 1 for each in scored)
        assert row.mean.n == len(scored)
        wider = proportions.proportion(
            [each[3] for each in scored], np.array([each[0] for each in scored]), confidence=1 - 0.05 / 3
        )
        assert row.among_all.low == pytest.approx(wider.low, abs=1e-12)
        for limit in ("value", "low", "high"):
            assert getattr(row.mean, limit) == pytest.approx(getattr(expected, limit), abs=1e-12)
    result = summary_json(run)
    assert (result["by_tag"][0]["tag"], result["tags_left_out"]) == ("a", 0)
    assert set(result["by_tag"][0]) == {"tag", "turns", "answered", *result["accuracy"]}
    assert result["by_tag"][0]["unscored"] == run.by_tag[0].answered - run.by_tag[0].mean.n


def test_of_many_tags_the_most_frequent_are_listed_and_the_others_counted(tmp_path):
    talks = [talk(f"c{n}", (35,), tags=("every", f"t{n:03}")) for n in range(200)]
    turns = [T(f"c{n}", 1, score=1.0) for n in range(199)]  # one conversation is not asked yet
    run = measure(write(tmp_path / "r.evalkit", [S(turns)], talks))
    assert (len(run.by_tag), run.tags_left_out) == (50, 150)
    assert [row.tag for row in run.by_tag[:2]] == ["every", "t000"]


def test_a_tag_whose_turns_all_failed_has_no_accuracy(tmp_path):
    run = measure(write(tmp_path / "r.evalkit", [S([T("a", 1, error="server")])], [talk("a", tags=("x",))]))
    (row,) = run.by_tag
    assert (row.turns, row.answered, row.mean.value, row.mean.n, row.wrong) == (1, 0, None, 0, 0)


def test_a_run_without_tags_or_turns_has_none(tmp_path):
    for name, turns in (("a", [T("a", 1)]), ("b", [])):
        run = measure(write(tmp_path / f"{name}.evalkit", [S(turns)], [talk("a")]))
        assert (run.by_tag, run.tags_left_out) == ((), 0)
