"""Wrong answers to the exercises of notebook 05."""

import math
from types import SimpleNamespace

RIGHT_TURNS = {
    "table-of-ten": (3, "arithmetic slip"),
    "hundred-and-fifty": (3, "repeats an earlier answer"),
    "puppet-show": (2, "wrong operation"),
    "twice-eight": (1, "no answer before the limit"),
    "square-numbers": (1, "ignores the instruction"),
}


def last_number(text, target):
    return text.rstrip(". ").endswith(str(target))


def false_when_blank(text, target):
    try:
        return float(text.strip().removesuffix(".")) == target
    except ValueError:
        return False


WRONG = {
    "05.1": [
        lambda text, target: None,
        lambda text, target: text == str(target),
        lambda text, target: text.strip() == str(target),
        lambda text, target: float(text.strip().removesuffix(".")) == target,
        last_number,
        false_when_blank,
        lambda text: text == "81",
        True,
        "81",
    ],
    "05.2": [
        None,
        [(3, "arithmetic slip")],
        {},
        {**RIGHT_TURNS, "square-numbers": (0, "")},
        {**RIGHT_TURNS, "square-numbers": (3, "repeats an earlier answer")},
        {**RIGHT_TURNS, "table-of-ten": (4, "arithmetic slip")},
        {**RIGHT_TURNS, "puppet-show": (2, "arithmetic slip")},
        {**RIGHT_TURNS, "twice-eight": (1, "hallucination")},
        {**RIGHT_TURNS, "twice-eight": "no answer before the limit"},
        {**RIGHT_TURNS, "hundred-and-fifty": (None, "repeats an earlier answer")},
    ],
    "05.3": [None, 34, 19, 21, 15, 11, 4, 2, "23", math.nan, [23]],
    "05.4": [
        None,
        3,
        39,
        33,
        10,
        43,
        0,
        37,
        "36",
        {"right_to_wrong": 36},
        SimpleNamespace(right_to_wrong=36),
        SimpleNamespace(changed=36),
    ],
}
