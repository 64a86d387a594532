"""Which conversations are labelled: random but repeatable, and more of those where judge and scorer differ."""

import numpy as np
import pytest
from judges import Bench, verdict
from runfiles import S, T, talk, write

from evalkit.errors import SettingsError
from evalkit.judging.judging import judge
from evalkit.judging.label_sample import choose
from evalkit.runfile import store


def a_run(path, count, turns=1, wrong=(), **more):
    return write(
        path,
        [S([T(f"c{n:03}", t, score=float(n not in wrong)) for n in range(count) for t in range(1, turns + 1)])],
        **more,
    )


def chosen(path, conversations=10, way="random", seed=0):
    with store.reading(path) as connection:
        return choose(connection, conversations, way, seed)


def names(transcripts):
    return [found.conversation for found in transcripts]


def judged_right(path):
    """The run after a judge that finds every answer right."""
    with Bench(lambda body: verdict("CORRECT")) as bench:
        judge(path, bench.endpoint())
    return path


def test_a_sample_is_repeatable_grows_and_is_the_same_for_runs_of_one_dataset(tmp_path):
    small, large = a_run(tmp_path / "a.evalkit", 40), a_run(tmp_path / "b.evalkit", 40)
    sample = names(chosen(small, 10))
    assert sample == names(chosen(large, 10)) == names(chosen(small, 20))[:10]
    assert sample != names(chosen(small, 10, seed=1))
    assert sorted(names(chosen(small, 1000))) == [f"c{n:03}" for n in range(40)]
    assert {found[3:] for found in chosen(small)} == {("random", 40)}


def test_every_conversation_is_drawn_equally_often(tmp_path):
    path = a_run(tmp_path / "a.evalkit", 20)
    counts = np.zeros(20)
    with store.reading(path) as connection:
        for seed in range(400):
            for found in choose(connection, 5, "random", seed):
                counts[found.position] += 1
    assert abs(counts - 100).max() < 45  # five standard deviations


def test_repeats_are_drawn_one_by_one(tmp_path):
    path = write(tmp_path / "r.evalkit", [S([T("a", 1, repeat=n) for n in range(1, 7)])])
    sample = chosen(path, 3)
    assert names(sample) == ["a"] * 3
    assert len({found.repeat for found in sample}) == 3
    assert {found.stratum_answers for found in sample} == {6}


def test_failed_turns_and_turns_without_a_right_answer_are_not_labelled(tmp_path):
    conversations = [talk("a", (35, None, 3)), talk("b", (None,)), talk("c", (1,))]
    path = write(tmp_path / "r.evalkit", [S([T("a", n) for n in (1, 2, 3)] + [T("b", 1), T("c", 1, error="server")])],
                 conversations)  # fmt: skip
    assert [(found.conversation, found.stratum_answers) for found in chosen(path)] == [("a", 2)]
    free = write(tmp_path / "free.evalkit", [S([T("b", 1)])], conversations[1:2])
    assert names(chosen(free)) == ["b"]


@pytest.mark.parametrize(
    ("wrong", "size", "differ", "other"),
    [
        (range(20), 10, 5, 5),  # half of each
        (range(20), 7, 4, 3),
        (range(3), 10, 3, 7),  # too few differ
        (range(38), 10, 8, 2),  # too few of the others
        (range(20), 100, 20, 20),
    ],
)
def test_half_are_conversations_in_which_judge_and_scorer_differ(tmp_path, wrong, size, differ, other):
    path = judged_right(a_run(tmp_path / "r.evalkit", 40, wrong=set(wrong)))
    sample = chosen(path, size, "differ")
    strata = [found.stratum for found in sample]
    assert (strata.count("differ"), strata.count("other")) == (differ, other)
    assert {found.conversation for found in sample if found.stratum == "differ"} <= {f"c{n:03}" for n in wrong}
    assert {found[3:] for found in sample} == {("differ", len(wrong)), ("other", 40 - len(wrong))}
    if min(differ, other) >= 4:  # mixed, so that the order says nothing
        assert strata not in (sorted(strata), sorted(strata, reverse=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"way": "difer"}, "did you mean 'differ'"),
        ({"way": None}, "choose is None: it is one of random, differ"),
        ({"conversations": 0}, "conversations is 0: it must be a whole number, 1 or more"),
        ({"conversations": True}, "conversations is True"),
        ({"conversations": 2.5}, "conversations is 2.5"),
        ({"way": "differ"}, "judge it first with 'evalkit judge'"),
    ],
)
def test_a_sample_that_cannot_be_drawn_is_refused(tmp_path, arguments, message):
    with pytest.raises(SettingsError, match=message):
        chosen(a_run(tmp_path / "r.evalkit", 2), **arguments)


def test_where_judge_and_scorer_never_differ_or_nothing_is_answered(tmp_path):
    with pytest.raises(SettingsError, match="agree on every answer"):
        chosen(judged_right(a_run(tmp_path / "r.evalkit", 3)), way="differ")
    with pytest.raises(SettingsError, match="score it with 'evalkit score'"):
        chosen(judged_right(write(tmp_path / "unscored.evalkit", [S([T("a", 1)])])), way="differ")
    with pytest.raises(SettingsError, match="there is nothing to label"):
        chosen(write(tmp_path / "failed.evalkit", [S([T("a", 1, error="server")])]))
