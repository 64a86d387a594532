"""Scorers of likeness: values worked out by hand or by another program, lists, thresholds, and answers too long."""

import sys

import pytest

from evalkit.conversation import ScorerSpec, Turn
from evalkit.errors import DatasetError, MissingExtra
from evalkit.record import Answer, Score
from evalkit.scorers import registry as scorer_module
from evalkit.scorers import scoring

CAT = "The cat sat on the mat."

# (trap, scorer, options, target, answer, value)
VALUES = [
    ("the same", "f1", {}, CAT, CAT, 1),
    ("articles, case and marks do not count", "f1", {}, "the Cat!", "a cat", 1),
    ("3 of 4 words", "f1", {}, CAT, "the cat is on the mat", 0.75),
    ("precision 1/4, recall 1", "f1", {}, "Paris", "Paris lies in France", 0.4),
    ("a word twice counts twice", "f1", {}, "no no", "no", 2 / 3),
    ("order does not count", "f1", {}, "cat sat", "sat cat", 1),
    ("nothing said", "f1", {}, "Paris", "", 0),
    ("nothing but articles", "f1", {}, "the", "a", 1),
    ("a word against an article", "f1", {}, "the", "cat", 0),
    ("an hyphen joins, as in SQuAD", "f1", {}, "well-known", "wellknown", 1),
    ("best of several", "f1", {}, ["Rome", "Paris, France"], "Paris", 2 / 3),
    ("a script without blanks", "f1", {}, "巴黎", "巴黎市", 0.8),
    # by rouge-score 0.1.2: rougeL without stemming
    ("one word of six", "rouge_l", {}, CAT, "the cat is on the mat", 5 / 6),
    ("Lin's example", "rouge_l", {}, "police killed the gunman", "police kill the gunman", 0.75),
    ("Lin's other order", "rouge_l", {}, "police killed the gunman", "the gunman kill police", 0.5),
    ("articles count", "rouge_l", {}, "The Cat, sat!", "cat sat", 0.8),
    ("turned round", "rouge_l", {}, "a b c d e f g", "g f e d c b a", 1 / 7),
    ("an apostrophe parts", "rouge_l", {}, "don't stop", "do not stop", 1 / 3),
    ("accents are letters", "rouge_l", {}, "café noir", "cafe noir", 0.5),
    ("nothing said", "rouge_l", {}, "Paris", "", 0),
    ("best of several", "rouge_l", {}, ["x", CAT], CAT, 1),
    # by hand: the mean over orders 1 to 3 of precision 2/3, 1/2, 0, which recall equals
    ("pieces of one to three", "chrf", {}, "abd", "abc", 7 / 18),
    ("blanks do not count", "chrf", {}, "a b c", "abc", 1),
    ("best of several", "chrf", {}, ["xyz", "abd"], "abc", 7 / 18),
    ("nothing in common", "chrf", {}, "abc", "xyz", 0),
    ("nothing said", "chrf", {}, "Paris", "", 0),
    ("kitten to sitting: 3 of 7", "edit", {}, "sitting", "kitten", 4 / 7),
    ("case and blanks do not count", "edit", {}, "New  York", "new\nyork", 1),
    ("nothing said", "edit", {}, "Paris", "", 0),
    ("best of several", "edit", {}, ["xxxxxx", "sitting"], "kitten", 4 / 7),
    ("at the threshold", "edit", {"least": 4 / 7}, "sitting", "kitten", 1),
    ("below the threshold", "edit", {"least": 0.6}, "sitting", "kitten", 0),
    ("threshold of all", "f1", {"least": 1.0}, CAT, "a cat sat on a mat", 1),
]


@pytest.mark.parametrize(
    ("trap", "name", "options", "target", "text", "value"), VALUES, ids=[f"{row[1]}-{row[0]}" for row in VALUES]
)
def test_value(trap, name, options, target, text, value):
    turn = Turn("?", target, ScorerSpec(name, options))
    scoring.turn_checker()(turn)
    assert scoring.score(turn, Answer(text)).value == pytest.approx(value)


@pytest.mark.parametrize(
    ("scorer", "score"),
    [
        (ScorerSpec("edit"), Score("edit", pytest.approx(4 / 7), "edit similarity 0.5714", 0.5714)),
        (
            ScorerSpec("edit", {"least": 0.8}),
            Score("edit", 0.0, "edit similarity 0.5714 is less than 0.8", 0.5714),
        ),
        (ScorerSpec("edit", {"least": 0.5}), Score("edit", 1.0, None, 0.5714)),
    ],
)
def test_a_score_tells_the_likeness_also_where_it_is_judged(scorer, score):
    assert scoring.score(Turn("?", "sitting", scorer), Answer("kitten")) == score


LONG = "word " * 200_000


@pytest.mark.parametrize(
    ("name", "target", "reason"),
    [
        ("rouge_l", LONG, "an answer of 200,000 words and a target of 200,000 are too long for rouge_l to compare"),
        ("edit", LONG, "an answer of 999,999 characters and a target of 999,999 are too long for edit to compare"),
        ("chrf", "word", "1,000,000 characters are more than the 100,000 that chrf compares"),
    ],
)
def test_what_would_take_too_long_is_not_judged(name, target, reason):
    """Two texts of a million characters hold a hundred times as many pairs as a machine compares in a second."""
    assert scoring.score(Turn("?", target, ScorerSpec(name)), Answer(LONG)) == Score(name, None, reason)


@pytest.mark.parametrize("name", ["f1", "rouge_l", "edit"])
def test_a_long_answer_is_compared_with_a_short_target(name):
    assert 0 <= scoring.score(Turn("?", "word", ScorerSpec(name)), Answer(LONG)).value < 0.001


@pytest.mark.parametrize(
    ("name", "options", "target", "problem"),
    [
        ("f1", {}, {"a": 1}, 'the target is {"a":1}: this scorer compares with text, or with a list of texts'),
        ("edit", {"least": 80}, "x", "the option least is 80: a similarity is between 0 and 1"),
        ("rouge_l", {}, ["x", "?!"], 'the target is ["x","?!"]: this scorer compares words, and it has none'),
    ],
)
def test_what_it_cannot_use(name, options, target, problem):
    with pytest.raises(DatasetError) as caught:
        scoring.turn_checker()(Turn("?", target, ScorerSpec(name, options)))
    assert caught.value.problem == problem


@pytest.mark.parametrize(
    ("name", "package"),
    [("rouge_l", "rapidfuzz"), ("edit", "rapidfuzz"), ("chrf", "sacrebleu"), ("language", "py3langid")],
)
def test_a_missing_package_is_said_before_anything_is_asked(monkeypatch, name, package):
    monkeypatch.setattr(scorer_module, "_INSTALLED", set())
    monkeypatch.setitem(sys.modules, package, None)
    turn = Turn("?", "en", ScorerSpec(name))
    for check in (lambda: scoring.validate(turn.scorer), lambda: scoring.turn_checker()(turn)):
        with pytest.raises(MissingExtra, match=rf"^the scorer {name}, by {package}, needs .*\[scorers\]"):
            check()
    assert scoring.score(turn, Answer("en")).reason.startswith(f"the scorer {name}, by {package}, needs")
    assert scoring.score(turn._replace(target=None), Answer("en")) is None


def test_f1_needs_no_package(monkeypatch):
    monkeypatch.setattr(scorer_module, "need", lambda *_: pytest.fail("it needs one"))
    assert scoring.score(Turn("?", "x", ScorerSpec("f1")), Answer("x")).value == 1
