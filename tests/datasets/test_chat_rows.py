"""Fine-tuning rows: calls become targets, tool messages results; the former functions; pairs of preference."""

import pytest

from evalkit.conversation import ScorerSpec, Turn
from evalkit.datasets.row_formats import format_of, parse
from evalkit.errors import DatasetError

TOOL = {"type": "function", "function": {"name": "land", "parameters": {"type": "object"}}}
ASKED = {"role": "user", "content": "Land."}
LANDS = {"name": "land", "arguments": {"where": "here"}}
SCORER = ScorerSpec("tool_call")


def calling(*calls, content=None):
    listed = [
        {"id": name, "type": "function", "function": {"name": function, "arguments": arguments}}
        for name, function, arguments in calls
    ]
    return {"role": "assistant", "content": content, "tool_calls": listed}


CALLED = calling(("c1", "land", '{"where": "here"}'))
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "ok"}


def read(*messages, **keys):
    row = {"messages": list(messages), "tools": [TOOL], **keys}
    return parse(row, format_of(row))


def test_a_call_is_the_target_of_its_turn():
    conversation = read(ASKED, CALLED, parallel_tool_calls=False)
    assert conversation.turns == (Turn("Land.", LANDS, SCORER),)
    assert (conversation.params, conversation.tools) == ({"parallel_tool_calls": False}, (TOOL,))
    assert conversation.tool_results == {}


def test_a_tool_message_is_the_result_and_the_text_after_it_golden():
    conversation = read(ASKED, CALLED, RESULT, {"role": "assistant", "content": "Done."}, ASKED)
    assert conversation.turns == (Turn("Land.", LANDS, SCORER, "Done."), Turn("Land."))
    assert conversation.tool_results == {"land": "ok"}


def test_the_calls_of_several_messages_are_one_target_and_their_texts_one_answer():
    again = calling(("c2", "land", "{}"), ("c3", "land", ""), content="Once more.")
    results = [{**RESULT, "tool_call_id": name} for name in ("c2", "c3")]
    conversation = read(ASKED, CALLED, RESULT, again, *results, {"role": "assistant", "content": "Done."})
    empty = {"name": "land", "arguments": {}}
    assert conversation.turns == (Turn("Land.", [LANDS, empty, empty], SCORER, "Once more.\n\nDone."),)


def test_results_that_depend_on_the_arguments_are_kept_by_them():
    there = calling(("c2", "land", '{"where": "there"}'))
    results = [RESULT, {"role": "tool", "tool_call_id": "c2", "content": "too far"}]
    conversation = read(ASKED, CALLED, results[0], ASKED, there, results[1], ASKED, CALLED, results[0])
    listed = [{"arguments": {"where": "here"}, "result": "ok"}, {"arguments": {"where": "there"}, "result": "too far"}]
    assert conversation.tool_results == {"land": {"$by_arguments": listed}}


def test_one_id_for_several_calls_is_that_of_the_latest():
    again = calling(("c1", "land", '{"where": "there"}'))
    conversation = read(ASKED, CALLED, RESULT, again, {**RESULT, "content": "no"})
    assert [one["result"] for one in conversation.tool_results["land"]["$by_arguments"]] == ["ok", "no"]


def test_functions_by_their_former_name_are_tools():
    called = {"role": "assistant", "content": None, "function_call": {"name": "land", "arguments": '{"where": "here"}'}}
    row = {
        "messages": [ASKED, called, {"role": "function", "name": "land", "content": "ok"}],
        "functions": [TOOL["function"]],
        "function_call": {"name": "land"},
    }
    conversation = parse(row, format_of(row))
    assert conversation.turns == (Turn("Land.", LANDS, SCORER),)
    assert (conversation.tools, conversation.tool_results) == ((TOOL,), {"land": "ok"})
    assert conversation.params == {"tool_choice": {"type": "function", "function": {"name": "land"}}}


def test_functions_without_a_call_are_sent_as_they_are():
    row = {"messages": [ASKED], "functions": [TOOL["function"]], "function_call": "auto"}
    assert parse(row, "chat").params == {"functions": [TOOL["function"]], "function_call": "auto"}


def test_a_target_of_the_row_replaces_the_calls():
    assert read(ASKED, CALLED, target="done").turns == (Turn("Land.", "done"),)
    assert read(ASKED, CALLED, target=[], scorer="tool_call").turns == (Turn("Land.", [], SCORER),)


def test_notes_of_fine_tuning_are_not_sent():
    conversation = read(ASKED, {"role": "assistant", "content": "a", "weight": 0}, ASKED)
    assert conversation.turns == (Turn("Land.", assistant="a"), Turn("Land."))


def test_examples_with_names_are_context():
    example = {"role": "system", "name": "example_user", "content": "e"}
    (message,) = read(example, ASKED).context
    assert message.to_json() == example


def test_preference_rows_ask_the_input_and_keep_the_preferred_output():
    row = {
        "input": {
            "messages": [{"role": "system", "content": "s"}, ASKED],
            "tools": [TOOL],
            "parallel_tool_calls": True,
        },
        "preferred_output": [CALLED],
        "non_preferred_output": [{"role": "assistant", "content": "no"}],
    }
    conversation = parse(row, format_of(row))
    assert (conversation.system, conversation.turns) == ("s", (Turn("Land.", LANDS, SCORER),))
    assert conversation.params == {"parallel_tool_calls": True}
    assert conversation.meta == {"non_preferred_output": row["non_preferred_output"]}


OTHER = {**RESULT, "content": "no"}
WRONG = [
    ((ASKED, CALLED, RESULT, ASKED, CALLED, OTHER), "messages[5]", "is another result than before of the same call"),
    ((ASKED, CALLED, {**RESULT, "tool_call_id": "x"}), "messages[2]", "a tool message that belongs to no call"),
    ((ASKED, calling(("c", "land", "[1]"))), "messages[1].tool_calls[0].function.arguments", "must be the text"),
    ((ASKED, calling(("c", "land", "{"))), "messages[1].tool_calls[0].function.arguments", "must be the text"),
    ((ASKED, calling(("c", "fly", "{}"))), "tools", "turn 1 calls fly, which is not among the tools of the row"),
    (({**ASKED, "name": "Ann"},), "messages[0].name", "would not be sent: write the name into the question"),
]  # fmt: skip


@pytest.mark.parametrize(("messages", "field", "problem"), WRONG)
def test_what_cannot_be_kept_is_refused(messages, field, problem):
    with pytest.raises(DatasetError) as caught:
        read(*messages)
    assert caught.value.field == field
    assert caught.value.problem.startswith(problem)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("question", "What?"), ("prompt", "What?"), ("instruction", "What?"), ("instructions", "Be kind."),
        ("image", "x.png"), ("images", ["x.png"]), ("documents", ["a"]), ("passage", "a"), ("choices", ["a", "b"]),
        ("generation_config", {"temperature": 0}), ("max_new_tokens", 5), ("history", [["a", "b"]]),
        ("conversations", [{}]), ("files", {"a": "b"}), ("prefill", "Sure"), ("maxTokens", 5), ("system-prompt", "Hi"),
        ("SYSTEM", "Hi"), ("preamble", "Hi"), ("inferenceConfig", {"topP": 1}), ("config", {"temperature": 0}),
        ("text", {"format": {"type": "json_object"}}), ("tool_definitions", [{"name": "f"}]), ("until", ["x"]),
        ("few_shot_examples", [{"q": "1+1?"}]), ("contexts", ["The drone."]), ("chat_history", [["a", "b"]]),
        ("suffix", "now"), ("image_path", "x.png"), ("vars", {"n": 1}), ("image2", "x.png"),
        ("user2", "And?"), ("question_2", "And?"), ("Turn 2", "And?"), ("num_return_sequences", 3),
    ],
)  # fmt: skip
def test_what_would_change_what_is_asked_is_refused_by_name(key, value):
    with pytest.raises(DatasetError) as caught:
        read(ASKED, **{key: value})
    assert caught.value.field == key
    assert read(ASKED, meta={key: value}).meta == {key: value}


@pytest.mark.parametrize(
    ("key", "value"),
    [("prompt", "Land."), ("question", " Land. "), ("images", []), ("n", 1), ("prompt_id", "x"), ("answer", "x"),
     ("shots", 5), ("contexts", []), ("story", "Land"), ("metadata", {"temperature": 0, "source": "x"}),
     ("best_of", 1), ("turn", 2), ("user", "u1"), ("reasoning", "It must.")],
)  # fmt: skip
def test_what_changes_nothing_is_stored(key, value):
    assert read(ASKED, **{key: value}).meta == {key: value}


def test_parts_of_responses_are_those_of_chat_completions():
    answer = {"role": "assistant", "content": [{"type": "output_text", "text": "a", "annotations": []}]}
    asked = {"role": "user", "content": [{"type": "input_text", "text": "q"}]}
    assert read(asked, answer).turns[0] == Turn("q", assistant="a")
    asked["content"].append({"type": "input_image", "image_url": "https://x.org/a.png"})
    (_, image) = read(asked).turns[0].parts
    assert image == {"type": "image_url", "image_url": {"url": "https://x.org/a.png", "detail": "auto"}}


@pytest.mark.parametrize("key", ["expected", "ideal", "reference_answer", "ground_truth", "correct_answer"])
def test_an_expected_answer_is_the_target_of_the_last_turn(key):
    assert read(ASKED, {"role": "assistant", "content": "x"}, ASKED, **{key: "4"}).turns[-1].target == 4
    assert read(ASKED, **{key: {"x": 1}}).meta == {key: {"x": 1}}
    assert read(ASKED, **{key: "4", "target": 5}).turns[-1].target == 5
