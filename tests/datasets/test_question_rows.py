"""Rows with a question under a plain key: targets and golden answers under many names, choices, lists of inputs."""

import pytest

from evalkit.conversation import Message, ScorerSpec, Turn
from evalkit.datasets.row_formats import field_in_row, format_of, parse
from evalkit.errors import DatasetError
from evalkit.scorers import scoring

CHOICE = ScorerSpec("choice")
ROME = "Capital?\n\nA) Rome\nB) Paris"


def read(row):
    return parse(row, format_of(row))


@pytest.mark.parametrize(
    "question", ["question", "problem", "query", "prompt", "input", "inputs", "user", "instruction"]
)
@pytest.mark.parametrize(
    "answer",
    [
        "answer",
        "target",
        "targets",
        "ideal",
        "expected",
        "expected_output",
        "ground_truth",
        "correct_answer",
        "correct_answers",
        "gold_answer",
        "final_answer",
        "best_answer",
    ],
)
def test_a_question_and_its_answer_have_many_names(question, answer):
    assert read({question: "Capital?", answer: "Paris"}).turns == (Turn("Capital?", "Paris"),)


@pytest.mark.parametrize("golden", ["completion", "response", "output", "solution", "chosen"])
def test_an_example_of_an_answer_is_golden_and_no_target(golden):
    assert read({"prompt": "Hi", golden: "Hello"}).turns == (Turn("Hi", assistant="Hello"),)


@pytest.mark.parametrize(
    ("answer", "target"),
    [
        ("Paris", "Paris"), ("4", 4), (" -3.5 ", -3.5), ("007", "007"), ("1,234", "1,234"), (4, 4), ([], None),
        ("", None),
        (["Paris"], "Paris"), (["a", "b", "a"], ["a", "b"]), ({"text": ["a", "a"], "answer_start": [1, 1]}, "a"),
        ({"value": "V", "aliases": ["V", "W"], "type": "x"}, ["V", "W"]), ({"x": 1}, {"x": 1}), ("1" * 30, "1" * 30),
    ],
)  # fmt: skip
def test_what_the_answer_is(answer, target):
    assert read({"question": "q", "answer": answer}).turns[0].target == target


@pytest.mark.parametrize(
    ("choices", "answer"),
    [
        (["Rome", "Paris"], "B"), (["Rome", "Paris"], "b"), (["Rome", "Paris"], "(B)"), (["Rome", "Paris"], "B."),
        (["Rome", "Paris"], 1), (["Rome", "Paris"], "Paris"), (["Rome", "Paris"], ["B"]),
        ({"text": ["Rome", "Paris"], "label": ["1", "2"]}, "2"), ({"text": ["Rome", "Paris"], "label": ["1", "2"]}, 2),
        ({"text": ["Rome", "Paris"], "label": ["A", "B"]}, "B"), ({"A": "Rome", "B": "Paris"}, "B"),
        ([{"label": "a", "text": "Rome"}, {"label": "b", "text": "Paris"}], "b"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["choices", "options"])
def test_choices_are_lines_of_the_question_and_the_target_a_letter(place, choices, answer):
    assert read({"question": "Capital?", place: choices, "answer": answer}).turns == (Turn(ROME, "B", CHOICE),)


def test_choices_may_have_keys_of_their_own_or_be_in_the_question():
    assert read({"question": "Capital?", "A": "Rome", "B": "Paris", "answer": "B"}).turns == (Turn(ROME, "B", CHOICE),)
    choices = {"text": ["Rome", "Paris"], "label": ["A", "B"]}
    assert read({"question_stem": "Capital?", "choices": choices, "answerKey": "B"}).turns == (Turn(ROME, "B", CHOICE),)
    listed = [{"text": "Rome", "label": "A"}, {"text": "Paris", "label": "B"}]
    row = {"question": {"stem": "Capital?", "choices": listed}, "answerKey": "B"}
    assert read(row).turns == (Turn(ROME, "B", CHOICE),)


@pytest.mark.parametrize(
    "choices",
    [
        {"option_a": "Rome", "option_b": "Paris"}, {"optionA": "Rome", "optionB": "Paris"},
        {"Choice A": "Rome", "Choice B": "Paris"}, {"a": "Rome", "b": "Paris", "c": ""},
        {"opa": "Rome", "opb": "Paris"},
        {"endings": ["Rome", "Paris"]}, {"choices": ["A. Rome", "B. Paris"]}, {"options": ["(A)Rome", "(B) Paris"]},
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "answer",
    [
        {"answer": "B"}, {"label": 1}, {"answer_index": 1}, {"answer_idx": "B"}, {"gold": 1}, {"correct_option": "b"},
        {"cop": 1}, {"answer": "B) Paris"}, {"answer": None, "label": "(B)"},
    ],
)  # fmt: skip
def test_choices_and_the_right_one_have_many_names(choices, answer):
    assert read({"question": "Capital?", **choices, **answer}).turns == (Turn(ROME, "B", CHOICE),)


@pytest.mark.parametrize(
    ("choices", "answer", "letter"),
    [
        ([2, 3, 4, 5], 3, "B"), ([1.5, 2.5], 2.5, "B"), (["0", "1", "2", "3"], 1, "B"), (["3", "1"], "1", "B"),
        ({"text": ["a", "b"], "label": ["1", "2"]}, 1, "A"), (["A", "B) b"], "B", "B"), (["push", "pull"], 0, "A"),
        (["1. x", "2. y"], 1, "A"), (["a) x", "b) y"], "b", "B"), (["1.5", "2.5"], "2.5", "B"),
        (["1. x", "2. y"], "2) y", "B"), (["A. x", "C. y"], "B", "B"),
    ],
)  # fmt: skip
def test_a_number_is_the_choice_with_this_value_if_choices_are_numbers(choices, answer, letter):
    assert read({"question": "q", "choices": choices, "answer": answer}).turns[0].target == letter


def test_choices_that_are_only_letters_stand_in_the_question():
    assert read({"question": ROME, "choices": ["A", "B"], "answer": "B"}).turns == (Turn(ROME, "B", CHOICE),)


@pytest.mark.parametrize("key", ["uid", "qid", "task", "score"])
def test_short_keys_of_their_own_are_no_slips(key):
    assert read({"question": "q", key: 5}).meta == {key: 5}


def test_choices_with_numbers_as_names():
    (turn,) = read({"question": "Capital?", "option1": "Rome", "option2": "Paris", "answer": "2"}).turns
    assert turn == Turn(ROME, "B", CHOICE)


def test_a_completion_that_nobody_should_give_is_not_golden():
    row = {"prompt": "Hi", "completion": "Go away", "label": False}
    assert read(row).turns == (Turn("Hi"),)
    assert read({**row, "label": True}).turns == (Turn("Hi", assistant="Go away"),)


def test_calls_as_text_are_calls_if_there_are_tools():
    row = {
        "query": "q",
        "answers": '[{"name": "f", "arguments": {"a": 1}}]',
        "tools": '[{"name": "f", "parameters": {}}]',
    }
    (turn,) = read(row).turns
    assert (turn.target, turn.scorer) == ([{"name": "f", "arguments": {"a": 1}}], ScorerSpec("tool_call"))
    assert read({"query": "q", "answers": row["answers"]}).turns[0].target == row["answers"]
    assert read({**row, "answers": "{no call}"}).turns[0].target == "{no call}"


def test_a_history_has_earlier_turns():
    row = {"query": "c", "response": "d", "history": [["a", "b"]]}
    assert read(row).turns == (Turn("a", assistant="b"), Turn("c", assistant="d"))


def test_content_parts_are_a_question():
    part = {"type": "text", "text": "a", "cache": 1}
    assert read({"user": [part], "target": 1}).turns == (Turn("a", 1, parts=(part,)),)


def test_a_letter_that_is_also_a_text_is_the_letter():
    assert read({"question": "q", "choices": ["B", "A"], "answer": "A"}).turns[0].target == "A"


def test_the_scorer_of_choices_reads_them():
    (turn,) = read({"input": "Capital?", "choices": ["Rome", "Paris"], "target": "B"}).turns
    scoring.turn_checker()(turn)


def test_a_question_without_an_answer_is_asked():
    assert read({"question": "Hi", "source": "x"}).turns == (Turn("Hi"),)
    assert read({"question": "Hi", "choices": ["a", "b"], "answer": ""}).turns == (Turn("Hi\n\nA) a\nB) b"),)


def test_messages_as_the_input_end_with_the_question():
    system, user = {"role": "system", "content": "s"}, {"role": "user", "content": "q"}
    example = {"role": "assistant", "content": "a"}
    conversation = read({"input": [system, user, example, user], "ideal": ["a", "b"]})
    assert (conversation.system, conversation.turns) == ("s", (Turn("q", ["a", "b"]),))
    assert conversation.context == (Message("user", "q"), Message("assistant", "a"))
    chosen = {"prompt": [user], "chosen": [example], "rejected": [example]}
    assert read(chosen).turns == (Turn("q", assistant="a"),)


def test_alpaca_joins_instruction_and_input():
    row = {"instruction": "Add. ", "input": "2 and 2", "output": "4", "text": "template"}
    assert read(row).turns == (Turn("Add.\n\n2 and 2", assistant="4"),)
    assert read({**row, "input": ""}).turns == (Turn("Add. ", assistant="4"),)
    assert read({**row, "instruction": ""}).turns == (Turn("2 and 2", assistant="4"),)
    history = [["a", "b"], ["c", "d"]]
    turns = (Turn("a", assistant="b"), Turn("c", assistant="d"), Turn("Add. ", assistant="4"))
    assert read({"instruction": "Add. ", "history": history, "output": "4"}).turns == turns


def test_a_list_of_inputs_has_a_list_of_targets_or_one_for_the_last():
    assert read({"input": ["a", "b"], "ground_truth": ["1", "x"]}).turns == (Turn("a", 1), Turn("b", "x"))
    assert read({"input": ["a", "b"], "ground_truth": ["", None]}).turns == (Turn("a"), Turn("b"))
    assert read({"input": ["a", "b"], "ground_truth": "x"}).turns == (Turn("a"), Turn("b", "x"))


WRONG = [
    ({"question": "q", "choices": ["a", "b"], "answer": "C"}, "answer", "is 'C', which is none of the choices"),
    ({"question": "q", "choices": ["a", "b"], "answer": 2}, "answer", "is 2, which is none of the choices"),
    ({"question": "q", "choices": ["a", "b"], "answer": True}, "answer", "is True, which is none of the choices"),
    ({"question": "q", "choices": ["a", "b"], "answer": ["A", "B"]}, "answer", "has several answers"),
    ({"question": "q", "choices": ["a"], "answer": "A"}, "choices", "has 1 choices"),
    ({"question": "q", "choices": ["1. a", "2. b"], "answer": 0}, "answer", "is 0, which is none of the choices"),
    ({"question": "q", "choices": ["x", "x"], "answer": "x"}, "answer", "is 'x', which is none of the choices"),
    ({"question": "q", "choices": ["a"] * 27, "answer": "A"}, "choices", "has 27 choices"),
    ({"question": "q", "choices": "a, b", "answer": "A"}, "choices", "must be a list of texts"),
    ({"question": "q", "choices": ["a", {}], "answer": "A"}, "choices", "must be text, not an object"),
    ({"question": "q", "context": "text", "answer": "A"}, "context", "would not be sent: write it into the question"),
    ({"question": "q", "passage": "text", "answer": True}, "passage", "would not be sent: write it into the question"),
    ({"question": "q", "anwser": "A"}, "anwser", "unknown key; did you mean 'answer'?"),
    ({"question": " ", "answer": "A"}, "question", "must not be empty"),
    ({"question": "q", "prompt": "other"}, "prompt", "would not be sent: its text is not among the messages"),
    ({"input": "q", "target": "a", "sandbox": "docker"}, "sandbox", "would not be sent"),
    ({"input": [{"role": "assistant", "content": "a"}]}, "input", "must end with a user message"),
    ({"input": ["a", " "], "ground_truth": ["b", "c"]}, "input[1]", "must not be empty"),
    ({"input": ["a", "b"], "ground_truth": ["c"]}, "ground_truth", "has 1 answers for 2 questions"),
    ({"instruction": "a", "history": [["a"]]}, "history[0]", "must be a pair of texts"),
    ({"instruction": "", "output": "a"}, "instruction", "must not be empty"),
    ({"user": "q", "scorer": 3}, "scorer", "must be text, not a number"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "field", "problem"), WRONG)
def test_what_is_wrong_has_the_key_of_the_row(row, field, problem):
    with pytest.raises(DatasetError) as caught:
        read(row)
    assert caught.value.field == field
    assert caught.value.problem.startswith(problem)


@pytest.mark.parametrize("key", ["ideal", "target", "answer"])
def test_an_error_about_the_target_names_its_key(key):
    assert field_in_row("input-target", "turns[0].target", {"input": "q", key: True}) == key
