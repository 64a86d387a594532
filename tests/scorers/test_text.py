"""Scorers of text: text to verdict, each row with the trap it is there for."""

import pytest

from evalkit.conversation import ScorerSpec, Turn
from evalkit.record import Answer, Score
from evalkit.scorers import scoring
from evalkit.scorers import text as scorers_text

# (trap, scorer, options, target, answer, value)
VERDICTS = [
    ("same", "exact", {}, "Paris", "Paris", 1),
    ("case", "exact", {}, "Paris", "PARIS", 1),
    ("case asked for", "exact", {"case_sensitive": True}, "Paris", "PARIS", 0),
    ("full stop", "exact", {}, "Paris", "Paris.", 1),
    ("full stop asked for", "exact", {"punctuation": True}, "Paris", "Paris.", 0),
    ("emphasis", "exact", {}, "Paris", " **Paris**\n", 1),
    ("quotes", "exact", {}, "Paris", "“Paris”", 1),
    ("a sentence is not the word", "exact", {}, "Paris", "It is Paris", 0),
    ("blanks in a row", "exact", {}, "New York", "new\n  york", 1),
    ("composed accents", "exact", {}, "café", "cafe\u0301", 1),
    ("typographic apostrophe", "exact", {}, "don't", "don’t", 1),
    ("sharp s", "exact", {}, "Straße", "STRASSE", 1),
    ("one of a list", "exact", {}, ["UK", "United Kingdom"], "united kingdom", 1),
    ("none of a list", "exact", {}, ["UK", "United Kingdom"], "England", 0),
    ("a number as text", "exact", {}, 35, "35.", 1),
    ("a number otherwise written", "exact", {}, 35, "35.0", 0),
    ("nothing said", "exact", {}, "Paris", "", 0),
    ("a target of marks alone", "exact", {}, "!", "?", 0),
    ("inside", "includes", {}, "Paris", "I say it is paris, of course", 1),
    ("the 5 of 25", "includes", {}, "5", "25", 0),
    ("the 5 of 5.5", "includes", {}, "5", "5.5", 0),
    ("the 5 of 2,5", "includes", {}, "5", "2,5", 0),
    ("the 5 of a list", "includes", {}, "5", "3, 5, 7", 1),
    ("5 at the end of a sentence", "includes", {}, "5", "It is 5.", 1),
    ("a number target as text", "includes", {}, 5, "25", 0),
    ("no in know", "includes", {}, "no", "I know", 0),
    ("cat in concatenate", "includes", {}, "cat", "to concatenate", 0),
    ("part of a word asked for", "includes", {"whole_words": False}, "cat", "to concatenate", 1),
    ("first a part, then the word", "includes", {}, "cat", "concatenate, cat", 1),
    ("genitive", "includes", {}, "Paris", "Paris's mayor", 1),
    ("emphasis around", "includes", {}, "Paris", "_Paris_", 1),
    ("two words over a line", "includes", {}, "New York", "in New\nYork", 1),
    ("a target with marks", "includes", {}, "C++", "use C++, please", 1),
    ("a script without blanks", "includes", {}, "巴黎", "法国的首都是巴黎。", 1),
    ("case asked for in a sentence", "includes", {"case_sensitive": True}, "May", "you may", 0),
    ("any of a list", "includes", {}, ["red", "blue"], "Blue it is", 1),
    ("all of a list", "includes", {"all": True}, ["red", "blue"], "Blue it is", 0),
    ("all of a list there", "includes", {"all": True}, ["red", "blue"], "red or blue", 1),
    ("nothing at all", "includes", {}, "Paris", "", 0),
    ("none of a list", "includes", {"none": True}, ["red", "blue"], "Green it is", 1),
    ("begins inside of a false one", "includes", {}, "a a", "ba a a", 1),
    ("a word after a longer one", "includes", {}, "a", "aaa a", 1),
    ("one of those that must not be", "includes", {"none": True}, ["red", "blue"], "Blue it is", 0),
    ("a part of a word is not what must not be", "includes", {"none": True}, "red", "a hundred", 1),
    ("nothing at all holds nothing", "includes", {"none": True}, "red", "", 1),
    ("mere match", "regex", {}, r"\bsum\b.*\d", "the sum is 3", 1),
    ("no match", "regex", {}, r"^\d+$", "the sum is 3", 0),
    ("a list of three", "regex", {}, r"^(?:[-*\d].*\n?){3}$", "- a\n- b\n- c", 1),
    ("a list of two is not three", "regex", {}, r"^(?:[-*\d].*\n?){3}$", "- a\n- b", 0),
    ("captured", "regex", {"pattern": r"capital: (\w+)"}, "Paris", "capital: PARIS, I think", 1),
    ("captured another", "regex", {"pattern": r"capital: (\w+)"}, "Paris", "capital: Rome", 0),
    ("whole match without a group", "regex", {"pattern": r"\d+ km"}, ["5 km", "6 km"], "some 5 km off", 1),
    ("the first match counts", "regex", {"pattern": r"\d+"}, "2", "1 2", 0),
    ("first alternative", "regex", {"pattern": r"x(\d)|is (\d)"}, "3", "x3", 1),
    ("later alternative", "regex", {"pattern": r"x(\d)|is (\d)"}, "3", "it is 3", 1),
    ("later alternative, another", "regex", {"pattern": r"x(\d)|is (\d)"}, "3", "it is 4", 0),
    ("over a line", "regex", {"pattern": r"is\s(\w+)"}, "Paris", "\nso is\nParis\n", 1),
    ("pattern that would run away", "regex", {}, r"^(a+)+$", "a" * 50_000 + "b", 0),
    ("another that would", "regex", {}, r"(x+x+)+y", "x" * 50_000, 0),
    ("right", "number", {}, 35, "The sum of 12 + 23 is 35, which is the product of 12 and 23.", 1),
    ("wrong", "number", {}, 276, "The product of 12 and 23 is 26.", 0),
    ("right digits in a longer number", "number", {}, 5, "25", 0),
    ("no number", "number", {}, 35, "I cannot tell.", 0),
    ("no answer", "number", {}, 35, "", 0),
    ("in words", "number", {}, 35, "Thirty-five.", 1),
    ("within the tolerance", "number", {"abs_tol": 0.01}, 3.14, "3.1416", 1),
    ("outside the tolerance", "number", {"abs_tol": 0.001}, 3.14, "3.1416", 0),
    ("relative tolerance", "number", {"rel_tol": 0.1}, 200, "about 215", 1),
    ("0.1 + 0.2", "number", {}, 0.3, "0.30", 1),
    ("percent of a fraction", "number", {}, 0.35, "35 %", 1),
    ("fraction of a percentage", "number", {}, "35%", "It is 0.35.", 1),
    ("target as text", "number", {}, "1,234.5", "1234.5", 1),
    ("target is a fraction", "number", {}, "3/4", "0.75", 1),
    ("first of several", "number", {"which": "first"}, 12, "12, then 23", 1),
    ("the first only", "number", {"which": "first"}, 23, "12, then 23", 0),
    ("any of several", "number", {"which": "any"}, 23, "12, then 23, then 4", 1),
    ("none of several", "number", {"which": "any"}, 2, "12, then 23, then 4", 0),
    ("German thousand", "number", {"decimal": ","}, 1234, "Es sind 1.234 Stück.", 1),
    ("English decimals", "number", {}, 1.234, "It is 1.234 m.", 1),
    ("last of several", "number", {"which": "last"}, 23, "It is 35. It is the sum of 12 and 23.", 1),
    ("last, though the answer is marked", "number", {"which": "last"}, 4, "The answer is 35. See step 4", 1),
    ("last but one", "number", {"which": "last"}, 12, "12, then 23", 0),
    ("no last one", "number", {"which": "last"}, 12, "none", 0),
    ("unit", "number", {}, "12 kg", "It weighs 12 kg.", 1),
    ("unit without a blank", "number", {}, "12 kg", "12kg", 1),
    ("unit missing", "number", {}, "12 kg", "It weighs 12.", 0),
    ("another unit", "number", {}, "12 kg", "It weighs 12 g.", 0),
    ("right unit, wrong number", "number", {}, "12 kg", "It weighs 13 kg.", 0),
    ("unit in capitals", "number", {}, "12 kg", "12 KG", 1),
    ("plural", "number", {}, "1 apple", "1 apples", 1),
    ("singular", "number", {}, "12 apples", "a 12-apple pie", 1),
    ("plural with e", "number", {}, "3 inches", "3 inch", 1),
    ("irregular plural", "number", {}, "3 feet", "3 foot long", 1),
    ("metres are no milliseconds", "number", {}, "5 m", "5 ms", 0),
    ("metres are no square metres", "number", {}, "5 m", "5 m²", 0),
    ("metres are no metres a second", "number", {}, "5 m", "5 m/s", 0),
    ("kilometres are no kilometres per hour", "number", {}, "5 km", "5 km per hour", 0),
    ("a speed", "number", {}, "5 km/h", "about 5 km/h", 1),
    ("a unit of two words", "number", {}, "5 square metres", "5 square\nmetres", 1),
    ("a degree", "number", {}, "-5 °C", "It is −5°C outside.", 1),
    ("emphasis between", "number", {}, "12 kg", "It is **12** kg", 1),
    ("LaTeX between", "number", {}, "12 kg", r"\boxed{12\,\text{kg}}", 1),
    ("unit behind the box", "number", {}, "12 kg", r"\boxed{12}\text{ kg}", 1),
    ("unit behind the box, in plain words", "number", {}, "12 kg", r"The answer is $\boxed{12}$ kg.", 1),
    ("another unit behind the box", "number", {}, "12 kg", r"7 kg and 5 kg: \boxed{12} g", 0),
    ("no unit in the box or behind it", "number", {}, "12 kg", r"\boxed{12}. It is 12 kg", 0),
    ("marked with unit", "number", {}, "12 kg", "The answer is 12 kg, from 7 kg and 5 kg.", 1),
    ("unit of a number in words", "number", {}, "12 kg", "Twelve kg.", 1),
    ("unit of another number", "number", {}, "12 kg", "7 kg and 5 give 12", 0),
    ("unit with a tolerance", "number", {"rel_tol": 0.1}, "12 kg", "12.5 kg", 1),
    ("unit of any number", "number", {"which": "any"}, "12 kg", "12 lb or 12 kg or 7 g", 1),
    ("unit of the last number", "number", {"which": "last"}, "12 kg", "x" * 30_000 + " 12 kg", 1),
    ("unit of the first number", "number", {"which": "first"}, "12 kg", "12 lb or 12 kg", 0),
    ("percent is no unit", "number", {}, "35 %", "0.35", 1),
    ("a unit and no number", "number", {}, "12 kg", "kg", 0),
    ("letter", "choice", {}, "B", "(b)", 1),
    ("small target", "choice", {}, "b", "The answer is B.", 1),
    ("other letter", "choice", {}, "B", "C", 0),
    ("no letter", "choice", {}, "A", "A dog is a mammal", 0),
    ("two letters", "choice", {}, "A", "A or B", None),
    ("letters there are", "choice", {"letters": "ABCD"}, "B", "Vitamin E, so B", 1),
]


@pytest.mark.parametrize(
    ("trap", "name", "options", "target", "text", "value"), VERDICTS, ids=[f"{row[1]}-{row[0]}" for row in VERDICTS]
)
def test_verdict(trap, name, options, target, text, value):
    scoring.turn_checker()(Turn("?", target, ScorerSpec(name, options)))
    score = scoring.score(Turn("?", target, ScorerSpec(name, options)), Answer(text=text))
    assert score.value == value
    assert score.value == 1 or score.reason


@pytest.mark.parametrize(
    ("target", "scorer", "text", "score"),
    [
        ("Paris", ScorerSpec("exact"), " Rome. ", Score("exact", 0.0, "the answer is not 'Paris'", "Rome.")),
        (["a", "b"], ScorerSpec("exact"), "c", Score("exact", 0.0, "the answer is not 'a' or 'b'", "c")),
        ("Paris", ScorerSpec("includes"), "Rome", Score("includes", 0.0, "'Paris' is not in the answer")),
        (["a", "b"], ScorerSpec("includes"), "b", Score("includes", 1.0, None, ["b"])),
        (
            ["a", "b"],
            ScorerSpec("includes", {"all": True}),
            "b",
            Score("includes", 0.0, "not in the answer: 'a'", ["b"]),
        ),
        (
            ["a", "b"],
            ScorerSpec("includes", {"none": True}),
            "b",
            Score("includes", 0.0, "in the answer, and should not be: 'b'", ["b"]),
        ),
        (
            "12 kg",
            ScorerSpec("number"),
            "12",
            Score("number", 0.0, "the final number is 12 without a unit, not 12 kg", "12"),
        ),
        ("12 kg", ScorerSpec("number"), "12 g.", Score("number", 0.0, "the final number is 12 g, not 12 kg", "12 g")),
        ("12 kg", ScorerSpec("number"), "12 kgs", Score("number", 1.0, None, "12 kgs")),
        ("x", ScorerSpec("regex"), "y", Score("regex", 0.0, "the pattern does not match the answer")),
        (
            "x",
            ScorerSpec("regex", {"pattern": "."}),
            "y",
            Score("regex", 0.0, "the pattern captured 'y', not 'x'", "y"),
        ),
        (35, ScorerSpec("number"), "26", Score("number", 0.0, "the final number is 26, not 35", 26)),
        (35, None, "none", Score("number", 0.0, "no number in the answer")),
        (0.5, ScorerSpec("number"), "1/2", Score("number", 1.0, None, 0.5)),
        ("B", ScorerSpec("choice"), "C", Score("choice", 0.0, "the answer chooses C, not B", "C")),
        ("B", ScorerSpec("choice"), "none", Score("choice", 0.0, "no letter is chosen in the answer")),
        ("B", ScorerSpec("choice"), "A/B", Score("choice", None, "the answer names several letters: A, B", ["A", "B"])),
    ],
)
def test_a_score_says_what_it_took_and_why(target, scorer, text, score):
    assert scoring.score(Turn("?", target, scorer), Answer(text=text)) == score


# (text, target, value when cut off at the token limit, without a finish reason, when the model ended it)
CUT_OFF = [
    ("which gives us 10. So, 5", 10, 1, 1, 0),
    ("which gives us 10. So, 5", 5, None, None, 1),
    ("which gives us 10. So, 5", 50, None, None, 0),
    ("which gives us 10. So, 5", 7, 0, 0, 0),
    ("The answer is 3", 35, None, 0, 0),
    ("The answer is 3", 40, 0, 0, 0),
    ("The answer is 35.", 35, 1, 1, 1),
    ("The answer is 35", 35, None, 1, 1),
    ("so it costs $1,", 1200, None, 0, 0),
    ("It is 0.2", 0.25, None, 0, 0),
    ("It is thirty", 35, None, 0, 0),
    ("12 + 23 = 3", 23, 0, 0, 0),
    ("12 + 2", 12, 0, 0, 0),
    ("12 + 23 =", 23, None, None, 1),
    ("\\boxed{3", 35, None, None, 0),
    ("\\boxed{35} and 4", 35, 1, 1, 1),
    ("**35**", 35, 1, 1, 1),
    ("x = 35\n", 35, 1, 1, 1),
    ("#### 3", 35, None, 0, 0),
    ("that is 12", "12 kg", None, 0, 0),
    ("that is 12 k", "12 kg", None, 0, 0),
    ("that is 12 kg", "12 kg", 1, 1, 1),
    ("no number at all", 3, 0, 0, 0),
]


@pytest.mark.parametrize(("text", "target", "cut", "unknown", "ended"), CUT_OFF)
def test_a_number_at_the_end_of_an_answer_that_was_cut_off_is_not_taken(text, target, cut, unknown, ended):
    turn = Turn("?", target, ScorerSpec("number"))
    values = {
        reason: scoring.score(turn, Answer(text, finish_reason=reason)).value
        for reason in ("length", "content_filter", None, "stop")
    }
    assert values == {"length": cut, "content_filter": cut, None: unknown, "stop": ended}


@pytest.mark.parametrize("which", ["final", "last", "any", "first"])
def test_whichever_number_is_asked_for_the_one_at_the_cut_is_not_it(which):
    turn = Turn("?", 35, ScorerSpec("number", {"which": which}))
    assert scoring.score(turn, Answer("so it is 35", finish_reason="stop")).value == 1
    score = scoring.score(turn, Answer("so it is 35", finish_reason="length"))
    assert (score.value, score.reason) == (
        None, "the answer is cut off at its last number, 35, which may be 35 or go on"
    )  # fmt: skip


def test_what_is_kept_of_a_long_answer_is_short():
    score = scoring.score(Turn("?", "x", ScorerSpec("exact")), Answer(text="y" * 10_000))
    assert len(score.extracted) == 200


@pytest.mark.parametrize(
    ("name", "options", "target", "field", "problem"),
    [
        ("exact", {}, "", "target", 'the target is "": this scorer compares with text, or with a list of texts'),
        ("exact", {}, [], "target", "the target is []: this scorer compares with text, or with a list of texts"),
        (
            "includes",
            {},
            {"a": 1},
            "target",
            'the target is {"a":1}: this scorer compares with text, or with a list of texts',
        ),
        ("includes", {}, True, "target", "the target is true: this scorer compares with text, or with a list of texts"),
        (
            "includes",
            {"all": True, "none": True},
            "a",
            "scorer",
            "the options all and none of the scorer includes exclude each other",
        ),
        ("regex", {}, 3, "target", "the target is 3: the scorer regex needs a pattern, here or as its option"),
        (
            "regex",
            {},
            "(",
            "target",
            "the pattern '(' cannot be used: missing ) (RE2 syntax: no look-around, no back-references)",
        ),
        (
            "regex",
            {"pattern": "["},
            "x",
            "scorer",
            "the pattern '[' cannot be used: missing ] (RE2 syntax: no look-around, no back-references)",
        ),
        (
            "regex",
            {"pattern": "."},
            True,
            "target",
            "the target is true: this scorer compares with text, or with a list of texts",
        ),
        ("number", {}, True, "target", "the target is true: the scorer number needs a number"),
        ("number", {}, "many apples", "target", 'the target is "many apples": the scorer number needs a number'),
        (
            "number",
            {"decimal": ";"},
            3,
            "scorer",
            "the option decimal of the scorer number is ';': it must be one of '.', ','",
        ),
        (
            "choice",
            {"letters": "abc"},
            "a",
            "scorer",
            "the option letters of the scorer choice is 'abc': write it like 'ABCD'",
        ),
        (
            "choice",
            {"letters": "AA"},
            "A",
            "scorer",
            "the option letters of the scorer choice is 'AA': write it like 'ABCD'",
        ),
        (
            "choice",
            {},
            "AB",
            "target",
            'the target is "AB": the scorer choice needs one of the letters ABCDEFGHIJKLMNOPQRSTUVWXYZ',
        ),
    ],
)
def test_what_a_scorer_cannot_use(name, options, target, field, problem):
    scorer = scoring.find(name)
    found = scorer.check(target, **{**scorer.options, **options})
    assert found == (field, problem)


def test_a_long_word_is_not_looked_through_letter_by_letter(monkeypatch):
    looked, splits = [], scorers_text._splits
    monkeypatch.setattr(scorers_text, "_splits", lambda text, at: looked.append(at) or splits(text, at))
    assert scoring.score(Turn("?", "a", ScorerSpec("includes")), Answer("a" * 10_000 + " a")).value == 1
    assert len(looked) < 10
