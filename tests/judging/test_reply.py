"""A judge's answer to its choice: whole words only, one choice only, the last word."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.judging.reply import read_reply

CHOICES = ("CORRECT", "INCORRECT", "UNSURE")
few = settings(max_examples=50, deadline=None)
choice_of = st.sampled_from(CHOICES)


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ('{"reason": "35 is right.", "choice": "CORRECT"}', "CORRECT"),
        ('{"choice": "INCORRECT", "reason": "It is CORRECT that it is wrong."}', "INCORRECT"),
        ('```json\n{"reason": "x", "choice": "CORRECT"}\n```', "CORRECT"),
        ('My verdict:\n{"reason": "x",\n "choice": "correct"}', "CORRECT"),
        ('{"reason": "two\nlines", "choice": "CORRECT"}', "CORRECT"),
        ("<think>CHOICE: INCORRECT</think>It fits.\nCHOICE: CORRECT", "CORRECT"),
        ("It does not fit.\nCHOICE: INCORRECT", "INCORRECT"),
        ("It does not fit.\n**Final choice:** `INCORRECT`.", "INCORRECT"),
        ("It fits.\n\nCORRECT", "CORRECT"),
        ("UNSURE", "UNSURE"),
        ("[[CORRECT]]", "CORRECT"),
        ("CHOICE: CORRECT\nIn short:\nCHOICE: CORRECT\n\n", "CORRECT"),
    ],
)
def test_the_choice_is_read(text, choice):
    assert read_reply(text, CHOICES).choice == choice


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The answer is CORRECT.",
        "not CORRECT",
        "CHOICE: not CORRECT",
        "CHOICE: CORRECT or INCORRECT",
        "[x] INCORRECT\n[ ] CORRECT",
        "- [x] INCORRECT\n[] CORRECT",
        "CHOICE: CORRECTLY",
        "CHOICE: INCORRECT, no: CORRECT",
        "CHOICE:",
        "CHOICE: CORRECT\nbut then again the unit is wrong",
        "CHOICE: CORRECT\nCHOICE: INCORRECT",
        "CORRECT\nINCORRECT",
        '{"reason": "x", "choice": "INCORRECT"}\nCHOICE: CORRECT',
        '{"choice": "CORRECT"}\n{"choice": "INCORRECT"}',
        '{"choice": "CORRECT"}{"choice": "INCORRECT"}',
        '{"choice": "CORRECT", "choice": "INCORRECT"}',
        '{\n"choice": "INCORRECT"\n}\nCORRECT',
        '{"reason": "x", "choice": "NOT CORRECT"}',
        '{"reason": "x", "choice": ["CORRECT"]}',
        '{"reason": "x", "choice": null}',
        '{"verdict": {"choice": "CORRECT"}}',
        '{"reason": "x", "choice": "COR',
        "<think>CHOICE: CORRECT",
        '{"a":' * 100_000,
    ],
)
def test_no_choice_is_read_where_none_stands_whole_and_alone(text):
    ruling = read_reply(text, CHOICES)
    assert ruling.choice is None
    assert ruling.reason


def test_why_there_is_none_is_told():
    assert read_reply(" ", CHOICES).reason == "the judge's answer is empty"
    assert read_reply("CORRECT\nINCORRECT", CHOICES).reason == "the judge's answer has two different choices"
    assert read_reply("Hm.", CHOICES).reason == "the judge's answer does not end with one of its choices"


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_an_answer_that_was_cut_off_decides_nothing(finish):
    assert read_reply("CHOICE: CORRECT", CHOICES, finish).choice is None
    assert read_reply("CHOICE: CORRECT", CHOICES, "stop").choice == "CORRECT"


def test_the_reason_is_what_stands_before_the_choice():
    assert read_reply("35 is right.\nCHOICE: CORRECT", CHOICES).reason == "35 is right."
    assert read_reply('{"reason": "It fits.", "choice": "CORRECT"}', CHOICES).reason == "It fits."
    assert read_reply("CORRECT", CHOICES).reason is None


def test_numbers_may_be_choices():
    assert read_reply('{"reason": "x", "choice": 4}', "12345").choice == "4"
    assert read_reply("Good.\nCHOICE: 4", "12345").choice == "4"
    assert read_reply("Good.\nCHOICE: 4/5", "12345").choice is None
    assert read_reply('{"choice": 4.0}', "12345").choice is None
    assert read_reply('{"choice": true}', "12345").choice is None


@few
@given(st.text(), choice_of, st.booleans())
def test_json_gives_its_choice_whatever_the_reason_says(reason, choice, fenced):
    said = json.dumps({"reason": reason, "choice": choice}, ensure_ascii=False, indent=1)
    assert read_reply(f"```json\n{said}\n```" if fenced else said, CHOICES) == (choice, reason)


@few
@given(st.lists(st.text(alphabet="ab CORTINUSE.:{}\"'\n"), max_size=5), choice_of)
def test_a_last_line_wins_or_is_contradicted_but_never_read_as_another(parts, choice):
    assert read_reply("\n".join([*parts, f"CHOICE: {choice}"]), CHOICES).choice in (choice, None)


@few
@given(st.text(), st.sampled_from([None, "stop", "length"]))
def test_any_text_gives_a_choice_or_a_reason_why_not(text, finish):
    ruling = read_reply(text, CHOICES, finish)
    assert ruling.choice in CHOICES or ruling.reason


@few
@given(st.text(alphabet="incorrect INCORRECT-_", max_size=30), choice_of)
def test_a_longer_word_that_holds_a_choice_is_no_choice(around, choice):
    word = f"CHOICE: x{around}{choice}"
    assert read_reply(word, CHOICES).choice is None
