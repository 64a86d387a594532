"""Two runs side by side: both orders are asked, and only what holds in both is a win."""

import time
from collections import Counter

import pytest
from comparing import run, said
from judges import Bench, read, verdict
from runfiles import S, T, talk, write

from evalkit.conversation import Message
from evalkit.errors import RunFileError, SettingsError
from evalkit.judging.pairwise import judge_pairs, outcome_of


def two_runs(tmp_path, mine, theirs, **conversation):
    """Two runs of conversations of one turn: what each answered."""
    paths = []
    for name, texts in (("mine", mine), ("theirs", theirs)):
        turns = [T(f"c{n}", 1, text=text) for n, text in enumerate(texts)]
        talks = [talk(f"c{n}", [35], **conversation) for n in range(len(texts))]
        paths.append(write(tmp_path / f"{name}.evalkit", [S(turns)], talks))
    return paths


def longer(body):
    """Prefers the longer answer."""
    a, b = len(read(body, "answer_a")), len(read(body, "answer_b"))
    return verdict("TIE" if a == b else "A" if a > b else "B")


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        ("A", "B", "win"), ("B", "A", "loss"), ("TIE", "TIE", "tie"), ("A", "A", "inconsistent"),
        ("B", "B", "inconsistent"), ("A", "TIE", "inconsistent"), ("TIE", "B", "inconsistent"),
        (None, "A", "undecided"), ("TIE", None, "undecided"),
    ],
)  # fmt: skip
def test_a_win_is_one_in_both_orders(first, second, outcome):
    assert outcome_of(first, second) == outcome


def test_both_orders_are_asked_once_and_what_holds_in_both_counts(tmp_path):
    texts = ["35!", "3", "35", "35!!", "35?"], ["35"] * 5
    paths = two_runs(tmp_path, *texts, system="Be brief.")
    with Bench(lambda body: "Hm." if read(body, "answer_b") == "35?" else longer(body)) as bench:
        done = judge_pairs(*paths, bench.endpoint())
        shown = [(read(body, "answer_a"), read(body, "answer_b")) for body in bench.asked[1:]]
        # equal answers make one prompt in both orders
        assert Counter(shown) == Counter({pair[::step] for pair in zip(*texts, strict=True) for step in (1, -1)})
        assert {read(body, "conversation") for body in bench.asked[1:]} == {"system: Be brief."}
        assert judge_pairs(*paths, bench.endpoint()) == done
        assert len(bench.asked) == 10
    assert [pair.outcome for pair in done.turns] == ["win", "loss", "tie", "win", "undecided"]
    assert (done.turns[0].choices, done.turns[4].choices) == (("A", "B"), ("A", None))
    assert done.outcomes == {"win": 2, "loss": 1, "tie": 1, "inconsistent": 0, "undecided": 1, "failed": 0}
    assert (done.shares["win"].value, done.shares["win"].n, done.consistent.value) == (0.5, 4, 1.0)
    assert done.shares["win"].low < 0.5 < done.shares["win"].high
    assert (done.first_shown.value, done.first_shown.n) == (0.5, 6)
    assert done.judge_run.name == "mine.judge-1.evalkit"


def test_a_judge_that_always_takes_the_first_wins_nothing_for_anybody(tmp_path):
    paths = two_runs(tmp_path, ["35!"] * 5, ["35"] * 5)
    with Bench(lambda body: verdict("A")) as bench:
        done = judge_pairs(*paths, bench.endpoint())
    assert done.outcomes["inconsistent"] == 5
    assert (done.consistent.value, done.first_shown.value) == (0.0, 1.0)
    assert done.shares["win"].value == done.shares["loss"].value == 0


def test_turns_that_one_run_lacks_are_left_out_and_other_conversations_are_refused(tmp_path):
    mine, theirs = two_runs(tmp_path, ["a", "b"], ["c"])
    other = write(tmp_path / "other.evalkit", [S([T("c0", 1)])], [talk("c0", [36])])
    strange = write(tmp_path / "strange.evalkit", [S([T("x", 1)])])
    with Bench(longer) as bench:
        assert len(judge_pairs(mine, theirs, bench.endpoint()).turns) == 1
        with pytest.raises(RunFileError, match=r"conversation 'c0' of .* is a different one in"):
            judge_pairs(mine, other, bench.endpoint())
        with pytest.raises(SettingsError, match="have no turn that both answered"):
            judge_pairs(mine, strange, bench.endpoint())
        with pytest.raises(SettingsError, match="'correct' is about one answer"):
            judge_pairs(mine, theirs, bench.endpoint(), "correct")


def test_runs_with_a_system_prompt_each_are_judged_without_either(tmp_path):
    mine, theirs = (
        run(tmp_path / f"{name}.evalkit", [T("c0", 1, text=text)], [talk("c0", [35], system=system, context=context)])
        for name, text, system, context in (
            ("mine", "35!", "Old.", (Message("developer", "Old."),)),
            ("theirs", "35", "New.", ()),
        )
    )
    with Bench(longer) as bench:
        with pytest.raises(RunFileError, match="is a different one in"):
            judge_pairs(mine, theirs, bench.endpoint())
        said(theirs, settings={"system": "New."})
        assert judge_pairs(mine, theirs, bench.endpoint()).outcomes["win"] == 1
        assert not any(prompt in read(body, "conversation") for body in bench.asked[1:] for prompt in ("Old.", "New."))


def test_a_comparison_that_was_stopped_leaves_out_what_was_not_asked_in_both_orders(tmp_path):
    paths = two_runs(tmp_path, [f"35{'!' * n}" for n in range(1, 21)], ["35"] * 20)

    def slow(body):
        time.sleep(0.02)
        return longer(body)

    with Bench(slow) as bench:
        cut = judge_pairs(*paths, bench.endpoint(), concurrency=1, watch=lambda progress: progress.done >= 4)
        assert cut.stopped
        assert 1 <= len(cut.turns) < 20
        assert cut.outcomes["failed"] == 0
        whole = judge_pairs(*paths, bench.endpoint(), limit=12)
        prompts = [body["messages"][-1]["content"] for body in bench.asked[1:]]
        assert (whole.stopped, len(whole.turns)) == (False, 12)
        assert len(prompts) == len(set(prompts))
