from contextlib import closing

import pytest
from comparing import run
from runfiles import T, talk

import evalkit as ek
from evalkit.comparing import shared_conversations
from evalkit.conversation import Message
from evalkit.errors import RunFileError
from evalkit.runfile import store

CHECKED = {"hash": "one", "conversations": 3}


def shared(first, second, *, common=False):
    with closing(store.open_to_read(first)) as one, closing(store.open_to_read(second)) as other:
        return shared_conversations.shared_conversations(
            one, other, (store.run_info(one), store.run_info(other)), common=common
        )


def abc(path, names="abc", other="", **about):
    """A run of these conversations; those in ``other`` have another content."""
    conversations = [talk(name, targets=(1,), meta={"as": "before"} if name in other else {}) for name in names]
    return run(path, [T(name, 1, score=1.0) for name in names], conversations, **about)


def test_runs_of_one_checked_dataset_share_what_both_have_started(tmp_path):
    first = abc(tmp_path / "a.evalkit", dataset=CHECKED)
    second = abc(tmp_path / "b.evalkit", "ab", dataset=CHECKED)
    found = shared(first, second)
    assert (found.first.tolist(), found.second.tolist(), found.only_first, found.only_second) == ([0, 1], [0, 1], 1, 0)


@pytest.mark.parametrize("limited", [{"limit": 2}, {"limit": None}])
def test_checked_datasets_that_differ_are_refused_unless_a_limit_explains_it(tmp_path, limited):
    first = abc(tmp_path / "a.evalkit", dataset=CHECKED)
    second = abc(tmp_path / "b.evalkit", "ab", dataset={"hash": "two", "conversations": 2}, settings=limited)
    if limited["limit"]:
        assert shared(first, second).only_first == 1
        return
    with pytest.raises(
        RunFileError, match=r"2 conversations are the same in both, 1 are only in the first run.*--common"
    ):
        shared(first, second)
    assert len(shared(first, second, common=True).first) == 2


def test_a_limit_does_not_explain_a_conversation_past_the_end_of_the_other_dataset(tmp_path):
    first = abc(tmp_path / "a.evalkit", dataset=CHECKED)
    second = abc(tmp_path / "b.evalkit", "abcd", dataset={"hash": "two", "conversations": 4}, settings={"limit": 4})
    with pytest.raises(RunFileError, match="1 are only in the second run"):
        shared(first, second)


@pytest.mark.parametrize("shots", [(), (Message("user", "1 + 1?"), Message("assistant", "2"))])
def test_instructions_that_a_run_replaces_are_no_other_content(tmp_path, shots):
    def of(path, context, **about):
        return run(path, [T("a", 1, score=1.0)], [talk("a", targets=(1,), context=context)], **about)

    instructions = (Message("developer", "Old."), Message("system", "Old."))
    first = of(tmp_path / "a.evalkit", (*instructions, *shots))
    assert len(shared(first, of(tmp_path / "b.evalkit", shots, settings={"system": ""})).first) == 1
    for name, other in (("c", (*shots, *instructions[:1], Message("user", "Hi"))), ("d", (Message("user", "Hi"),))):
        with pytest.raises(RunFileError, match="different content"):
            shared(first, of(tmp_path / f"{name}.evalkit", other, settings={"system": ""}))


def test_a_system_prompt_that_a_run_sets_is_no_other_content(tmp_path):
    def of(path, system, **about):
        conversations = [talk(name, targets=(1,), system=system) for name in "ab"]
        return run(path, [T(name, 1, score=1.0) for name in "ab"], conversations, **about)

    first = of(tmp_path / "a.evalkit", "Old.")
    with pytest.raises(RunFileError, match="2 have the same id but different content"):
        shared(first, of(tmp_path / "b.evalkit", "New."))
    assert len(shared(first, of(tmp_path / "c.evalkit", "New.", settings={"system": "New."})).first) == 2
    assert len(shared(first, of(tmp_path / "d.evalkit", None, settings={"system": ""})).first) == 2
    other = run(
        tmp_path / "e.evalkit", [T(name, 1, score=1.0) for name in "ab"],
        [talk(name, targets=(2,), system="New.") for name in "ab"], settings={"system": "New."},
    )  # fmt: skip
    with pytest.raises(RunFileError, match="different content"):
        shared(first, other)


def test_one_id_with_another_content_is_not_the_same_conversation(tmp_path):
    first, second = abc(tmp_path / "a.evalkit"), abc(tmp_path / "b.evalkit", other="b")
    with pytest.raises(RunFileError, match=r"1 have the same id but different content \(such as 'b'\)"):
        shared(first, second)
    found = shared(first, second, common=True)
    assert (found.first.tolist(), found.changed, found.only_first) == ([0, 2], 1, 0)


def test_unchecked_runs_may_have_come_to_different_ends_of_one_dataset(tmp_path):
    found = shared(abc(tmp_path / "a.evalkit"), abc(tmp_path / "b.evalkit", "abcd"))
    assert (found.first.tolist(), found.only_first, found.only_second) == ([0, 1, 2], 0, 1)


def test_another_conversation_at_the_same_place_is_no_matter_of_how_far_a_run_got(tmp_path):
    with pytest.raises(RunFileError, match="2 conversations are the same in both, 1 are only in the first run, 1 are"):
        shared(abc(tmp_path / "a.evalkit"), abc(tmp_path / "b.evalkit", "abx"))


@pytest.mark.parametrize(("names", "other"), [("xyz", ""), ("abc", "abc")])
def test_runs_without_a_conversation_in_common_are_refused_whatever_is_asked_for(tmp_path, names, other):
    first, second = abc(tmp_path / "a.evalkit"), abc(tmp_path / "b.evalkit", names, other)
    with pytest.raises(RunFileError, match="no conversation in common"):
        shared(first, second, common=True)


def test_a_run_that_holds_nothing_yet_is_named(tmp_path):
    first, second = abc(tmp_path / "a.evalkit"), run(tmp_path / "b.evalkit", [])
    with pytest.raises(RunFileError, match="the second run has no finished turn"):
        shared(first, second)


def test_ids_are_merged_in_the_order_of_their_bytes(tmp_path):
    names = ["Z", "a", "é", "\uffff", "\U0001f600", "a\x00b", "10", "9"]
    first = run(tmp_path / "a.evalkit", [T(name, 1, score=1.0) for name in names])
    second = run(tmp_path / "b.evalkit", [T(name, 1, score=1.0) for name in reversed(names)])
    found = shared(first, second)
    assert found.first.tolist() == list(range(8))
    assert found.second.tolist() == list(range(7, -1, -1))


@pytest.mark.parametrize("settings", [{}, {"system": "Be brief."}])
def test_targets_that_a_scoring_corrected_are_content(tmp_path, settings):
    """So a baseline can be scored again and compared with a run of the corrected dataset, not with one of the old."""

    def of(name, target, digest):
        talks = [talk(each, targets=(target,), **settings) for each in "abc"]
        turns = [T(each, 1, score=0.0, text="2") for each in "abc"]
        return run(tmp_path / f"{name}.evalkit", turns, talks, dataset={"hash": digest}, settings=settings)

    base, old, new = of("base", 1, "one"), of("old", 1, "one"), of("new", 2, "two")
    fixed = tmp_path / "fixed.jsonl"
    fixed.write_bytes(b"\n".join(talk(each, targets=(2,)).canonical for each in "abc"))
    assert len(shared(base, old).first) == 3
    with pytest.raises(RunFileError, match="3 have the same id but different content"):
        shared(base, new)
    ek.Run(base).score(targets=fixed)
    assert len(shared(base, new).first) == 3
    with pytest.raises(RunFileError, match="score both with them, by 'evalkit score RUN --targets'"):
        shared(base, old)
    ek.Run(old).score(targets=fixed)
    assert len(shared(base, old).first) == 3
