"""Native rows: the round trip, and the whole message for every wrong key and type."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.conversation import Conversation, Message, ScorerSpec, ToolCall, Turn, stored_result
from evalkit.datasets.native_rows import parse_row
from evalkit.errors import DatasetError

TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


def test_a_row_becomes_a_conversation():
    row = {
        "id": 12,
        "system": "Be short.",
        "context": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
        "tools": [TOOL],
        "tool_results": {"get_weather": {"celsius": 3}},
        "params": {"temperature": 0},
        "tags": ["x", "y"],
        "group": 4,
        "meta": {"any": None},
        "turns": [
            {"user": "Hi", "target": None, "assistant": "Hello"},
            {"user": "2?", "target": 2, "scorer": {"name": "number", "abs_tol": 0.5}},
        ],
    }
    assert parse_row(row) == Conversation(
        id="12",
        turns=(Turn("Hi", assistant="Hello"), Turn("2?", 2, ScorerSpec("number", {"abs_tol": 0.5}))),
        system="Be short.",
        context=(Message("user", "a\nb"),),
        tools=(TOOL,),
        tool_results={"get_weather": {"celsius": 3}},
        params={"temperature": 0},
        tags=("x", "y"),
        group="4",
        meta={"any": None},
    )


def test_null_is_the_same_as_nothing():
    row = {"id": None, "system": None, "tags": None, "turns": [{"user": "Hi", "scorer": None, "assistant": None}]}
    assert parse_row(row, position=12) == Conversation("row-000012", (Turn("Hi"),))


ONE = [{"user": "Hi"}]
WRONG = [
    ([], None, "must be an object, not a list"),
    ({"tunrs": ONE}, "tunrs", "unknown key; did you mean 'turns'?"),
    (
        {"turns": ONE, "x": 1},
        "x",
        "unknown key. Known here: id, system, context, tools, tool_results, params, tags, group, meta, turns",
    ),
    ({}, "turns", "is missing: a row needs at least one turn with a user message"),
    ({"turns": None}, "turns", "is missing: a row needs at least one turn with a user message"),
    ({"turns": []}, "turns", "is empty: a row needs at least one turn with a user message"),
    ({"turns": {}}, "turns", "must be a list, not an object"),
    ({"turns": ["Hi"]}, "turns[0]", 'must be an object such as {"user": "Hello"}, not text'),
    ({"turns": [{}]}, "turns[0].user", "is missing: a turn needs a user message"),
    ({"turns": [{"user": None}]}, "turns[0].user", "is missing: a turn needs a user message"),
    ({"turns": [*ONE, {"user": 5}]}, "turns[1].user", "must be text, not a number"),
    ({"turns": [{"user": ""}]}, "turns[0].user", "must not be empty"),
    ({"turns": [{"user": " \n"}]}, "turns[0].user", "must not be empty"),
    ({"turns": [{"user": "a", "asistant": "b"}]}, "turns[0].asistant", "unknown key; did you mean 'assistant'?"),
    ({"turns": [{"user": "a", "q": 1}]}, "turns[0].q", "unknown key. Known here: user, target, scorer, assistant"),
    ({"turns": [{"user": "a", "assistant": ["b"]}]}, "turns[0].assistant", "must be text, not a list"),
    ({"turns": [{"user": "a", "assistant": ""}]}, "turns[0].assistant", "must not be empty"),
    ({"turns": [{"user": "a", "scorer": 1}]}, "turns[0].scorer", "must be text, not a number"),
    (
        {"turns": [{"user": "a", "scorer": {"abs_tol": 1}}]},
        "turns[0].scorer",
        'has no name: write "number" or {"name": "number", "abs_tol": 0.5}',
    ),
    ({"turns": [{"user": "a", "scorer": []}]}, "turns[0].scorer", "is empty: name at least one scorer"),
    ({"turns": [{"user": "a", "scorer": ["number", 1]}]}, "turns[0].scorer[1]", "must be text, not a number"),
    ({"turns": [{"user": "a", "scorer": [["number"]]}]}, "turns[0].scorer[0]", "must be text, not a list"),
    *(
        (
            {"turns": [{"user": "a", "scorer": ["exact", {"name": "number", "weight": weight}]}]},
            "turns[0].scorer[1].weight",
            "must be a number above 0, at most a million",
        )
        for weight in (0, -1, "2", True, None, 10**400)
    ),
    (
        {"turns": [{"user": "a", "scorer": {"name": "number", "weight": 2}}]},
        "turns[0].scorer.weight",
        "is allowed only in a list of several scorers",
    ),
    ({"turns": [{"user": "a", "scorer": "two words"}]}, "turns[0].scorer", "'two words' is not the name of a scorer"),
    ({"id": True, "turns": ONE}, "id", "must be text, not true or false"),
    ({"id": 1.5, "turns": ONE}, "id", "must be text, not a number"),
    ({"id": "", "turns": ONE}, "id", "must not be empty"),
    ({"system": 1, "turns": ONE}, "system", "must be text, not a number"),
    ({"tags": "x", "turns": ONE}, "tags", "must be a list, not text"),
    ({"tags": ["x", 1], "turns": ONE}, "tags[1]", "must be text, not a number"),
    ({"group": [], "turns": ONE}, "group", "must be text, not a list"),
    ({"meta": [], "turns": ONE}, "meta", "must be an object, not a list"),
    ({"params": 1, "turns": ONE}, "params", "must be an object, not a number"),
    (
        {"params": {"stream": True}, "turns": ONE},
        "params.stream",
        "must not be among the parameters: the run sets this itself",
    ),
    (
        {"params": {"tools": []}, "turns": ONE},
        "params.tools",
        "must not be among the parameters: write them outside params, as tools",
    ),
    (
        {"tools": [{"name": "f"}], "turns": ONE},
        "tools[0]",
        'must look like {"type": "function", "function": {"name": …, "parameters": …}}',
    ),
    ({"tool_results": {"f": 1}, "turns": ONE}, "tool_results.f", "no tool has this name: the row has no tools"),
    (
        {"tools": [TOOL], "tool_results": {"f": 1}, "turns": ONE},
        "tool_results.f",
        "no tool has this name: the tools are get_weather",
    ),
    ({"context": ["a"], "turns": ONE}, "context[0]", "must be an object, not text"),
    ({"context": [{"content": "a"}], "turns": ONE}, "context[0].role", "is missing"),
    (
        {"context": [{"role": "bot", "content": "a"}], "turns": ONE},
        "context[0].role",
        "must be one of system, developer, user, assistant, tool, not 'bot'",
    ),
    (
        {"context": [{"role": ["user"], "content": "a"}], "turns": ONE},
        "context[0].role",
        "must be one of system, developer, user, assistant, tool, not ['user']",
    ),
    ({"context": [{"role": "user"}], "turns": ONE}, "context[0].content", "is missing"),
    ({"context": [{"role": "user", "content": 1}], "turns": ONE}, "context[0].content", "must be text, not a number"),
    (
        {"context": [{"role": "user", "content": [{"type": "image_url"}]}], "turns": ONE},
        "context[0].content[0].image_url",
        "must be an object, not null",
    ),
    (
        {"context": [{"role": "user", "content": "a", "speaker": "Ann"}], "turns": ONE},
        "context[0].speaker",
        "unknown key. Known here: role, content, tool_calls, tool_call_id, name",
    ),
    (
        {
            "context": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}],
            "turns": ONE,
        },
        "context[0].tool_calls[0]",
        'must look like {"id": …, "function": {"name": …, "arguments": "JSON text"}}',
    ),
]


@pytest.mark.parametrize(("row", "field", "problem"), WRONG)
def test_what_is_wrong_is_told_with_its_place(row, field, problem):
    with pytest.raises(DatasetError) as caught:
        parse_row(row)
    assert (caught.value.field, caught.value.problem) == (field, problem)


@pytest.mark.parametrize("name", ["os:system", "my.scorers", "./score.py", "eval(1)", "a\\b"])
@pytest.mark.parametrize("form", [lambda name: name, lambda name: {"name": name}, lambda name: ["number", name]])
def test_a_dataset_cannot_name_code(name, form):
    with pytest.raises(DatasetError) as caught:
        parse_row({"turns": [{"user": "a", "scorer": form(name)}]})
    assert caught.value.problem == f"{name!r} names code: a dataset is data and can only name existing scorers"


def test_a_message_about_something_long_stays_short():
    for row in ({"x" * 100_000: 1}, {"turns": [{"user": "a", "scorer": ":" * 100_000}]}):
        with pytest.raises(DatasetError) as caught:
            parse_row(row)
        assert len(str(caught.value)) < 300


text = st.text(max_size=8)
words = text.filter(lambda value: value.strip())
json_value = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
options = st.dictionaries(text.filter(lambda key: key not in ("name", "weight")), json_value, max_size=2)
scorer_name = st.from_regex(r"[a-z]\w{0,8}", fullmatch=True)
weighed = st.builds(ScorerSpec, scorer_name, options, st.floats(0.001, 1000))
scorer = st.builds(ScorerSpec, scorer_name, options) | st.lists(weighed, min_size=2, max_size=3).map(ScorerSpec.several)
call = st.builds(ToolCall, text, text, st.none() | text, extra=st.none())
message = st.builds(
    Message, st.sampled_from(["user", "assistant", "tool"]), text, st.just(()), st.none() | text, parts=st.just(()),
    name=st.none(), extra=st.none(),
) | st.builds(
    Message, st.just("assistant"), st.none() | text, st.lists(call, min_size=1, max_size=2).map(tuple), st.none(),
    parts=st.just(()), name=st.none(), extra=st.none(),
)  # fmt: skip
names = st.lists(st.from_regex(r"[a-z]{1,5}", fullmatch=True), unique=True, max_size=2)


@st.composite
def conversations(draw):
    functions = draw(names)
    return Conversation(
        id=draw(words),
        turns=tuple(
            draw(
                st.lists(
                    st.builds(Turn, words, json_value, st.none() | scorer, st.none() | words, parts=st.just(())),
                    min_size=1,
                    max_size=3,
                )
            )
        ),
        system=draw(st.none() | text.filter(bool)),
        context=tuple(draw(st.lists(message, max_size=2))),
        tools=tuple({"type": "function", "function": {"name": name}} for name in functions),
        tool_results={name: draw(json_value) for name in functions},
        params=draw(st.dictionaries(st.sampled_from(["temperature", "seed", "stop"]), json_value)),
        tags=tuple(draw(st.lists(words, max_size=2))),
        group=draw(st.none() | words),
        meta=draw(st.dictionaries(text, json_value, max_size=2)),
    )


def test_a_list_of_one_scorer_is_that_scorer():
    (turn,) = parse_row({"turns": [{"user": "a", "scorer": [{"name": "number", "weight": 3, "abs_tol": 1}]}]}).turns
    assert turn.scorer == ScorerSpec("number", {"abs_tol": 1})


@settings(max_examples=100, deadline=None)
@given(conversations())
def test_a_conversation_comes_back_from_its_row(conversation):
    row = orjson.loads(orjson.dumps(conversation.to_json()))
    assert parse_row(row) == conversation
    assert parse_row(row).content_hash == conversation.content_hash


def test_a_context_keeps_what_belongs_to_its_calls():
    call = {"id": "c1", "type": "function", "signature": "S", "function": {"name": "clock", "arguments": "{}", "x": 1}}
    context = [
        {"role": "user", "content": "Time?"},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "Hm", "refusal": None},
        {"role": "tool", "content": "12:05", "tool_call_id": "c1"},
        {"role": "assistant", "content": "12:05", "reasoning_content": "So."},
    ]
    conversation = parse_row({"id": "t", "context": context, "turns": [{"user": "And now?"}]})
    assert parse_row(conversation.to_json()) == conversation
    assert conversation.to_json()["context"][2] == context[2]  # names are added only when it is sent
    _, asked, result, answered = (message.to_json() for message in conversation.opening())
    assert (asked["tool_calls"], asked["reasoning_content"]) == ([call], "Hm")
    assert (result["name"], "reasoning_content" in answered) == ("clock", False)


def test_results_can_depend_on_the_arguments():
    row = {"turns": [{"user": "a"}], "tools": [TOOL]}
    results = {"get_weather": {"$by_arguments": [{"arguments": {"city": "Rome"}, "result": 21}]}}
    conversation = parse_row({**row, "tool_results": results})
    for arguments, found in (('{"city":"Rome"}', (True, 21)), ('{"city":"Oslo"}', (False, None)), ("{", (False, None))):
        assert stored_result(conversation.tool_results, ToolCall("get_weather", arguments)) == found
    assert stored_result({"get_weather": None}, ToolCall("get_weather", "{")) == (True, None)
    assert stored_result({}, ToolCall("get_weather", "{}")) == (False, None)


@pytest.mark.parametrize("listed", [{}, 3, [3], [{"arguments": {}}], [{"arguments": 3, "result": 1}]])
def test_results_by_arguments_of_another_form_are_refused(listed):
    row = {"turns": [{"user": "a"}], "tools": [TOOL], "tool_results": {"get_weather": {"$by_arguments": listed}}}
    with pytest.raises(DatasetError, match=r'^field tool_results\.get_weather: must look like \{"\$by_arguments"'):
        parse_row(row)
