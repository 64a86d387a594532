"""Scores of whole conversations beside those that a plain loop makes of the table of turns."""

import contextlib
import json
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import evalkit
from comparing import said
from runfiles import S, T, talk, write

from evalkit.analysis import tables
from evalkit.analysis.accuracy import by_conversation
from evalkit.analysis.measures import measure
from evalkit.conversation import Conversation, ScorerSpec, Turn
from evalkit.errors import SettingsError
from evalkit.run import Run
from evalkit.runfile import query_arrays, scorings, store
from evalkit.runfile.store import RunFile
from evalkit.stats import proportions
from evalkit.wording import run_results

TARGETS = {1: (35,), 2: (35, None), 3: (None, 276, 311), 4: (35, 276, None, 311), 5: (None, None)}


@pytest.fixture(scope="module", params=["one length", "grouped"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """160 conversations, twice; some turns fail, have no score, or were not asked yet."""
    rng = np.random.default_rng(7)
    grouped = request.param == "grouped"
    talks, turns = [], []
    for number in range(160):
        targets = TARGETS[int(rng.integers(1, 6)) if grouped else 4]
        group = f"g{rng.integers(30)}" if grouped and rng.random() < 0.5 else None
        talks.append(talk(f"c{number}", targets, group=group))
        for repeat in (1, 2):
            asked = len(targets) if rng.random() < 0.8 else int(rng.integers(1, len(targets) + 1))
            for turn in range(1, asked + 1):
                error = "server" if rng.random() < 0.05 else None
                scored = error is None and targets[turn - 1] is not None and rng.random() < 0.97
                score = float(rng.choice([0, 0.5, 1, 1, 1])) if scored else None
                turns.append(T(f"c{number}", turn, repeat=repeat, error=error, score=score))
    return write(tmp_path_factory.mktemp("runs") / "r.evalkit", [S(turns)], talks)


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_arrays, "ROWS_PER_GROUP", 7)


def by_hand(path: Path) -> list[tuple]:
    """Conversation, cluster, repeat, whether it is complete (None: it has no target), scores of its target turns."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = dict(connection.execute("SELECT id, row FROM conversation"))
        groups = dict(connection.execute("SELECT id, coalesce(cluster, 'alone ' || id) FROM conversation"))
    frame = tables.turns(path)
    found = []
    for (name, repeat), part in frame.groupby(["conversation", "repeat"], sort=False):
        score_of = dict(zip(part["turn"], part["score"], strict=True))
        asked = json.loads(rows[name])["turns"]
        scores = [score_of.get(turn, np.nan) for turn, row in enumerate(asked, start=1) if "target" in row]
        complete = not np.isnan(scores).any() if scores else None
        found.append((name, groups[name], repeat, complete, scores))
    return found


def test_each_of_the_three_is_that_of_a_plain_loop_with_its_clustered_interval(run: Path) -> None:
    got, known = measure(run).conversations, by_hand(run)
    complete = [(cluster, scores) for _, cluster, _, whole, scores in known if whole]
    assert (got.n, got.incomplete) == (len(complete), sum(row[3] is not None and not row[3] for row in known))
    assert min(got.n, got.incomplete) > 20  # else nothing is seen here
    clusters = [cluster for cluster, _ in complete]
    for name, of in {
        "all_right": lambda scores: float(min(scores) == 1),
        "last_right": lambda scores: float(scores[-1] == 1),
        "mean": np.mean,
    }.items():
        expected = proportions.proportion([of(scores) for _, scores in complete], clusters)
        estimate = getattr(got, name)
        assert estimate.n == expected.n
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
            (expected.value, expected.low, expected.high), rel=1e-12
        )


def test_the_table_has_a_row_a_conversation_and_repeat_and_says_what_is_missing(run: Path) -> None:
    frame, known = Run(run).conversations(), by_hand(run)
    assert list(frame.columns) == [
        "conversation", "repeat", "turns", "scored", "complete", "all_right", "last_right", "mean",
    ]  # fmt: skip
    assert list(zip(frame["conversation"], frame["repeat"], strict=True)) == [(row[0], row[2]) for row in known]
    assert frame["turns"].sum() == len(tables.turns(run))
    assert frame["scored"].sum() == tables.turns(run)["score"].notna().sum()
    for row, (*_, complete, scores) in zip(frame.itertuples(), known, strict=True):
        assert (None if row.complete is pd.NA else row.complete) == complete
        if complete:
            assert (row.all_right, row.last_right) == (min(scores) == 1, scores[-1] == 1)
            assert row.mean == pytest.approx(np.mean(scores))
        else:
            assert row.all_right is row.last_right is pd.NA
            assert np.isnan(row.mean)


def result(tmp_path: Path, turns: list[T], targets: tuple[object, ...]):
    return measure(write(tmp_path / "r.evalkit", [S(turns)], [talk("a", targets)])).conversations


@pytest.mark.parametrize(
    ("turns", "targets", "incomplete"),
    [
        ([T("a", 1, score=1.0)], (1, 2), 1),  # the second was not asked yet
        ([T("a", 1, score=1.0)], (1, None), 0),  # nor this one, but it has no target
        ([T("a", 1)], (None, 2), 1),
        ([T("a", 1)], (None, None), None),
        ([T("a", 1, score=0.0), T("a", 2, error="server")], (1, 2), 1),  # it is wrong already, and still not guessed
        ([T("a", 1, score=1.0), T("a", 2, error="server")], (1, None), 0),
        ([T("a", 1, score=1.0), T("a", 2, reason="cannot tell")], (1, 2), 1),
    ],
)
def test_what_lacks_a_turn_with_a_target_is_incomplete_and_nothing_is_guessed_of_it(
    tmp_path, turns, targets, incomplete
):
    scores = result(tmp_path, turns, targets)
    assert scores.incomplete == (incomplete or 0)
    assert scores.n == (incomplete == 0)
    assert scores.all_right.value == scores.last_right.value == scores.mean.value == (1.0 if scores.n else None)


@pytest.mark.parametrize("named", ["by the run", "by the turns"])
def test_a_turn_still_to_be_asked_is_missed_also_where_its_scorer_wants_no_target(tmp_path, named):
    own = ScorerSpec("length") if named == "by the turns" else None
    asked = Conversation("a", tuple(Turn(f"question {n}", None, own) for n in (1, 2, 3)))
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, score=1.0), T("a", 2, score=1.0)])], [asked])
    if named == "by the run":
        said(path, settings={"scorer": {"name": "length", "max": 9}})
        with RunFile.open(path) as file, file.connection as connection:
            connection.execute("UPDATE turn SET has_target = 1")  # as the store has it of such a run
            scorings.note_own_versions(file, {"length"})
    scores = measure(path).conversations
    assert (scores.n, scores.incomplete) == (0, 1)


def test_the_last_right_is_that_of_the_last_turn_with_a_target(tmp_path):
    scores = result(tmp_path, [T("a", 1, score=0.0), T("a", 2, score=1.0), T("a", 3)], (1, 2, None))
    assert (scores.all_right.value, scores.last_right.value, scores.mean.value) == (0.0, 1.0, 0.5)


def test_repeats_of_a_conversation_are_one_cluster_and_bound_nothing_alone(tmp_path):
    scores = result(tmp_path, [T("a", 1, repeat=k, score=float(k > 1)) for k in (1, 2, 3)], (1,))
    assert (scores.n, scores.all_right.value, scores.all_right.low) == (3, 2 / 3, None)


def test_a_run_without_turns_has_none(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([])])
    nothing = dict.fromkeys(("value", "low", "high"))
    assert measure(path).conversations.to_json() == {
        "n": 0, "incomplete": 0, "all_right": nothing, "last_right": nothing, "mean": nothing,
    }  # fmt: skip
    assert Run(path).conversations().empty


def test_repeats_count_how_often_each_turn_was_right(tmp_path):
    turns = [T("a", 1, repeat=k, score=float(k > 1)) for k in (1, 2, 3)]
    turns += [T("a", 2, repeat=1, score=0.5), T("a", 2, repeat=2, error="server"), T("a", 2, repeat=3, reason="?")]
    turns += [T("b", 1, repeat=1, score=1.0), T("c", 1, repeat=1, score=0.0), T("d", 1, repeat=1)]
    # the group is called like the place of another conversation
    talks = [talk("a"), talk("b", group="2"), talk("c"), talk("d", group="2")]
    with contextlib.closing(store.open_to_read(write(tmp_path / "r.evalkit", [S(turns)], talks))) as connection:
        found = by_conversation.turn_repeats(connection)
    assert (found.right.tolist(), found.n.tolist()) == ([2, 0, 1, 0], [3, 1, 1, 1])
    assert found.cluster.tolist() == [0, 0, 1, 2]


def test_over_all_repeats_turns_are_right_once_or_each_time(tmp_path):
    turns = [
        T("a", 1, score=1.0), T("a", 1, repeat=2, score=1.0), T("b", 1, score=1.0), T("b", 1, repeat=2, score=0.0),
        T("c", 1, score=0.0), T("c", 1, repeat=2, score=0.5),
    ]  # fmt: skip
    path = write(tmp_path / "run.evalkit", [S(turns)])
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = by_conversation.repeat_scores(connection, 2)
        assert (found.once.value, found.always.value, found.once.n) == (pytest.approx(2 / 3), pytest.approx(1 / 3), 3)
        assert by_conversation.repeat_scores(connection, 3).once.value is None  # each has two
        assert by_conversation.repeat_scores(connection, 1) is None


def test_failed_calls_leave_out_their_turns_and_not_all_others(tmp_path):
    # the trap: one failed call of 30, and neither share was reported
    turns = [T(name, 1, repeat=k, score=float(k > 1 or name == "a")) for name in "abcd" for k in (1, 2, 3)]
    turns += [T("e", 1, score=1.0), T("e", 1, repeat=2, error="server"), T("e", 1, repeat=3, score=1.0)]
    turns += [T("f", 1, repeat=k, error="timeout") for k in (1, 2, 3)]
    run = Run(write(tmp_path / "r.evalkit", [S(turns)], [talk(name, (5,)) for name in "abcdef"]))
    result = run.summary_json()["repeats"]
    assert (result["k"], result["n"], result["left_out"]) == (3, 4, 2)
    assert (result["once"]["value"], result["always"]["value"]) == (1.0, 0.25)
    assert run_results.repeats(result).endswith(", of 4 turns; 2 turns have fewer than 3 scores")
    fewer = run.summary_json(k=2)["repeats"]
    assert (fewer["k"], fewer["n"], fewer["left_out"]) == (2, 5, 1)
    # of b, c and d two of three choices of two hold the wrong one
    assert fewer["always"]["value"] == pytest.approx((1 + 3 / 3 + 1) / 5)
    assert run_results.repeats(fewer).endswith(", of 5 turns; 1 turn has fewer than 2 scores")
    shown = evalkit("show", run.path, "--over-repeats", "2", "--json")
    assert json.loads(shown.stdout)["repeats"] == fewer
    refused = evalkit("show", run.path, "--over-repeats", "4")
    assert (
        refused.returncode,
        "k is 4: the run has 3 repeats, and k must be from 2 to the number of repeats" in refused.stderr,
    ) == (2, True)
    for k in (0, 1):
        with pytest.raises(SettingsError, match=f"k is {k}"):
            run.measures(k)


def test_turns_that_all_lack_a_score_have_neither_share(tmp_path):
    turns = [T("a", 1, score=1.0), T("a", 1, repeat=2, error="server"), T("b", 1, error="server")]
    result = Run(write(tmp_path / "r.evalkit", [S(turns)], [talk("a", (5,)), talk("b", (5,))])).summary_json()[
        "repeats"
    ]
    assert (result["n"], result["left_out"], result["once"]["value"]) == (0, 2, None)
    assert run_results.repeats(result) == "over 2 repeats: –, no turn has 2 scores"
