"""Scorers of form: how long an answer is, and in which language."""

import pytest

from evalkit.conversation import ScorerSpec, Turn
from evalkit.errors import DatasetError
from evalkit.record import Answer, Score
from evalkit.scorers import scoring

# (trap, unit, text, count)
COUNTS = [
    ("blanks around", "characters", "  ab c\n", 4),
    ("an accent is one", "characters", "é", 1),
    ("words", "words", "One  two\nthree", 3),
    ("marks alone are no words", "words", "- one – two *", 2),
    ("hyphens and apostrophes join", "words", "well-known don't", 2),
    ("nothing", "words", "", 0),
    ("Hangul has blanks", "words", "안녕 세계", 2),
    ("one foreign word", "words", "Paris is 巴黎", 3),
    ("sentences", "sentences", "One. Two! Three?", 3),
    ("a decimal mark", "sentences", "It is 3.5 m. Good.", 2),
    ("three dots", "sentences", "Well... Yes.", 2),
    ("quotes after the mark", "sentences", 'He said "No." Then he left.', 2),
    ("abbreviations", "sentences", "Dr. Smith, e.g. of J. S. Bach. Yes.", 2),
    ("a word that only looks like one", "sentences", "I say no. You first.", 2),
    ("no mark at the end", "sentences", "One. Two", 2),
    ("a heading", "sentences", "# Paris\n\nIt is a city.", 2),
    ("list items", "sentences", "1. One\n2. Two\n- Three.", 3),
    ("a list mark is no sentence", "sentences", "1. One", 1),
    ("a line break within one", "sentences", "One and\ntwo.", 1),
    ("no sentence", "sentences", "...", 0),
    ("Chinese", "sentences", "法国的首都是巴黎。对吗？", 2),
    ("lines", "lines", "a\n\n  \nb\n", 2),
    ("a carriage return", "lines", "a\r\n\r\nb", 2),
    ("other breaks are none", "lines", "a\u2028b\x0cc", 1),
]


@pytest.mark.parametrize(("trap", "unit", "text", "count"), COUNTS, ids=[row[0] for row in COUNTS])
def test_length(trap, unit, text, count):
    def score(**limits):
        turn = Turn("?", None, ScorerSpec("length", {"unit": unit, **limits}))
        scoring.turn_checker()(turn)
        return scoring.score(turn, Answer(text))

    assert score(max=count, min=count) == Score("length", 1.0, None, count)
    assert score(min=count + 1) == Score("length", 0.0, f"the answer has {count} {unit}, fewer than {count + 1}", count)
    if count:
        assert score(max=count - 0.5).value == 0
        assert score(max=count - 1).reason == f"the answer has {count} {unit}, more than {count - 1}"


def test_words_are_not_counted_where_no_blanks_part_them():
    score = scoring.score(Turn("?", None, ScorerSpec("length", {"max": 5})), Answer("法国的首都是巴黎。"))
    assert (score.value, score.reason) == (
        None,
        "words cannot be counted in a script without spaces between them: limit the characters",
    )


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "the scorer length needs a limit: the option min, max, or both"),
        ({"min": 0}, "the scorer length needs a limit: the option min, max, or both"),
        ({"min": 5, "max": 3}, "the options of the scorer length exclude each other: min 5 is above max 3"),
        (
            {"max": 3, "unit": "tokens"},
            "the option unit of the scorer length is 'tokens': it must be one of 'characters', 'words', 'sentences', "
            "'lines'",
        ),
        ({"max": "3"}, 'the option max of the scorer length is "3": it must be a number, 0 or more'),
    ],
)
def test_limits_that_cannot_be(options, problem):
    with pytest.raises(DatasetError) as caught:
        scoring.turn_checker()(Turn("?", None, ScorerSpec("length", options)))
    assert caught.value.problem == problem


LANGUAGES = [
    ("German", "de", "Die Hauptstadt von Frankreich ist Paris.", 1),
    ("a code in capitals", "DE", "Die Hauptstadt von Frankreich ist Paris.", 1),
    ("English, asked for German", "de", "I am fine, thank you very much for asking me.", 0),
    ("a script of its own", "ja", "日本の首都は東京です。", 1),
    (
        "code in a block does not count",
        "de",
        "```python\nfor word in words: print('the')\n```\nDas ist ein Programm.",
        1,
    ),
    ("a block that never ends", "de", "Das ist ein Programm.\n```python\nprint('the')\n", 1),
    ("too short", "en", "ok", None),
    ("numbers", "en", "12 + 23 = 35", None),
    ("nothing said", "en", "", 0),
    ("marks alone", "en", "?!", 0),
]


@pytest.mark.parametrize(("trap", "target", "text", "value"), LANGUAGES, ids=[row[0] for row in LANGUAGES])
def test_language(trap, target, text, value):
    pytest.importorskip("py3langid")
    turn = Turn("?", target, ScorerSpec("language"))
    scoring.turn_checker()(turn)
    score = scoring.score(turn, Answer(text))
    assert score.value == value
    assert score.value == 1 or score.reason


@pytest.mark.parametrize("target", ["German", "", 5, "xx", ["de"], "de-DE"])
def test_a_language_that_cannot_be_told_is_refused(target):
    pytest.importorskip("py3langid")
    with pytest.raises(DatasetError, match="the scorer language needs the ISO 639 code of a known language"):
        scoring.turn_checker()(Turn("?", target, ScorerSpec("language")))
