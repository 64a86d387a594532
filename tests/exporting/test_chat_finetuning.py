"""Examples for fine-tuning: only what is right is learnt, in the form of the official client."""

import json

import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import TypeAdapter
from runfiles import S, T, talk, write

from evalkit.conversation import Message, ToolCall
from evalkit.exporting.formats import export_run

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def examples(run, path):
    done = export_run(run, "chat-finetuning", path)
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert done.rows == len(found)
    for example in found:
        TypeAdapter(list[ChatCompletionMessageParam]).validate_python(
            [{key: value for key, value in message.items() if key != "weight"} for message in example["messages"]]
        )
        TypeAdapter(list[ChatCompletionToolParam]).validate_python(example.get("tools", []))
        assert {each["role"] for each in example["messages"] if "weight" in each} <= {"assistant"}
    return found, {what: count for what, count in done.left_out.items() if count}


def learnt(example):
    return [each["content"] for each in example["messages"] if each["role"] == "assistant" and "weight" not in each]


def test_a_conversation_ends_with_its_last_right_answer_before_a_wrong_one(run, tmp_path):
    found, left_out = examples(run.path, tmp_path / "x.jsonl")
    first, second, right, _, late, _, trailing, _ = found
    assert first == second
    assert [each["role"] for each in first["messages"]] == ["system", "user", "assistant", "user", "assistant"]
    assert [len(learnt(each)) for each in (first, right, late, trailing)] == [2, 1, 1, 1]
    assert late["messages"][1]["weight"] == 0  # nobody has scored it, and the right answer saw it
    assert len(trailing["messages"]) == 2
    assert left_out == {
        "wrong answers": 4,
        "answers after a wrong, failed or cut-off one": 2,
        "conversations without a right answer at their beginning": 2,
        "answers without a score": 2,
    }


def test_with_the_golden_history_each_right_answer_is_an_example_of_its_own(golden, tmp_path):
    found, left_out = examples(golden.path, tmp_path / "x.jsonl")
    assert [len(each["messages"]) for each in found] == [3, 5, 9, 2, 4, 2]
    assert all(len(learnt(each)) == 1 for each in found)
    assert [each["content"] for each in found[2]["messages"] if each.get("weight") == 0] == ["35", "276", "3"]
    assert left_out["wrong answers"] == 2


@pytest.mark.parametrize(
    ("turn", "why"),
    [
        (T("a", 2, error="server"), "failed turns"),
        (T("a", 2, score=0.5), "wrong answers"),
        (T("a", 2, score=1.0, finish_reason="length"), "answers that were cut off"),
        (T("a", 2, score=1.0, text="", reasoning="thought"), "wrong answers"),
    ],
)
def test_what_is_not_right_ends_an_example(tmp_path, turn, why):
    run = write(tmp_path / "r.evalkit", [S([T("a", 1, score=1.0), turn, T("a", 3, score=1.0)], end_ms=None)])
    (found,), left_out = examples(run, tmp_path / "x.jsonl")
    assert learnt(found) == ["35"]
    assert left_out == {why: 1, "answers after a wrong, failed or cut-off one": 1}


def test_no_targets_give_no_example(tmp_path):
    run = write(tmp_path / "r.evalkit", [S([T("a", 1), T("a", 2)])], [talk("a", (None, None))])
    found, left_out = examples(run, tmp_path / "x.jsonl")
    assert found == []
    assert left_out["answers without a score"] == 2


def test_tools_and_calls_are_kept_and_a_call_without_result_is_last(tmp_path):
    call = ToolCall("add", '{"a": 1}', "c1", {"signature": "s"})
    asked = talk("a", (1, 2), tools=(TOOL,), params={"parallel_tool_calls": False})
    shot = (Message("user", "x"), Message("assistant", None, (call,)), Message("tool", "1", tool_call_id="c1"))
    turns = [T("a", 1, score=1.0, text="", calls=(call,)), T("a", 2, score=1.0, text="", calls=(call,))]
    run = write(tmp_path / "r.evalkit", [S(turns)], [asked._replace(context=shot)])
    (found,), _ = examples(run, tmp_path / "x.jsonl")
    roles = [message["role"] for message in found["messages"]]
    assert roles == ["user", "assistant", "tool", "user", "assistant", "tool", "user", "assistant"]
    assert found["tools"] == [TOOL]
    assert found["parallel_tool_calls"] is False
    calls = [message["tool_calls"][0] for message in found["messages"] if message.get("tool_calls")]
    assert [each["function"] for each in calls] == [{"name": "add", "arguments": '{"a": 1}'}] * 3
    assert [each.get("weight") for each in found["messages"] if each["role"] == "assistant"] == [0, None, None]


def test_a_conversation_with_a_file_is_left_out(tmp_path):
    about = {"sha256": "0" * 64, "bytes": 3, "media_type": "image/png"}
    part = {"type": "image_url", "image_url": {"url": "sign.png"}, "from_file": about}
    asked = talk("a", (1,))
    asked = asked._replace(turns=(asked.turns[0]._replace(parts=(part,)),))
    run = write(tmp_path / "r.evalkit", [S([T("a", 1, score=1.0)])], [asked])
    found, left_out = examples(run, tmp_path / "x.jsonl")
    assert found == []
    assert list(left_out) == ["conversations with a file beside the dataset, which the run file does not have"]
