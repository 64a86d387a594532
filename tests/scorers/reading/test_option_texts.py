"""The options of a question, and answers that give the text of one."""

import time

from evalkit.scorers.reading.letters import chosen_letters
from evalkit.scorers.reading.option_texts import named_options, option_letter, options_of

QUESTION = "Which?\nA) Rome\n(B) Paris\nc. New York"


def test_options_are_lines_with_letters():
    assert options_of(QUESTION) == {"A": "rome", "B": "paris", "C": "new york"}
    assert options_of("Which?\nA) Rome") == {}


def test_the_text_of_an_option_stands_for_its_letter():
    options = options_of(QUESTION)
    assert option_letter("New York.", options) == ["C"]
    assert option_letter("It is Paris.", options) == []
    assert named_options("It is not Rome, it is Paris.", options) == ["B"]
    assert named_options("Rome or Paris", options) == ["A", "B"]


def test_hostile_text_is_read_in_bounded_time():
    began = time.process_time()
    for part in ("A, ", "not A and ", "答案是", "A 和 ", "선 "):
        chosen_letters(part * (20_000 // len(part)))
    named_options("not paris " * 2_000, options_of(QUESTION))
    assert time.process_time() - began < 5
