"""Recorded dialogues: who speaks in which words, calls and their results."""

import pytest

from evalkit.conversation import Message, ScorerSpec, Turn
from evalkit.datasets.row_formats import format_of, parse
from evalkit.errors import DatasetError

TOOLS = '[{"name": "w", "description": "Weather.", "parameters": {"type": "object"}}]'


def read(row):
    return parse(row, format_of(row))


@pytest.mark.parametrize(
    ("user", "model"), [("human", "gpt"), ("user", "assistant"), ("user", "chatgpt"), ("Human", "bot")]
)
@pytest.mark.parametrize("place", ["conversations", "conversation", "messages", "turns", "dialog"])
def test_speakers_have_many_names(place, user, model):
    said = [{"from": "system", "value": "Kind."}, {"from": user, "value": "Hi"}, {"from": model, "value": "Hello"}]
    conversation = read({place: [*said, {"from": user, "value": "Bye"}], "id": "s"})
    assert conversation.system == "Kind."
    assert conversation.turns == (Turn("Hi", assistant="Hello"), Turn("Bye"))


def test_messages_in_the_words_of_chat_keep_their_notes_out():
    said = [
        {"role": "user", "content": "Hi", "toxic": False, "language": "English"},
        {"role": "assistant", "content": "x"},
    ]
    assert read({"conversation": said, "model": "m"}).turns == (Turn("Hi", assistant="x"),)


def test_what_the_model_says_first_is_context():
    said = [{"from": "gpt", "value": "Welcome."}, {"from": "human", "value": "Hi"}]
    conversation = read({"conversations": said})
    assert conversation.context == (Message("assistant", "Welcome."),)
    assert conversation.turns == (Turn("Hi"),)


def test_calls_are_targets_and_observations_results():
    said = [
        {"from": "human", "value": "Weather?"},
        {"from": "function_call", "value": '{"name": "w", "arguments": {"city": "Rome"}}'},
        {"from": "observation", "value": "sunny"},
        {"from": "gpt", "value": "It is sunny."},
    ]
    conversation = read({"conversations": said, "tools": TOOLS, "system": "S"})
    call = {"name": "w", "arguments": {"city": "Rome"}}
    assert conversation.turns == (Turn("Weather?", call, ScorerSpec("tool_call"), "It is sunny."),)
    assert (conversation.system, conversation.tool_results) == ("S", {"w": "sunny"})
    assert conversation.tools[0]["function"]["description"] == "Weather."


def test_ultrachat_alternates():
    conversation = read({"id": "0", "data": ["Hi?", "Hello.", "More?"]})
    assert conversation.turns == (Turn("Hi?", assistant="Hello."), Turn("More?"))
    assert read({"dialog": ["Hi?", "Hello.", "More?"]}).turns == conversation.turns


def test_mt_bench_101_has_pairs():
    conversation = read({"task": "CM", "id": 1, "history": [{"user": "a", "bot": "b"}, {"user": "c", "bot": ""}]})
    assert (conversation.id, conversation.tags) == ("1", ("CM",))
    assert conversation.turns == (Turn("a", assistant="b"), Turn("c"))


CALL = {"from": "function_call", "value": "w(city='Rome')"}
WRONG = [
    ({"conversations": [{"from": "nobody", "value": "a"}]}, "conversations[0].from", "must be one of human, user"),
    ({"conversations": [{"from": "human", "value": ""}]}, "conversations[0].value", "must not be empty"),
    ({"conversations": [{"from": "human"}]}, "conversations[0].content", "must be text, not null"),
    ({"conversations": [{"from": "gpt", "value": "a"}]}, "conversations", "hold no user message"),
    ({"conversations": [{"from": "human", "value": "a"}, CALL]}, "conversations[1].value", "must be the text"),
    ({"conversation": [{"from": "human", "value": "a", "image": "x.png"}]}, "conversation[0].image", "unknown key"),
    ({"conversations": [{"from": "human", "value": "a"}], "image": "x.png"}, "image", "would not be sent"),
    ({"conversations": [{"from": "human", "value": "a"}], "tools": "[{]"}, "tools", "is text that is not JSON"),
    ({"data": ["a", "b", " "]}, "data[2]", "must not be empty"),
    ({"task": 1, "history": [{"user": "a", "bot": "b"}]}, "task", "must be text, not a number"),
    ({"history": [{"user": "a", "bot": "b", "image": "x"}]}, "history[0].image", "unknown key"),
    ({"history": [{"user": "a", "bot": "b"}, {"user": 3}]}, "history[1].user", "must be text, not a number"),
    ({"history": [{"user": "a", "bot": 3}]}, "history[0].bot", "must be text, not a number"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "field", "problem"), WRONG)
def test_what_is_wrong_has_the_place_in_the_row(row, field, problem):
    with pytest.raises(DatasetError) as caught:
        read(row)
    assert caught.value.field == field
    assert caught.value.problem.startswith(problem)
