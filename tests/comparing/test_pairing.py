import sqlite3
from contextlib import closing

import numpy as np
import pandas as pd
import pytest
from comparing import answers, run
from runfiles import T, talk

from evalkit.comparing import pairing, shared_conversations
from evalkit.runfile import store

CHECKED = {"hash": "one", "conversations": 3}


def shared(first, second, *, common=False):
    with closing(store.open_to_read(first)) as one, closing(store.open_to_read(second)) as other:
        return shared_conversations.shared_conversations(
            one, other, (store.run_info(one), store.run_info(other)), common=common
        )


def paired(first, second, *, averaged=False, common=False):
    found = shared(first, second, common=common)
    with closing(store.open_to_read(first)) as one, closing(store.open_to_read(second)) as other:
        return pairing.pair_turns(one, other, found, averaged=averaged)


def abc(path, names="abc", other="", **about):
    """A run of these conversations; those in ``other`` have another content."""
    conversations = [talk(name, targets=(1,), meta={"as": "before"} if name in other else {}) for name in names]
    return run(path, [T(name, 1, score=1.0) for name in names], conversations, **about)


def test_turns_are_paired_by_id_and_not_by_place(tmp_path):
    first = run(tmp_path / "a.evalkit", [T("x", 1, score=1.0), T("x", 2, score=0.0), T("y", 1, score=0.25)])
    second = run(tmp_path / "b.evalkit", [T("y", 1, score=0.75), T("x", 1, score=0.5), T("x", 2, score=1.0)])
    pairs = paired(first, second).pairs
    assert pairs.first.tolist() == [1.0, 0.0, 0.25]
    assert pairs.second.tolist() == [0.5, 1.0, 0.75]
    assert pairs.turn.tolist() == [1, 2, 1]


def test_every_turn_that_is_left_out_has_its_reason(tmp_path):
    plain = [talk("plain", targets=(None,))]
    first = [
        T("a", 1, score=1.0), T("a", 2, error="server"), T("a", 3, error="server"),
        T("b", 1, score=1.0), T("b", 2, reason="cannot say"), T("b", 3, score=1.0), T("plain", 1),
    ]  # fmt: skip
    second = [
        T("a", 1, error="server"), T("a", 2, score=1.0), T("a", 3, error="timeout"),
        T("b", 1, score=0.0), T("b", 2, score=1.0), T("plain", 1, error="server"),
    ]  # fmt: skip
    found = paired(run(tmp_path / "a.evalkit", first, plain), run(tmp_path / "b.evalkit", second, plain))
    left = found.left_out
    assert (left.failed_first, left.failed_second, left.failed_both, left.failed) == (1, 1, 1, 3)
    assert (left.only_first, left.only_second, left.unscored, left.no_target) == (1, 0, 1, 1)
    scored = ~(np.isnan(found.pairs.first) | np.isnan(found.pairs.second))
    assert found.pairs.first[scored].tolist() == [1.0]


def test_a_failed_call_is_not_wrong_but_counts_as_not_right_with_failures(tmp_path):
    first = run(tmp_path / "a.evalkit", answers([1.0, 1.0]))
    second = run(tmp_path / "b.evalkit", [T("c000", 1, score=1.0), T("c001", 1, error="timeout")])
    pairs = paired(first, second).pairs
    assert np.isnan(pairs.second[1])
    assert pairs.second_all.tolist() == [1.0, 0.0]


def test_a_turn_that_the_end_of_a_session_cut_off_does_not_count_against_its_run(tmp_path):
    first = run(tmp_path / "a.evalkit", answers([1.0, 1.0]))
    second = run(tmp_path / "b.evalkit", [T("c000", 1, score=1.0), T("c001", 1, error="cancelled")])
    pairs = paired(first, second).pairs
    assert np.isnan(pairs.second_all[1])


def test_the_times_of_failed_turns_are_no_times(tmp_path):
    first = run(tmp_path / "a.evalkit", [T("a", 1, ttft_ms=70.0, latency_ms=300.0), T("a", 2)])
    second = run(tmp_path / "b.evalkit", [T("a", 1), T("a", 2, error="truncated", ttft_ms=30.0)])
    times = paired(first, second).times
    assert times["ttft"][0].tolist() == [70.0, 50.0]
    assert times["latency"][0][0] == 300.0
    assert np.isnan(times["ttft"][1][1])


@pytest.mark.parametrize("error", ["timeout", "cancelled"])
def test_a_time_out_and_an_interrupted_turn_are_lower_bounds_of_their_times(tmp_path, error):
    first = run(tmp_path / "a.evalkit", [T("a", n) for n in (1, 2, 3)])
    hung = [T("a", 1, error=error, ttft_ms=None, end_ms=900.0), T("a", 2, error=error, end_ms=900.0)]
    found = paired(first, run(tmp_path / "b.evalkit", [*hung, T("a", 3)]))
    assert found.times["ttft"][1].tolist() == [900.0, 50.0, 50.0]
    assert found.times["latency"][1].tolist() == [900.0, 900.0, 400.0]
    assert found.censored["ttft"][1].tolist() == [True, False, False]
    assert found.censored["latency"][1].tolist() == [True, True, False]
    assert not any(flags[0].any() for flags in found.censored.values())


@pytest.mark.parametrize("repeats", [(2, 2), (3, 1), (1, 2)])
def test_pairs_and_means_over_repeats_recomputed(tmp_path, repeats):
    rng = np.random.default_rng(sum(repeats))
    runs, truths = [], []
    for name, count in zip("ab", repeats, strict=True):
        turns = []
        for number in range(12):
            for repeat in range(1, count + 1):
                for turn in (1, 2):
                    error = "server" if rng.random() < 0.2 else None
                    score = None if error or rng.random() < 0.1 else float(rng.random() < 0.5)
                    reason = "unsure" if score is None and not error else None
                    if rng.random() < 0.95:
                        turns.append(T(f"c{number}", turn, repeat=repeat, error=error, score=score, reason=reason))
        runs.append(run(tmp_path / f"{name}.evalkit", turns))
        truths.append(pd.DataFrame([vars(turn) for turn in turns]))
    averaged = repeats[0] != repeats[1]
    found = paired(*runs, averaged=averaged, common=True)
    keys = ["conversation", "turn"] if averaged else ["conversation", "repeat", "turn"]
    means = [truth.groupby(keys)["score"].mean() for truth in truths]
    counted = [
        truth.assign(score=truth["score"].where(truth["error"].isna(), 0.0)).groupby(keys)["score"].mean()
        for truth in truths
    ]
    for kinds, sides in ((means, ("first", "second")), (counted, ("first_all", "second_all"))):
        both = pd.concat(kinds, axis=1, join="inner").dropna()
        ours = pd.DataFrame([getattr(found.pairs, side) for side in sides]).T.dropna()
        assert sorted(map(tuple, ours.to_numpy())) == sorted(map(tuple, both.to_numpy()))
    single = pd.concat([truth.set_index(["conversation", "repeat", "turn"])["score"] for truth in truths], axis=1)
    assert len(found.single.turn) == len(truths[0].merge(truths[1], on=["conversation", "repeat", "turn"]))
    known = ~(np.isnan(found.single.first) | np.isnan(found.single.second))
    assert known.sum() == len(single.dropna())


def test_scores_of_the_scoring_that_counts_are_compared(tmp_path):
    first, second = (run(tmp_path / f"{name}.evalkit", answers([1.0])) for name in "ab")
    with closing(sqlite3.connect(second)) as connection, connection:
        connection.execute(
            "INSERT INTO score (conversation, repeat, turn, scoring, scorer, value) VALUES (0, 1, 1, 7, 'exact', 0)"
        )
        connection.execute("UPDATE run SET scoring = 7")
    assert paired(first, second).pairs.second.tolist() == [0.0]
