"""The scorer date: text to verdict."""

import sys

import pytest

from evalkit.conversation import ScorerSpec, Turn
from evalkit.errors import DatasetError
from evalkit.record import Answer, Score
from evalkit.scorers import registry, scoring
from evalkit.scorers.reading import month_names

WHICH = "set the option order to dmy or mdy"
VERDICTS = [
    ("right", {}, "It was on May 3rd, 2024.", 1, None, "2024-05-03"),
    ("wrong", {}, "4 May 2024", 0, "the date is 2024-05-04, not 2024-05-03", "2024-05-04"),
    ("no date", {}, "in May", 0, "no date with day, month and year in the answer", None),
    ("nothing said", {}, "", 0, "no date with day, month and year in the answer", None),
    (
        "two readings, one right",
        {},
        "03/05/2024",
        None,
        f"03/05/2024 is 2024-05-03 or 2024-03-05: {WHICH}",
        "03/05/2024",
    ),
    (
        "two readings, both wrong",
        {},
        "04/06/2024",
        0,
        "the date is 2024-06-04 or 2024-04-06, not 2024-05-03",
        "04/06/2024",
    ),
    ("the order is given", {"order": "dmy"}, "03/05/2024", 1, None, "2024-05-03"),
    (
        "the other order is given",
        {"order": "mdy"},
        "03/05/2024",
        0,
        "the date is 2024-03-05, not 2024-05-03",
        "2024-03-05",
    ),
    (
        "in no calendar",
        {},
        "31 April 2024",
        0,
        "the date is 31 April 2024, which is not in the calendar, not 2024-05-03",
        "31 April 2024",
    ),
]


@pytest.mark.parametrize(
    ("trap", "options", "text", "value", "reason", "extracted"), VERDICTS, ids=[row[0] for row in VERDICTS]
)
def test_verdict(trap, options, text, value, reason, extracted):
    turn = Turn("?", "2024-05-03", ScorerSpec("date", options))
    scoring.turn_checker()(turn)
    assert scoring.score(turn, Answer(text)) == Score("date", value, reason, extracted)


@pytest.mark.parametrize(
    ("target", "options", "problem"),
    [
        ("3 May 2024", {}, 'the target is "3 May 2024": the scorer date needs a date such as "2024-05-03"'),
        (2024, {}, 'the target is 2024: the scorer date needs a date such as "2024-05-03"'),
        (
            "2024-05-03",
            {"order": "ymd"},
            "the option order of the scorer date is 'ymd': it must be 'dmy' or 'mdy'",
        ),
    ],
)
def test_what_it_cannot_use(target, options, problem):
    with pytest.raises(DatasetError) as caught:
        scoring.turn_checker()(Turn("?", target, ScorerSpec("date", options)))
    assert caught.value.problem == problem


@pytest.fixture
def without_babel(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "babel"] + ["babel"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(registry, "_INSTALLED", set())
    month_names._names.cache_clear()
    yield
    month_names._names.cache_clear()


@pytest.mark.usefixtures("without_babel")
@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("It was on May 3rd, 2024.", 1), ("2024-05-03", 1), ("20240503", 1), ("2024年5月3日", 1), ("4 May 2024", 0),
        ("no date", 0), ("3 mai 2024", None), ("el 3 de mayo de 2024", None), ("on 3 mai 2024, that is 3 May 2024", 1),
    ],
)  # fmt: skip
def test_without_babel_only_months_of_other_languages_have_no_score_and_the_reason_says_what_to_install(answer, value):
    turn = Turn("?", "2024-05-03", ScorerSpec("date"))
    scoring.turn_checker()(turn)
    scored = scoring.score(turn, Answer(answer))
    assert scored.value == value
    if value is None:
        assert "by babel, needs an optional part of evalkit" in scored.reason
        assert "pip install 'chat-evalkit[scorers]'" in scored.reason


def test_with_babel_they_have_one():
    assert scoring.score(Turn("?", "2024-05-03", ScorerSpec("date")), Answer("3 mai 2024")).value == 1
