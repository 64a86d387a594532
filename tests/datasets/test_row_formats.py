"""Formats of rows: what each is read as, and what is refused."""

import re
from pathlib import Path

import orjson
import pytest

from evalkit.conversation import Message, ScorerSpec, ToolCall, Turn
from evalkit.datasets.row_formats import ROW_FORMATS, field_in_row, format_of, listed_formats, parse
from evalkit.errors import DatasetError

SAMPLES = Path(__file__).parent / "samples"
README = (Path(__file__).parents[2] / "data" / "README.md").read_text(encoding="utf-8")
USER = {"role": "user", "content": "Hi"}
SAID = {"role": "assistant", "content": "Hello"}


@pytest.mark.parametrize(
    ("row", "row_format"),
    [
        ({"turns": []}, "native"),
        ({"messages": [], "id": 1}, "chat"),
        ({"messages": [], "question_id": 1}, "chat"),
        ({"custom_id": "a", "body": {}}, "openai-batch"),
        ({"url": "/v1/chat/completions", "body": {}}, "openai-batch"),
        ({"question_id": 1, "turns": []}, "mt-bench"),
        ({"question": "", "answer": "#### 1", "id": 3}, "gsm8k"),
    ],
)
def test_the_keys_decide_the_row_format(row, row_format):
    assert format_of(row) == row_format


@pytest.mark.parametrize("name", ROW_FORMATS)
def test_the_example_of_each_format_is_read_and_is_in_the_documents_and_in_the_error(name):
    row_format = ROW_FORMATS[name]
    row = orjson.loads(row_format.example)
    assert format_of(row) == name
    assert parse(row, name).turns
    assert set(row_format.keys) <= row.keys()
    assert f"| {row_format.title} (`{name}`) | `{row_format.example}` |" in README
    assert f"\n  {row_format.title}: {row_format.example}\n" in listed_formats()


def test_the_documents_list_no_other_format():
    section = README.split("## Row formats")[1].split("\n## ")[0]
    assert re.findall(r"^\| .* \(`([\w-]+)`\) \|", section, re.MULTILINE) == list(ROW_FORMATS)


@pytest.mark.parametrize(
    ("row", "nearest"),
    [
        ({"mesages": []}, "chat, OpenAI fine-tuning, whose key is messages, not mesages; did you mean 'messages'?"),
        ({"Turns": []}, "native, whose key is turns, not Turns; did you mean 'turns'?"),
        ({"question_id": 1, "choices": []}, "MT-Bench, which has turns too."),
        ({"prompt": 1}, "prompt and completion, whose prompt is of another form than a number, as here."),
        ({"data": [1]}, "UltraChat, whose data is of another form than a list, as here."),
        ({"conversations": "a"}, "ShareGPT, whose conversations is of another form than text, as here."),
        (
            {"custom_id": "a", "params": {}},
            "Anthropic Message Batches, whose custom_id and params are of another form.",
        ),
        ({"Instruction": "a"}, "Alpaca, whose key is instruction, not Instruction; did you mean 'instruction'?"),
    ],
)
def test_a_row_that_nearly_fits_is_answered_with_the_nearest_format(row, nearest):
    with pytest.raises(DatasetError) as caught:
        format_of(row)
    assert f". Nearest: {nearest} Known row formats:\n" in caught.value.problem


@pytest.mark.parametrize("row", [{"text": "a"}, {"id": "a"}, {}, {"k": 1}, {"answerKey": 1}])
def test_a_row_that_is_like_none_gets_the_list_and_no_hint(row):
    with pytest.raises(DatasetError, match=r"has the keys .*\. Known row formats:\n") as caught:
        format_of(row)
    assert "--column user=KEY" in caught.value.problem


def test_a_row_of_another_format_than_the_first_says_so():
    with pytest.raises(DatasetError, match=r"\(the row looks like ShareGPT, the first one like chat, OpenAI fine-"):
        parse({"conversations": []}, "chat")


def test_chat_takes_each_user_message_as_a_turn():
    row = {
        "messages": [{"role": "system", "content": "Short."}, USER, SAID, USER],
        "target": 3,
        "scorer": "number",
        "tags": ["t"],
        "source": "s",
        "meta": {"k": 1},
    }
    conversation = parse(row, "chat", position=4)
    assert conversation.id == "row-000004"
    assert conversation.system == "Short."
    assert conversation.turns == (Turn("Hi", assistant="Hello"), Turn("Hi", 3, ScorerSpec("number")))
    assert (conversation.tags, conversation.meta) == (("t",), {"source": "s", "k": 1})


def test_chat_keeps_what_comes_before_the_first_user_message():
    conversation = parse({"messages": [{"role": "developer", "content": "d"}, SAID, USER]}, "chat")
    assert conversation.context == (Message("developer", "d"), Message("assistant", "Hello"))
    assert conversation.turns == (Turn("Hi"),)


def test_chat_may_have_two_user_messages_in_a_row_and_an_empty_system_prompt():
    conversation = parse({"messages": [{"role": "system", "content": ""}, USER, USER, SAID]}, "chat")
    assert conversation.system is None
    assert conversation.turns == (Turn("Hi"), Turn("Hi", assistant="Hello"))


def test_batch_asks_the_last_user_message():
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    body = {
        "model": "m",
        "stream": True,
        "stream_options": {},
        "temperature": 0,
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "content": "r", "tool_call_id": "c"},
            USER,
        ],
    }
    row = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body, "target": "x", "note": 1}
    conversation = parse(row, "openai-batch")
    assert (conversation.id, conversation.system, conversation.turns) == ("a", "s", (Turn("Hi", "x"),))
    assert conversation.context == (
        Message("assistant", None, (ToolCall("f", "{}", "c"),)),
        Message("tool", "r", tool_call_id="c"),
    )
    assert (conversation.params, conversation.meta) == ({"temperature": 0}, {"note": 1})
    assert [tool["function"]["name"] for tool in conversation.tools] == ["f"]


def test_mt_bench_takes_references_as_golden_answers():
    row = {"question_id": 1, "category": "math", "turns": ["a", "b"], "reference": ["", "r"], "x": 1}
    conversation = parse(row, "mt-bench")
    assert (conversation.id, conversation.tags) == ("1", ("math",))
    assert conversation.turns == (Turn("a"), Turn("b", assistant="r"))
    assert conversation.meta == {"x": 1}


@pytest.mark.parametrize(
    ("final", "target"),
    [("12", 12), ("1,234", 1234), ("-3", -3), ("$5.50", 5.5), ("7.", 7), ("3/4", 0.75), ("20%", 20)],
)
def test_gsm8k_takes_the_number_after_the_mark(final, target):
    answer = f"It was 3 #### no.\n#### {final}\n"
    turn = Turn("Why?", target, ScorerSpec("number"), answer)
    assert parse({"question": "Why?", "answer": answer}, "gsm8k").turns == (turn,)


FOREIGN = [
    ("chat", {"messages": [USER]}),
    ("mt-bench", {"question_id": 1, "turns": ["Hi"]}),
    ("gsm8k", {"question": "Hi", "answer": "#### 12"}),
]
SENT_KEYS = {
    "temperature": 0.2, "max_tokens": 5, "max_completion_tokens": 6, "top_p": 0.5, "stop": ["x"], "seed": 7,
    "response_format": {"type": "json_object"}, "tool_choice": "auto", "parallel_tool_calls": False,
    "reasoning_effort": "low", "logit_bias": {"5": 1}, "presence_penalty": 1, "chat_template_kwargs": {"a": True},
}  # fmt: skip


@pytest.mark.parametrize(("row_format", "row"), FOREIGN)
def test_what_is_to_be_sent_is_sent_from_every_shape(row_format, row):
    tool = {"type": "function", "function": {"name": "f"}}
    told = {"system": "Be short.", "tools": [tool], "tool_results": {"f": 1}, "params": {"user": "u"}, **SENT_KEYS}
    told["context"] = [{"role": "assistant", "content": "Hello"}]
    conversation = parse({**row, **told, "source": "s"}, row_format)
    assert (conversation.system, conversation.context) == ("Be short.", (Message("assistant", "Hello"),))
    assert (conversation.tools, conversation.tool_results) == ((tool,), {"f": 1})
    assert conversation.params == {"user": "u", **SENT_KEYS}
    assert conversation.meta == {"source": "s"}


@pytest.mark.parametrize(("row_format", "row"), FOREIGN)
def test_a_target_of_its_own_is_that_of_the_last_turn_in_every_shape(row_format, row):
    conversation = parse({**row, "target": 3, "scorer": "exact", "tags": ["t"]}, row_format)
    assert (conversation.turns[-1].target, conversation.turns[-1].scorer) == (3, ScorerSpec("exact"))
    assert conversation.tags == ("t",)
    nothing = parse({**row, **dict.fromkeys(("target", "system", "context", "temperature", "params"))}, row_format)
    assert nothing == parse(row, row_format)


@pytest.mark.parametrize(("row_format", "row"), FOREIGN)
@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("n", 3, "would not be sent: ask for several answers with --repeats, or put it under meta to keep it unsent"),
        ("extra_body", {"top_k": 1}, "would not be sent: write its keys under params, or put it under meta"),
        ("system_prompt", "s", "would not be sent: call it system, or put it under meta to keep it unsent"),
        ("context", "a text to read", "would not be sent: write it into the question, or as a list of messages"),
        ("temprature", 0, "unknown key; did you mean 'temperature'?"),
        ("max_token", 5, "unknown key; did you mean 'max_tokens'?"),
    ],
)
def test_what_would_change_what_is_asked_and_cannot_be_sent_is_refused(row_format, row, key, value, problem):
    with pytest.raises(DatasetError) as caught:
        parse({**row, key: value}, row_format)
    assert caught.value.field == key
    assert caught.value.problem.startswith(problem)
    if not problem.startswith("unknown"):
        assert parse({**row, "meta": {key: value}}, row_format).meta == {key: value}


def test_a_thing_said_twice_must_be_the_same_thing():
    system = {"role": "system", "content": "s"}
    assert parse({"messages": [system, USER], "system": "s"}, "chat").system == "s"
    same = {"messages": [USER], "temperature": 0, "params": {"temperature": 0}}
    assert parse(same, "chat").params == {"temperature": 0}
    for row, field in (
        ({"messages": [system, USER], "system": "other"}, "system"),
        ({"messages": [SAID, USER], "context": [USER]}, "context"),
        ({"messages": [USER], "turns": [{"user": "Bye"}]}, "turns"),
        ({"messages": [USER], "temperature": 1, "params": {"temperature": 0}}, "temperature"),
    ):
        with pytest.raises(DatasetError, match="remove one of them") as caught:
            parse(row, "chat")
        assert caught.value.field == field


@pytest.mark.parametrize("key", ["system", "temperature", "response_format", "tools", "params"])
def test_what_stands_beside_the_body_of_a_batch_request_is_refused(key):
    with pytest.raises(DatasetError, match="would not be sent: write it inside body") as caught:
        parse({"custom_id": "a", "body": {"messages": [USER]}, key: "x"}, "openai-batch")
    assert caught.value.field == key


def test_what_only_looks_like_a_parameter_is_kept():
    more = {"num_tokens": 5, "content": "x", "prompt": "Hi", "model": "m", "metadata": {}, "step": 1, "contexts": []}
    assert parse({"messages": [USER], **more}, "chat").meta == more


TOOLED = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
AGAIN = "cannot be sent again: write the row in the native format, with context, tools and tool_results"
WRONG = [
    ("chat", {"messages": "Hi"}, "messages", "must be a list, not text"),
    ("chat", {"messages": []}, "messages", "hold no user message: there is no question to send"),
    ("chat", {"messages": [SAID]}, "messages", "hold no user message: there is no question to send"),
    ("chat", {"messages": [USER, "x"]}, "messages[1]", "must be an object, not text"),
    ("chat", {"messages": [{"role": "user", "content": " "}]}, "messages[0].content", "must not be empty"),
    (
        "chat",
        {"messages": [USER, SAID, SAID]},
        "messages[2]",
        "follows another assistant message: a turn has one golden answer",
    ),
    (
        "chat",
        {"messages": [USER, TOOLED]},
        "tools",
        "turn 1 calls f, which is not among the tools of the row: the model could not call it either",
    ),
    (
        "chat",
        {"messages": [USER, {"role": "tool", "content": "r"}]},
        "messages[1]",
        f"a tool message that belongs to no call of this turn {AGAIN}",
    ),
    (
        "chat",
        {"messages": [USER, {"role": "system", "content": "r"}]},
        "messages[1]",
        f"a system message after the first user message {AGAIN}",
    ),
    ("chat", {"messages": [USER], "taget": 3}, "taget", "unknown key; did you mean 'target'?"),
    ("chat", {"messages": [USER], "scorer": 3}, "scorer", "must be text, not a number"),
    ("chat", {"messages": [USER], "meta": 3}, "meta", "must be an object, not a number"),
    (
        "chat",
        {"messages": [{"role": "system", "content": "s"}, USER, {"role": "user", "content": ""}]},
        "messages[2].content",
        "must not be empty",
    ),
    ("openai-batch", {"custom_id": "a", "body": []}, "body", "must be an object, not a list"),
    (
        "openai-batch",
        {"body": {}, "url": "/v1/embeddings"},
        "url",
        "is '/v1/embeddings': only requests to /v1/chat/completions hold a conversation",
    ),
    ("openai-batch", {"body": {}, "method": "GET"}, "method", "is 'GET': chat completions are requested with POST"),
    ("openai-batch", {"body": {}}, "body.messages", "must be a list, not null"),
    (
        "openai-batch",
        {"body": {"messages": [USER, SAID]}},
        "body.messages",
        "must end with a user message, the question of the turn",
    ),
    (
        "openai-batch",
        {"body": {"messages": [SAID, {"role": "user", "content": ""}]}},
        "body.messages[1].content",
        "must not be empty",
    ),
    ("openai-batch", {"body": {"messages": [USER]}, "custom_id": 1.5}, "custom_id", "must be text, not a number"),
    ("openai-batch", {"body": {"messages": [USER], "tools": [1]}}, "body.tools[0]", "must be an object, not a number"),
    ("mt-bench", {"question_id": 1}, "turns", "must be a list, not null"),
    (
        "mt-bench",
        {"question_id": 1, "turns": []},
        "turns",
        "is empty: a row needs at least one turn with a user message",
    ),
    ("mt-bench", {"question_id": 1, "turns": ["a", 2]}, "turns[1]", "must be text, not a number"),
    ("mt-bench", {"question_id": 1, "turns": ["a"], "reference": "r"}, "reference", "must be a list, not text"),
    ("mt-bench", {"question_id": 1, "turns": ["a"], "reference": [1]}, "reference[0]", "must be text, not a number"),
    ("mt-bench", {"question_id": 1, "turns": ["a"], "reference": ["r", "s"]}, "reference", "has 2 answers for 1 turns"),
    ("mt-bench", {"question_id": 1, "turns": ["a"], "category": 1}, "category", "must be text, not a number"),
    (
        "mt-bench",
        {"question_id": None, "turns": ["a"], "catgory": "x"},
        "catgory",
        "unknown key; did you mean 'category'?",
    ),
    (
        "gsm8k",
        {"question": "q", "answer": "12"},
        "answer",
        "must end with #### and a number; write rows without one in the native format",
    ),
    (
        "gsm8k",
        {"question": "q", "answer": "#### many"},
        "answer",
        "must end with #### and a number; write rows without one in the native format",
    ),
    ("gsm8k", {"question": "q", "answer": 12}, "answer", "must be text, not a number"),
    ("gsm8k", {"question": 1, "answer": "#### 12"}, "question", "must be text, not a number"),
    ("chat", {}, "messages", "must be a list, not null"),
    ("openai-batch", {}, "body", "must be an object, not null"),
    ("mt-bench", {}, "turns", "must be a list, not null"),
    ("gsm8k", {}, "answer", "must be text, not null"),
    ("gsm8k", {"answer": "#### 1"}, "question", "is missing: a turn needs a user message"),
    ("gsm8k", [1], None, "must be an object, not a list"),
]


@pytest.mark.parametrize(("row_format", "row", "field", "problem"), WRONG)
def test_what_is_wrong_is_told_by_the_row_s_own_names(row_format, row, field, problem):
    with pytest.raises(DatasetError) as caught:
        parse(row, row_format)
    assert (caught.value.field, caught.value.problem) == (field, problem)


def spoiled(value):
    """Copies of a JSON value, each with one part of it taken out or of another type."""
    yield from (None, True, 1, -1.5, "", "x", [], ["x"], {}, {"x": 1})
    if isinstance(value, dict):
        for key, part in value.items():
            yield {other: value[other] for other in value if other != key}
            yield from ({**value, key: worse} for worse in spoiled(part))
    if isinstance(value, list):
        for at, part in enumerate(value):
            yield value[:at] + value[at + 1 :]
            yield from ([*value[:at], worse, *value[at + 1 :]] for worse in spoiled(part))


WITH_MUCH = [
    *((SAMPLES / f"{name}.jsonl").read_bytes().split(b"\n")[0] for name in ("native", "chat", "batch", "mt_bench")),
    *(row_format.example for row_format in ROW_FORMATS.values()),
]


@pytest.mark.parametrize("example", WITH_MUCH)
def test_a_spoiled_row_is_read_or_told(example):
    row = orjson.loads(example)
    row |= {"meta": {"a": 1}, "tags": ["t"], "tool_results": {}, **row}
    row_format = format_of(row)
    told = 0
    for worse in spoiled(row):
        try:
            parse(worse, row_format)
        except DatasetError:
            told += 1
    assert told > 10


@pytest.mark.parametrize(
    ("row_format", "field", "own"),
    [
        ("native", "turns[1].target", "turns[1].target"),
        ("chat", "turns[1].target", "target"),
        ("openai-batch", "turns[0].scorer", "scorer"),
        ("mt-bench", "turns[0].assistant", "reference[0]"),
        ("gsm8k", "turns[0].target", "answer"),
        ("chat", None, None),
    ],
)
def test_a_native_field_has_a_name_in_each_row_format(row_format, field, own):
    assert field_in_row(row_format, field) == own
