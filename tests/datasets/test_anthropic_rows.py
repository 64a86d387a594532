"""Anthropic's form: content blocks, system, tools and parameters; batches."""

import pytest

from evalkit.conversation import Message, ScorerSpec, Turn
from evalkit.datasets.row_formats import format_of, parse
from evalkit.errors import DatasetError

TEXT = {"type": "text", "text": "Hi"}
USED = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "r"}]}
TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object"}}


def read(*messages, **keys):
    row = {"messages": list(messages), **keys}
    return parse(row, format_of(row))


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def model(*blocks):
    return {"role": "assistant", "content": list(blocks)}


def test_blocks_become_parts_calls_and_results():
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    done = model({"type": "text", "text": "done"})
    conversation = read(user(TEXT), model(thought, TEXT, USED), user(RESULT), done, user(TEXT), tools=[TOOL])
    call = {"name": "f", "arguments": {"a": 1}}
    assert conversation.turns == (Turn("Hi", call, ScorerSpec("tool_call"), "Hi\n\ndone"), Turn("Hi"))
    assert conversation.tool_results == {"f": "r"}
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    assert conversation.tools == ({"type": "function", "function": function},)


def test_a_question_may_stand_beside_a_result():
    conversation = read(user(TEXT), model(USED), user(RESULT, {"type": "text", "text": "And?"}), tools=[TOOL])
    assert [turn.user for turn in conversation.turns] == ["Hi", "And?"]


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ({"type": "base64", "media_type": "image/png", "data": "aGk="}, "data:image/png;base64,aGk="),
        ({"type": "url", "url": "https://x.org/a.png"}, "https://x.org/a.png"),
    ],
)
def test_images_are_content_parts(source, url):
    (turn,) = read(user({"type": "image", "source": source}, TEXT)).turns
    assert turn.parts == ({"type": "image_url", "image_url": {"url": url}}, TEXT)


def test_system_and_parameters_have_the_names_of_chat_completions():
    conversation = read(
        user(TEXT),
        system=[TEXT, {"type": "text", "text": "Be brief."}],
        stop_sequences=["END"],
        thinking={"type": "enabled", "budget_tokens": 9},
        tool_choice={"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        tools=[TOOL],
        metadata={"user_id": "u"},
    )
    assert conversation.system == "Hi\nBe brief."
    assert conversation.params == {
        "stop": ["END"],
        "thinking": {"type": "enabled", "budget_tokens": 9},
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
    }
    assert conversation.meta == {"metadata": {"user_id": "u"}}


@pytest.mark.parametrize(("choice", "sent"), [("auto", "auto"), ("any", "required"), ("none", "none")])
def test_the_choice_of_tools(choice, sent):
    assert read(user(TEXT), tool_choice={"type": choice}, tools=[TOOL]).params == {"tool_choice": sent}


def test_a_batch_asks_the_last_message():
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, user(TEXT)]
    params = {"model": "m", "max_tokens": 9, "system": [TEXT], "messages": messages, "metadata": {"user_id": "u"}}
    conversation = parse({"custom_id": "r", "params": params}, "anthropic-batch")
    assert (conversation.id, conversation.system, conversation.turns) == ("r", "Hi", (Turn("Hi"),))
    assert conversation.context == (Message("user", "a"), Message("assistant", "b"))
    assert (conversation.params, conversation.meta) == ({"max_tokens": 9}, {"metadata": {"user_id": "u"}})


DOCUMENT = {"type": "document", "source": {"type": "text", "data": "d"}}
BAD_RESULT = RESULT | {"content": [DOCUMENT]}
WRONG = [
    ((user(DOCUMENT),), {}, "messages[0].content[0]", "is a document block"),
    ((user({"type": "image", "source": 3}),), {}, "messages[0].content[0].source", "must be an object"),
    ((user({"type": "image", "source": {"type": "file"}}),), {}, "messages[0].content[0].source.type", "can be sent"),
    ((user(TEXT), model(USED | {"input": 3})), {}, "messages[1].content[0].input", "must be an object"),
    ((user(TEXT), model(USED), user(BAD_RESULT)), {}, "messages[2].content[0].content[0]", "is a document block"),
    ((user(TEXT),), {"system": [DOCUMENT]}, "system[0]", "is a document block, and only text can be here"),
    ((user(TEXT),), {"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0]", "is a tool of the type bash"),
]  # fmt: skip


@pytest.mark.parametrize(("messages", "keys", "field", "problem"), WRONG)
def test_what_chat_completions_cannot_say_is_refused(messages, keys, field, problem):
    with pytest.raises(DatasetError) as caught:
        read(*messages, **keys)
    assert caught.value.field == field
    assert caught.value.problem.startswith(problem)


def test_parts_of_other_kinds_are_sent_as_given():
    part = {"type": "image", "image": "https://x.org/a.png"}
    assert read(user(part, TEXT)).turns[0].parts == (part, TEXT)
