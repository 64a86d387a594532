"""The bundled datasets: readable, free of doubles, their targets right and their golden answers worth 1."""

import ast
import json
import operator
import re
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest

from evalkit.conversation import ToolCall
from evalkit.datasets import reader
from evalkit.record import Answer
from evalkit.run import Run
from evalkit.scorers import scoring

DATA = Path(__file__).parent.parent / "data"
NAMES = ("primary_math", "short_facts", "instructions", "function_calls")
AT_LEAST = {"primary_math": 60, "short_facts": 40, "instructions": 30, "function_calls": 20}
DEMO_ROWS = 24

OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


def evaluate(expression):
    """An arithmetic expression, computed exactly: 0.6 + 0.7 is 13/10."""

    def value(node):
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return Fraction(ast.get_source_segment(expression, node))
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return Fraction(OPERATORS[type(node.op)](value(node.left), value(node.right)))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Fraction":
            return Fraction(*(value(argument) for argument in node.args))
        raise ValueError(f"no arithmetic: {ast.unparse(node)}")

    return value(ast.parse(expression, mode="eval").body)


@cache
def conversations(name):
    return list(reader.read(DATA / f"{name}.jsonl"))


def turns(name):
    return [(conversation, turn) for conversation in conversations(name) for turn in conversation.turns]


def every_turn():
    return [(conversation, turn) for name in NAMES for conversation, turn in turns(name)]


def value_of(turn, text="", calls=()):
    return scoring.score(turn, Answer(text=text, tool_calls=tuple(calls))).value


def asked_for(target):
    """The calls that a target of tool_call names, as a model would make them."""
    wanted = target if isinstance(target, list) else [target]
    return [ToolCall(call["name"], json.dumps(call["arguments"])) for call in wanted]


def test_no_other_dataset_lies_there_unchecked():
    assert {path.stem for path in DATA.glob("*.jsonl")} == {*NAMES, "judged_answers"}  # see test_labels


@pytest.mark.parametrize("name", NAMES)
def test_dataset_can_be_asked_with_golden_history(name):
    reader.check(DATA / f"{name}.jsonl", history="golden", check_turn=scoring.turn_checker())
    assert len(conversations(name)) >= AT_LEAST[name]


@pytest.mark.parametrize("name", NAMES)
def test_no_id_and_no_question_comes_twice(name):
    ids = [conversation.id for conversation in conversations(name)]
    questions = [" ".join(turn.user.casefold().split()) for _, turn in turns(name)]
    assert len(set(ids)) == len(ids)
    assert sorted(set(questions)) == sorted(questions)


@pytest.mark.parametrize("name", NAMES)
def test_every_turn_has_a_target_and_every_row_a_tag(name):
    assert [turn.user for _, turn in turns(name) if turn.target is None or turn.scorer is None] == []
    assert [conversation.id for conversation in conversations(name) if not conversation.tags] == []


def test_golden_answers_score_one():
    golden = [(conversation.id, turn) for conversation, turn in every_turn() if turn.scorer.name != "tool_call"]
    assert [(id, turn.assistant) for id, turn in golden if value_of(turn, turn.assistant) != 1] == []


def test_targets_of_function_calls_score_one_when_called_and_zero_when_only_talked_about():
    calls = [(conversation.id, turn) for conversation, turn in every_turn() if turn.scorer.name == "tool_call"]
    assert [id for id, turn in calls if value_of(turn, calls=asked_for(turn.target)) != 1] == []
    assert [id for id, turn in calls if value_of(turn, text=turn.assistant or turn.user) != 0] == []


def test_answers_off_by_one_score_zero():
    numeric = [(conversation.id, turn) for conversation, turn in every_turn() if turn.scorer.name == "number"]
    assert [id for id, turn in numeric if value_of(turn, f"The answer is {turn.target + 1}.") != 0] == []


class TestPrimaryMath:
    def test_first_row_is_the_conversation_of_the_guide(self):
        first = conversations("primary_math")[0]
        assert first.system == "You are a math teacher for primary school students."
        assert [(turn.user, turn.target) for turn in first.turns] == [
            ("What is the sum of 12 + 23?", 35),
            ("Thank you. What is the product of 12 * 23?", 276),
        ]
        assert first.turns[0].assistant == "The result of 12 + 23 is 35."

    def test_every_target_is_what_its_expression_gives(self):
        for conversation in conversations("primary_math"):
            computed = [evaluate(expression) for expression in conversation.meta["check"]]
            assert computed == [Fraction(str(turn.target)) for turn in conversation.turns], conversation.id

    def test_conversations_have_two_to_five_turns_and_one_grade(self):
        rows = conversations("primary_math")
        assert {len(row.turns) for row in rows} == {2, 3, 4, 5}
        grades = [[tag for tag in row.tags if tag.startswith("grade-")] for row in rows]
        assert all(len(grade) == 1 for grade in grades)
        assert {grade[0] for grade in grades} == {f"grade-{n}" for n in range(1, 6)}

    def test_only_decimals_are_given_a_tolerance_and_a_small_one(self):
        for _, turn in turns("primary_math"):
            tolerance = turn.scorer.options.get("abs_tol", 0)
            assert tolerance == (0 if isinstance(turn.target, int) else 0.001), turn.user

    def test_the_part_of_the_demo_is_short_and_of_mixed_difficulty(self):
        demo = conversations("primary_math")[:DEMO_ROWS]
        assert {len(row.turns) for row in demo} == {2, 3, 4}
        assert sum(len(row.turns) for row in demo) < 80
        assert {tag for row in demo for tag in row.tags} >= {"grade-1", "grade-2", "grade-3", "grade-4", "word-problem"}


WRONG = [
    ("opposite-word", 0, "The opposite of hot is cold."),
    ("opposite-word", 1, "cold"),
    ("yes-or-no", 0, "Yes, it is."),
    ("colour-of-mix", 1, "green"),
    ("france-json", 0, '{"country": "France", "capital": "Lyon"}'),
    ("france-json", 1, '{"country": "France", "capital": "Paris"}'),
    ("person-json", 0, '{"name": "Elif", "age": "12"}'),
    ("any-json", 0, "A fox has four legs."),
    ("weekend-json", 0, '["Sunday", "Saturday"]'),
    ("three-fruits", 0, "apple, pear"),
    ("three-fruits", 0, "apple, pear, plum, fig"),
    ("three-fruits", 1, "apple, pear, plum"),
    ("seasons-bullets", 0, "- spring\n- summer\n- autumn"),
    ("alphabet-order", 0, "apple, pear, fig"),
    ("without-snow", 0, "The land lies under snow."),
    ("without-snow", 0, "It snows."),
    ("must-use-words", 0, "She rode her bicycle home."),
    ("no-letter-e", 0, "red"),
    ("shout-it", 1, "GOOD MORNING"),
    ("capital-sentence", 0, "HAVE A GOOD Night!"),
    ("letters-in-word", 0, "six"),
    ("minutes-number", 1, "120"),
    ("iso-date", 0, "05/03/2024"),
    ("clock-format", 0, "3:30"),
    ("key-value-line", 1, "city=Lima;country=Peru"),
    ("three-words", 0, "The deep blue sea"),
    ("three-words", 1, "The deep blue sea"),
    ("two-sentences", 0, "Brushing removes food."),
    ("start-and-end", 0, "My cats sleep for most of the day!"),
    ("start-and-end", 1, "Cats sleep for most of the day!"),
    ("hash-tags", 0, "#beach #summer #sea"),
    ("copy-exactly", 0, "the quick fox"),
    ("brackets", 1, "[Thursday]"),
]


@pytest.mark.parametrize(("id", "turn", "answer"), WRONG)
def test_answer_that_breaks_the_instruction_scores_zero(id, turn, answer):
    row = next(row for row in conversations("instructions") if row.id == id)
    assert value_of(row.turns[turn], answer) == 0


KINDS = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list}


class TestFunctionCalls:
    def functions(self, conversation):
        return {tool["function"]["name"]: tool["function"] for tool in conversation.tools}

    def test_tools_are_described_and_flat(self):
        for conversation in conversations("function_calls"):
            for function in self.functions(conversation).values():
                assert function["description"]
                properties = function["parameters"]["properties"]
                assert {p["type"] for p in properties.values()} <= set(KINDS), conversation.id
                assert all(p["description"] for p in properties.values())
                assert function["parameters"]["required"] == list(properties)

    def test_arguments_that_are_expected_fit_the_function(self):
        for conversation, turn in turns("function_calls"):
            if turn.scorer.name != "tool_call":
                continue
            for call in turn.target if isinstance(turn.target, list) else [turn.target]:
                properties = self.functions(conversation)[call["name"]]["parameters"]["properties"]
                assert call["arguments"].keys() == properties.keys(), conversation.id
                for key, value in call["arguments"].items():
                    kind = properties[key]["type"]
                    assert isinstance(value, KINDS[kind]), (conversation.id, key)
                    assert isinstance(value, bool) == (kind == "boolean"), (conversation.id, key)

    def test_a_call_is_demanded_only_where_every_turn_needs_one(self):
        for conversation in conversations("function_calls"):
            answered_from_result = bool(conversation.tool_results)
            needs = all(turn.scorer.name == "tool_call" or answered_from_result for turn in conversation.turns)
            assert conversation.params["tool_choice"] == "auto" or needs, conversation.id

    def test_some_rows_need_no_call_and_some_lean_on_a_result(self):
        rows = conversations("function_calls")
        assert sum("no-call" in row.tags for row in rows) >= 3
        assert sum(bool(row.tool_results) and row.turns[0].scorer.name != "tool_call" for row in rows) >= 4


def test_counts_in_the_data_card_are_those_of_the_files():
    card = (DATA / "README.md").read_text(encoding="utf-8")
    counts = re.findall(r"\[`(\w+)\.jsonl`\].*?\| (\d+) \| (\d+) \|", card)
    told = {name: (int(rows), int(asked)) for name, rows, asked in counts}
    assert told == {name: (len(conversations(name)), len(turns(name))) for name in NAMES}


@pytest.mark.parametrize(
    "path", sorted((DATA / "course").rglob("*.evalkit")), ids=lambda path: str(path.relative_to(DATA))
)
def test_recorded_runs_name_no_path_of_a_machine_and_can_be_read(path):
    assert not re.search(rb"/(?:work|root|home|tmp|Users|usr|var)/", path.read_bytes())
    assert Run(path).info["dataset"]["path"].startswith("data/")
