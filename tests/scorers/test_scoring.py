"""Scoring a turn: which scorer, what counts as its answer, and what is never an exception."""

import orjson
import pytest

from evalkit.conversation import Message, ScorerSpec, ToolCall, Turn
from evalkit.datasets.native_rows import parse_row
from evalkit.errors import DatasetError, SettingsError
from evalkit.record import Answer, Attempt, Score, Timing, TurnRecord
from evalkit.runfile import schema
from evalkit.runfile.record_rows import score_row
from evalkit.runfile.turn_columns import json_value
from evalkit.scorers import scoring

NAMES = [
    "choice", "chrf", "date", "edit", "exact", "f1", "includes",
    "json", "language", "length", "number", "regex", "rouge_l", "tool_call",
]  # fmt: skip


def spec(name, **options):
    return ScorerSpec(name, options)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (35, "number"),
        (0.5, "number"),
        ("Paris", "includes"),
        ("35", "includes"),
        (["red", "blue"], "includes"),
        ({"name": "f", "arguments": {}}, "tool_call"),
        ({"name": "f"}, "tool_call"),
        ([{"name": "f", "arguments": {}}, {"name": "g"}], "tool_call"),
        ({"name": "Ann", "age": 3}, "json"),
        ({"a": 1}, "json"),
        ([1, 2], "json"),
        (["a", 2], "json"),
        ([], "json"),
        (True, None),
        (False, None),
        (None, None),
    ],
)
def test_the_target_s_type_picks_the_scorer(target, name):
    assert scoring.default_for(target) == (ScorerSpec(name) if name else None)


def test_the_turn_s_scorer_goes_before_the_run_s():
    answer = Answer(text="It is 35.")
    assert scoring.score(Turn("?", 35), answer).scorer == "number"
    assert scoring.score(Turn("?", 35), answer, default=spec("exact")).scorer == "exact"
    assert scoring.score(Turn("?", 35, spec("includes")), answer, default=spec("exact")).scorer == "includes"


def test_a_turn_without_target_has_no_score():
    assert scoring.score(Turn("?"), Answer(text="x")) is None
    assert scoring.score(Turn("?", None, spec("exact")), Answer(text="x")) is None


def test_of_a_record_the_calls_of_all_tool_rounds_count():
    call = ToolCall("f", "{}", "1")
    record = TurnRecord(
        "c",
        1,
        1,
        attempts=(Attempt(Timing(0, 0, 0), answer=Answer(text="done")),),
        exchange=(Message("assistant", None, (call,)), Message("tool", "r", tool_call_id="1")),
    )
    assert scoring.score(Turn("?", {"name": "f"}), record).value == 1
    assert scoring.score(Turn("?", "done"), record).value == 1
    assert scoring.score(Turn("?", "done"), TurnRecord("c", 1, 1)).value == 0


def test_a_refusal_stands_for_a_missing_text_and_scratch_does_not_count():
    assert scoring.score(Turn("?", "cannot"), Answer(refusal="I cannot say.")).value == 1
    assert scoring.score(Turn("?", "cannot"), Answer(text="Yes", refusal="I cannot say.")).value == 0
    assert scoring.score(Turn("?", "yes", spec("exact")), Answer(text="<think>no?</think>\n\nYes.")).value == 1
    for answer in (Answer(text="\n", reasoning="35"), Answer("<think>35"), Answer("35</think>\n")):
        score = scoring.score(Turn("?", "35"), answer)
        assert score.value is None
        assert score.reason.startswith("the answer is all reasoning and no text: check")
    cut_off = scoring.score(Turn("?", "35"), Answer("<think>35", finish_reason="length"))
    assert "raise max_tokens" in cut_off.reason


@pytest.mark.parametrize(
    ("turn", "score"),
    [
        (
            Turn("?", 1, spec("nummer")),
            Score(
                "nummer",
                None,
                "no scorer is called 'nummer'. Known, most similar first: number, "
                + ", ".join(name for name in NAMES if name != "number"),
            ),
        ),
        (
            Turn("?", 1, spec("number", tol=1)),
            Score(
                "number", None, "the scorer number has no option 'tol'. Its options: abs_tol, rel_tol, which, decimal"
            ),
        ),
        (Turn("?", "x", spec("number")), Score("number", None, 'the target is "x": the scorer number needs a number')),
        (Turn("?", True), Score("none", None, "true and false have no default scorer: name one, such as json")),
    ],
)
def test_what_cannot_be_scored_says_why(turn, score):
    assert scoring.score(turn, Answer(text="1")) == score


@pytest.fixture
def shouted():
    @scoring.register("shouted", check=scoring.text_target)
    def shouted(answer, target, *, times: int = 1):
        """The answer shouts the target."""
        return scoring.Verdict(target.upper() in answer.text, extracted=answer.text[times])

    yield
    from evalkit.scorers import registry

    del registry._SCORERS["shouted"]


@pytest.mark.usefixtures("shouted")
def test_a_scorer_of_one_s_own_is_one_function():
    assert "shouted" in scoring.names()
    assert scoring.find("shouted").summary == "The answer shouts the target."
    assert scoring.find("shouted").options == {"times": 1}
    assert scoring.score(Turn("?", "hi", spec("shouted", times=2)), Answer(text="HI!")) == Score(
        "shouted", 1.0, None, "!"
    )
    with pytest.raises(SettingsError, match=r"^the option times of the scorer shouted is true: it must be int$"):
        scoring.validate(spec("shouted", times=True))


@pytest.mark.usefixtures("shouted")
def test_a_scorer_that_breaks_ends_no_run():
    score = scoring.score(Turn("?", "hi", spec("shouted", times=9)), Answer(text="HI!"))
    assert score == Score("shouted", None, "the scorer failed: IndexError: string index out of range")


def test_every_scorer_says_what_it_does():
    assert scoring.names() == NAMES
    for name in scoring.names():
        assert scoring.find(name).summary.endswith(".")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            spec("exakt"),
            "no scorer is called 'exakt'. Known, most similar first: exact, "
            + ", ".join(name for name in NAMES if name != "exact"),
        ),
        (spec("exact", cases=True), "the scorer exact has no option 'cases'. Its options: case_sensitive, punctuation"),
        (
            spec("json", strict=True),
            "the scorer json has no option 'strict'. Its options: schema, only_fields, in_prose",
        ),
        (
            spec("exact", punctuation="no"),
            'the option punctuation of the scorer exact is "no": it must be true or false',
        ),
        (spec("number", abs_tol=-1), "the option abs_tol of the scorer number is -1: it must be a number, 0 or more"),
        (
            spec("number", rel_tol=True),
            "the option rel_tol of the scorer number is true: it must be a number, 0 or more",
        ),
        (spec("number", which=1), "the option which of the scorer number is 1: it must be text"),
    ],
)
def test_a_scorer_that_cannot_be_used_is_refused(wrong, message):
    with pytest.raises(SettingsError) as caught:
        scoring.validate(wrong)
    assert str(caught.value) == message


SHORT = spec("length", max=3)
BOTH = ScorerSpec.several([ScorerSpec("number", {}, 2.0), SHORT])


def part(scorer, weight, value, reason, extracted):
    return {"scorer": scorer, "weight": weight, "value": value, "reason": reason, "extracted": extracted}


@pytest.mark.parametrize(
    ("text", "value", "reason", "parts"),
    [
        ("It is 35", 1, None, [part("number", 2.0, 1.0, None, 35), part("length", 1.0, 1.0, None, 3)]),
        (
            "I think it is 35",
            2 / 3,
            "length: the answer has 5 words, more than 3",
            [
                part("number", 2.0, 1.0, None, 35),
                part("length", 1.0, 0.0, "the answer has 5 words, more than 3", 5),
            ],
        ),
        (
            "I think it is 36",
            0,
            "number: the final number is 36, not 35; length: the answer has 5 words, more than 3",
            [
                part("number", 2.0, 0.0, "the final number is 36, not 35", 36),
                part("length", 1.0, 0.0, "the answer has 5 words, more than 3", 5),
            ],
        ),
    ],
)
def test_several_scorers_make_one_score_by_their_weights(text, value, reason, parts):
    score = scoring.score(Turn("?", 35, BOTH), Answer(text))
    assert score == Score("number+length", pytest.approx(value), reason, None, parts)


def test_a_part_that_cannot_judge_is_not_counted_as_wrong():
    several = ScorerSpec.several([spec("choice"), spec("exact")])
    score = scoring.score(Turn("?", "A", several), Answer("A or B"))
    assert (score.value, score.reason) == (None, "choice: the answer names several letters: A, B")
    assert [one["value"] for one in score.parts] == [None, 0.0]


def test_weights_that_do_not_add_up_to_a_round_sum_still_give_1():
    several = ScorerSpec.several([ScorerSpec("exact", {}, weight) for weight in (0.1, 0.2, 0.7)])
    assert scoring.score(Turn("?", "x", several), Answer("x")).value == 1


def test_a_turn_without_target_is_scored_by_what_needs_none():
    assert scoring.score(Turn("?", None, SHORT), Answer("one two")).value == 1
    assert scoring.score(Turn("?"), Answer("one two three four"), default=SHORT).value == 0
    assert scoring.score(Turn("?"), Answer("one"), default=BOTH) is None
    assert scoring.score(Turn("?"), Answer("[]"), default=spec("json")) is None
    assert scoring.score(Turn("?"), Answer("[]"), default=spec("json", schema={"type": "array"})).value == 1


def test_every_scorer_has_a_version_to_be_kept_with_its_scores():
    assert {name: scoring.version_of(spec(name)) for name in scoring.names()} == {
        **dict.fromkeys(NAMES, "1"), **dict.fromkeys(("choice", "date", "includes", "json", "tool_call"), "2"),
        "number": "3", "regex": "3"
    }  # fmt: skip
    assert scoring.version_of(BOTH) == "3+1"
    with pytest.raises(SettingsError, match=r"^no scorer is called 'x'"):
        scoring.version_of(spec("x"))


@pytest.mark.usefixtures("shouted")
def test_a_scorer_that_was_changed_says_so():
    check = scoring.find("shouted").check
    scoring.register("shouted", check=check, version=2)(lambda answer, target: scoring.Verdict(1))
    assert scoring.version_of(spec("shouted")) == "2"


def test_a_turn_is_checked_with_its_own_or_the_run_s_scorer():
    scoring.turn_checker()(Turn("?"))
    scoring.turn_checker("exact")(Turn("?", "x"))
    scoring.turn_checker(spec("number", abs_tol=1))(Turn("?", 3))
    for default, turn, field, problem in [
        ("number", Turn("?", "x"), "target", 'the target is "x": the scorer number needs a number'),
        (
            None,
            Turn("?", None, spec("exact")),
            "target",
            "the target is missing: the scorer exact needs one to compare with",
        ),
        (
            None,
            Turn("?", "x", ScorerSpec.several([spec("exact"), spec("length")])),
            "scorer[1]",
            "the scorer length needs a limit: the option min, max, or both",
        ),
        (
            ScorerSpec.several([spec("exact"), spec("number")]),
            Turn("?", "x"),
            "target",
            'the target is "x": the scorer number needs a number',
        ),
        (
            None,
            Turn("?", "B", spec("choice", letters="B")),
            "scorer",
            "the option letters of the scorer choice is 'B': write it like 'ABCD'",
        ),
    ]:
        with pytest.raises(DatasetError) as caught:
            scoring.turn_checker(default)(turn)
        assert (caught.value.field, caught.value.problem) == (field, problem)


@pytest.mark.parametrize("levels", [99, 101, 300, 1000, 1024, 2000])
@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}")])
def test_an_answer_that_is_nested_deep_is_scored_and_its_score_can_be_stored(levels, begin, end):
    text = begin * levels + "1" + end * levels
    calls = (ToolCall("f", f'{{"x": {text}}}', "1"),)
    for target, spec in (
        (True, "json"), ([1], "json"), ({"a": {"a": 2}}, {"name": "json", "only_fields": True}),
        ({"name": "f", "arguments": {"x": 1}}, "tool_call"), ({"name": "f"}, "tool_call"),
        ({"name": "f", "arguments": {"x": {"$scorer": "number", "target": 2}}}, "tool_call"),
    ):  # fmt: skip
        turn = parse_row({"turns": [{"user": "u", "target": target, "scorer": spec}]}).turns[0]
        score = scoring.score(turn, Answer(text, tool_calls=calls))
        assert score.value is not None
        stored = schema.value("score", score_row(0, 1, 1, score), "extracted")
        assert stored is None or len(stored) < 2 * len(text)
        orjson.dumps(json_value(stored))
