"""The cases of a run: the answers, targets and earlier messages that a judge reads."""

import sqlite3
from contextlib import closing

from judges import run_of
from runfiles import T, talk

import evalkit as ek
from evalkit.conversation import Conversation, ToolCall, Turn
from evalkit.judging.cases import answered_turns, cases, position_of
from evalkit.judging.rubric import BUILT_IN


def turns_by_id(path):
    return {turn.id: turn for turn in answered_turns(path)}


def test_a_turn_has_the_conversation_before_it(tmp_path):
    conversation = talk("a/1", [35, 276], system="You are a teacher.")
    path = run_of(tmp_path, [T("a/1", 1, text="35"), T("a/1", 2, text="<think>hm</think>276")], [conversation])
    second = turns_by_id(path)["a/1/1/2"]
    assert (second.question, second.answer, second.target) == ("a/1, question 2", "276", "276")
    assert second.before == "system: You are a teacher.\nuser: a/1, question 1\nassistant: 35"
    assert second.questions_before == "system: You are a teacher.\nuser: a/1, question 1"
    assert position_of("a/1/1/2") == ("a/1", 1, 2)


def test_without_anything_before_it_says_so(tmp_path):
    assert turns_by_id(run_of(tmp_path))["a/1/1"].before == "(nothing)"


def test_under_the_golden_history_the_golden_answers_are_shown(tmp_path):
    conversation = Conversation("a", (Turn("q1", 1, assistant="gold"), Turn("q2", 2)))
    path = run_of(tmp_path, [T("a", 1, text="mine"), T("a", 2, text="2")], [conversation])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE run SET settings = json_set(settings, '$.history', 'golden')")
    assert turns_by_id(path)["a/1/2"].before == "user: q1\nassistant: gold"


def test_calls_are_part_of_the_answer_and_targets_are_json(tmp_path):
    conversation = talk("a", [{"name": "add", "arguments": {"a": 1}}])
    turns = [T("a", 1, text="", calls=(ToolCall("add", '{"a": 1}', "c1"),))]
    turn = turns_by_id(run_of(tmp_path, turns, [conversation]))["a/1/1"]
    assert turn.answer == '(calls add with {"a": 1})'
    assert turn.target == '{"arguments": {"a": 1}, "name": "add"}'


def test_a_golden_answer_stands_in_for_a_target_and_a_turn_with_neither_is_not_judged(tmp_path):
    conversation = Conversation("a", (Turn("q1", assistant="gold"), Turn("q2")))
    path = run_of(tmp_path, [T("a", 1, text="gold"), T("a", 2, text="x")], [conversation])
    assert [(case.id, case.material["target"]) for case in cases(path, BUILT_IN["correct"])] == [("a/1/1", "gold")]
    assert [case.id for case in cases(path, BUILT_IN["helpful"])] == ["a/1/1", "a/1/2"]


def test_a_judge_compares_with_the_targets_of_a_corrected_dataset(tmp_path):
    path = run_of(tmp_path, [T("a", 1, text="36")], [Conversation("a", (Turn("q", 35),))])
    fixed = tmp_path / "fixed.jsonl"
    fixed.write_text('{"id": "a", "turns": [{"user": "q", "target": 36}]}\n', encoding="utf-8")
    ek.Run(path).score(targets=fixed)
    assert turns_by_id(path)["a/1/1"].target == "36"
