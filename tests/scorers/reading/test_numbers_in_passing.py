"""Numbers said by the way: each row names the trap it is there for."""

import re

import pytest

from evalkit.scorers.reading import numbers_in_passing
from evalkit.scorers.reading.numbers_in_passing import Asides, stands_for_itself, word_before

# (trap, text with the number in angle brackets, whether it stands for itself)
BESIDE = [
    ("alone", "<35>", True),
    ("in a sentence", "it is <35>.", True),
    ("before a sign", "<12> + 23", False),
    ("after a sign", "12 + <23>", False),
    ("after a sign and a line's end", "12 +\n<23>", False),
    ("after a sign and two of them", "12 *\n\n<23>", True),
    ("times in words", "12 multiplied by <23>", False),
    ("times in latex", r"12 \times <23>", False),
    ("of a part", "20% of <50>", False),
    ("half of", "half of <50>", False),
    ("not of a part", "a box of <50>", True),
    ("a name", "gpt-<4>", False),
    ("an index", "log_<2>", False),
    ("an index in braces", "x_{<2>", False),
    ("a command of latex", r"\sqrt<2>", True),
    ("a step", "step #<2>", False),
    ("compared with", "more than $<2>", False),
    ("instead of", "instead of <2>", False),
    ("denied", "it is not <2>", False),
    ("denied by a short form", "that can't be $<2>", False),
    ("denied in bold", "it does not equal **<2>**", False),
    ("a word that ends so", "a knot <2> long", True),
    ("what is added", "adding <2>", False),
    ("an ordinal", "the <3>rd", False),
    ("asked", "is it <35>, or 3.5?", False),
    ("a question after the sentence", "it is <35>. right?", True),
    ("a question far off", "it is <35> " + "x" * 300 + "?", True),
]


@pytest.mark.parametrize(("trap", "text", "stands"), BESIDE, ids=[row[0] for row in BESIDE])
def test_what_stands_beside_a_number(trap, text, stands):
    start, end = text.index("<"), text.index(">") - 1
    assert stands_for_itself(text.replace("<", "").replace(">", ""), start, end) is stands


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("the sum of 12 and 23 is 35", ["12", "23"]),
        ("the average of $3, $4, and −$5 is 4", ["3", "4", "5"]),
        ("adding 12.5 to 23", ["12.5", "23"]),
        ("a sum of 35 dollars", []),
        ("12 and 23", []),
        ("1. add\n 2) done", ["1", "2"]),
        ("35. that is it\n7. no", []),
        ("the total of\n" + "12, " * 30 + "13", ["12"] * 30 + ["13"]),
        ("the sum of " + "$" * 40 + "12 and " + "-" * 40 + "23", ["12", "23"]),
    ],
)
def test_operands_in_words_and_list_numbers_are_held(text, held):
    asides, found, at = Asides(text), [], 0
    for word in text.replace(",", " ").replace(")", " ").replace("$", " ").replace("−", " ").replace("-", " ").split():
        at = text.index(word, at)
        if word[0].isdigit() and asides.hold(at):
            found.append(word.rstrip("."))
        at += len(word)
    assert found == held


@pytest.mark.parametrize(
    ("text", "word"),
    [
        *(
            ("it is 5", "is"),
            ("is 5", "is"),
            ("x = 5", "="),
            ("total: 5", "total:"),
            ("\nfrom 5", ""),
            ("straße 5", "straße"),
        ),
        *(
            ("5", ""),
            (" 5", ""),
            ("a  5", ""),
            ("12 5", ""),
            ("**a** 5", ""),
            ("can't 5", ""),
            ("is $5", ""),
        ),
    ],
)
def test_the_word_before_a_number(text, word):
    assert word_before(text, text.index("5")) == word


def test_every_word_that_a_pattern_knows_next_to_a_number_is_searched_for():
    # each word of the mirrored patterns, alone and with each ending, before a number
    parts = {part[::-1] for part in re.findall(r"[a-z]+", numbers_in_passing._BEFORE.pattern.replace(r"\b", " "))}
    words = {f"{left}{right}" for left in parts | {""} for right in parts | {""}} - {""}
    befores = ["", "5 ", "10 percent ", "half ", "out ", "8 of ", "instead ", "not ", "multiplied ", "divided "]
    for word in words:
        for before in befores:
            mirrored = f"{before}{word} "[::-1]
            if numbers_in_passing._BEFORE.match(mirrored):
                assert not stands_for_itself(f"{before}{word} 7", len(mirrored), len(mirrored) + 1), (before, word)
