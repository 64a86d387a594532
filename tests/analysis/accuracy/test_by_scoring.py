"""The scorings of a run side by side: which one counts, how right each finds it, what changed between two."""

import contextlib
import json
import sqlite3
from pathlib import Path

import pandas as pd
import pytest
from rescored import nothing_right
from runfiles import S, T, talk, write

from evalkit import rescoring
from evalkit.analysis import summary_json
from evalkit.analysis.accuracy.by_scoring import ScoreChanges, rescored, scorings
from evalkit.judging.rescore_command import command_of
from evalkit.run import Run
from evalkit.runfile import store


@pytest.fixture
def path(tmp_path):
    return nothing_right(tmp_path / "r.evalkit")


def test_an_older_scoring_counts_again_and_its_changes_are_reported(path):
    rescoring.rescore(path, "number")
    rescoring.rescore(path, "exact")
    assert rescoring.use_scoring(path, 1) == 1
    with contextlib.closing(store.open_to_read(path)) as connection:
        assert [(one.number, one.scorer, one.counts, one.accuracy.mean.value) for one in scorings(connection)] == [
            (0, None, False, 0.0), (1, "number", True, 4 / 6), (2, "exact", False, 2 / 6),
        ]  # fmt: skip
        found = rescored(connection, 2, 1)
    assert (found.old.number, found.new.number) == (2, 1)
    assert found.changed == ScoreChanges(0, 2, 0, 0, 0)


@pytest.mark.parametrize(
    ("scorer", "judge", "command"),
    [
        (None, None, "evalkit score 'a b'"),
        ("number", None, "evalkit score 'a b' --scorer number"),
        (["exact", {"name": "number", "weight": 3}], None, "evalkit score 'a b' --scorer exact --scorer number=3"),
        ({"name": "f1", "least": 0.5}, None, "evalkit.Run('a b').score(scorer=…), in Python"),
        ("x; rm -rf ~", None, "evalkit score 'a b' --scorer 'x; rm -rf ~'"),
        ("judge:better", {"rubric": "helpful", "base_url": None}, "evalkit judge 'a b' --rubric helpful"),
        (
            "judge:mine", {"rubric": "mine", "base_url": "http://h/$(x)", "model": "m"},
            "evalkit judge 'a b' --rubric FILE.toml --base-url 'http://h/$(x)' --model m",
        ),
    ],
)  # fmt: skip
def test_the_command_that_repeats_a_scoring_is_safe_in_a_shell(path, scorer, judge, command):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        row = (json.dumps(scorer), judge and json.dumps(judge))
        connection.execute(
            "INSERT INTO scoring (id, started_wall_ns, scorer, versions, judge) VALUES (1, 0, ?, '{}', ?)", row
        )
        assert command_of(connection, 1, Path("a b")) == command


def test_changes_of_every_kind_are_counted_separately(tmp_path):
    result = [(1.0, 0.4), (1.0, 1.0), (0.3, 1.0), (0.3, 0.5), (0.0, 0.0), (1.0, None), (None, 0.0), (None, None)]
    turns = [T("a", n + 1, score=old, reason="x") for n, (old, _) in enumerate(result)]
    path = write(tmp_path / "r.evalkit", [S(turns)], [talk("a", [1] * 9)])
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO scoring VALUES (1, 1, 2, 'null', '{}', NULL, 0, NULL)")
        connection.executemany(
            "INSERT INTO score (conversation, repeat, turn, scoring, scorer, value) VALUES (0, 1, ?, 1, 'x', ?)",
            [(n + 1, new) for n, (_, new) in enumerate(result)],
        )
        found = rescored(connection, 0, 1)
    assert found.changed == ScoreChanges(
        right_to_wrong=1, wrong_to_right=1, to_unscored=1, from_unscored=1, within_wrong=1
    )
    assert (found.old.accuracy.unscored, found.new.accuracy.unscored) == (2, 2)


def test_a_run_scores_again_and_shows_its_scorings_as_a_table(path):
    run = Run(path)
    done = run.score("number")
    assert (done.old.number, done.new.number, done.changed.wrong_to_right) == (0, 1, 4)
    assert run.summary_json()["accuracy"]["value"] == done.new.accuracy.mean.value == 4 / 6
    assert run.summary_json()["scoring"] == 1
    assert run.turns()["scorer"].unique().tolist() == ["number"]
    frame = run.scorings()
    assert frame.index.tolist() == [0, 1]
    assert frame["counts"].tolist() == [False, True]
    assert frame["accuracy"].tolist() == [0.0, 4 / 6]
    assert frame["versions"].tolist() == [{}, done.new.versions]
    assert pd.isna(frame["begun"][0])
    assert abs(pd.Timestamp.now("UTC") - frame["begun"][1]) < pd.Timedelta(minutes=5)
    assert run.use_scoring(0).changed.right_to_wrong == 4
    assert summary_json.summary_json(path)["accuracy"]["value"] == 0.0


def test_the_object_of_json_of_two_scorings(path):
    done = Run(path).score("number").to_json()
    assert list(done) == ["old", "new", "changed"]
    keys = ["scoring", "scorer", "versions", "begun_ns", "counts", "missing", "accuracy", "targets", "corrected"]
    assert list(done["new"]) == keys
    assert list(done["new"]["accuracy"]) == ["value", "low", "high", "n", "wrong", "unscored"]
    assert done["changed"] == {
        "right_to_wrong": 0, "wrong_to_right": 4, "to_unscored": 0, "from_unscored": 0, "within_wrong": 0,
    }  # fmt: skip
