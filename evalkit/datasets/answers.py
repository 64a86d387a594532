"""The answer that a row expects, under the names that collections give it, as the target of a turn.

A text that is nothing but a number is a number.
"""

from __future__ import annotations

import re
from typing import Any

# names of an answer that can be nothing but the expected one, also beside a recorded dialogue
EXPECTED = (
    "target", "ideal", "expected", "expected_output", "expected_answer", "targets", "ground_truth", "reference_answer",
    "correct_answer", "correct_answers", "gold_answer", "gold_answers", "golden_answers",
)  # fmt: skip
ANSWERS = (
    *EXPECTED,
    "final_answer",
    "answer_number",
    "answerKey",
    "answer_key",
    "answer",
    "answers",
    "gold",
    "best_answer",
)
# the right one of several choices
RIGHT_CHOICE = (
    "answer_letter", "answer_index", "answer_idx", "correct", "correct_option", "correct_choice", "correct_index",
    "correct_idx", "correct_answer_index", "label", "cop",
)  # fmt: skip
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)


def plain_target(value: Any) -> Any:
    """A target as a scorer should have it: a text that is nothing but a number is one."""
    if isinstance(value, str) and len(value) < 20 and _NUMBER.fullmatch(value.strip()):
        text = value.strip()
        return float(text) if "." in text else int(text)
    return value


def is_answer(value: Any) -> bool:
    """Whether a value can be nothing but an answer: words, a number, or a list of texts."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(text, str) and text.strip() for text in value)
    return bool(value.strip()) if isinstance(value, str) else type(value) in (int, float)


def read_answer(value: Any) -> Any:
    """The answer of a row: a text, a number or a list of texts, also inside of an object such as SQuAD's."""
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        value = value["text"]
    elif isinstance(value, dict) and isinstance(value.get("value"), str) and isinstance(value.get("aliases"), list):
        value = [value["value"], *value["aliases"]]
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        value = list(dict.fromkeys(value))
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return None if value in ("", []) else plain_target(value)
