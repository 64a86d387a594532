"""Multiple choice: the choices of a row as lines of the question, and its answer as the letter of one of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import takewhile
from typing import Any, NamedTuple

from evalkit.datasets.field_checks import kind, shortened, text_in
from evalkit.datasets.row_format import objects_listed, read_as
from evalkit.errors import DatasetError

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_STEMS = ("", "option", "choice", "opt", "op", "ending", "sol", "answeroption")  # of keys that hold a choice each
_SERIES = (LETTERS.lower(), "123456789", "012345678")
_LONGEST_NAME = 60  # of a key that can be known
_WITH_LABEL = re.compile(
    r"\s*(?:\((?P<a>[A-Za-z]|\d{1,2})\)\s*|(?P<b>[A-Za-z])[).:]\s*|(?P<c>\d{1,2})[).:]\s+)(?P<text>\S.*)", re.DOTALL
)
_OWN_LABELS = (LETTERS, LETTERS.lower(), tuple(map(str, range(1, 27))))


class Choices(NamedTuple):
    """The choices of a row: their texts, their labels in the row, and whether it has numbers as choices."""

    texts: list[str]
    labels: list[str]
    numbers: bool


def plain_name(name: str) -> str:
    """A name for comparing: its letters and digits, small; a long one as it is."""
    return _letters_and_digits(name) if len(name) <= _LONGEST_NAME else name


@lru_cache(4096)
def _letters_and_digits(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


def listed_apart(row: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Choices with a key each, such as ``A``, ``B`` or ``option1``, ``option2``: label to key and text.

    Empty if there are no two.
    """
    keys = {plain_name(key): key for key, value in row.items() if isinstance(value, str | int | float) and value != ""}
    if len(keys) < 2:
        return {}
    for stem in _STEMS:
        for series in _SERIES if stem else _SERIES[:1]:
            found = [keys[name] for name in takewhile(keys.__contains__, (stem + label for label in series))]
            if len(found) > 1:
                return {label.upper(): (key, row[key]) for label, key in zip(series, found, strict=False)}
    return {}


def read_choices(value: Any, field: str) -> Choices:
    """The choices of a row: a list, an object of label to text, or one with ``text`` and ``label``.

    Choices without labels have those of the alphabet, which may also stand before each text.
    """
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        labels, texts = value.get("label") or list(LETTERS), value["text"]
    elif isinstance(value, dict):
        labels, texts = list(value), list(value.values())
    elif objects_listed(value) and all("label" in choice and "text" in choice for choice in value):
        labels, texts = [choice["label"] for choice in value], [choice["text"] for choice in value]
    elif isinstance(value, list):
        labels, texts = list(LETTERS), value
    else:
        raise DatasetError(
            f"must be a list of texts, or an object of letters and texts, not {kind(value)}", field=field
        )
    if not 2 <= len(texts) <= min(len(LETTERS), len(labels)):
        problem = f"has {len(texts)} choices: there must be from 2 to {len(LETTERS)}, each with a label"
        raise DatasetError(problem, field=field)
    numbers = any(type(text) in (int, float) for text in texts)
    texts = [str(text) if isinstance(text, int | float) else read_as(text_in, text, field) for text in texts]
    return _without_own_labels(Choices(texts, [str(label) for label in labels[: len(texts)]], numbers))


def _without_own_labels(choices: Choices) -> Choices:
    """The choices without what stands before each text: such as ``A)``, ``(a)`` or ``1:``, if all have it, in order."""
    found = [_labelled(text) for text in choices.texts]
    own = [label for label, _ in found]
    if own not in ([*labels[: len(own)]] for labels in _OWN_LABELS):
        return choices
    unlabelled = choices.labels == list(LETTERS[: len(own)])
    return choices._replace(texts=[text for _, text in found], labels=own if unlabelled else choices.labels)


def _labelled(text: str) -> tuple[str, str]:
    """The label that stands before a text, empty if there is none, and the text."""
    match = _WITH_LABEL.match(text)
    return (match["a"] or match["b"] or match["c"], match["text"]) if match else ("", text)


def with_choices(question: str, choices: Choices) -> str:
    """A question with its choices, a line each: ``A) Rome``."""
    if choices.texts == list(LETTERS[: len(choices.texts)]):  # the question has their texts
        return question
    lines = (f"{letter}) {text}" for letter, text in zip(LETTERS, choices.texts, strict=False))
    return "\n".join((question.rstrip(), "", *lines))


def right_letter(answer: Any, choices: Choices, field: str) -> str:
    """The letter of the right choice, which the row gives as its label, its text, or its number from 0.

    Raises
    ------
    DatasetError
        It is none of the choices.
    """
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if isinstance(answer, list):
        problem = "has several answers: the scorer choice has one letter as its target. Write the row natively"
        raise DatasetError(problem, field=field)
    found = _places(answer, choices)
    if found:
        return LETTERS[found[0]]
    listed = ", ".join(choices.labels)
    shown = shortened(repr(answer))
    raise DatasetError(f"is {shown}, which is none of the choices: neither {listed} nor the text of one", field=field)


def _places(answer: Any, choices: Choices) -> list[int]:
    """Where the answer is among the choices: one place, or none."""
    texts, labels, numbers = choices
    if type(answer) in (int, float) and numbers:  # its value, not its number
        found = _at(str(answer), texts)
        return found if len(found) == 1 else []
    if type(answer) is int:
        if any(label.isdecimal() for label in labels):  # a number may be one from 0 or from 1
            return _at(str(answer), labels)
        return [answer] if 0 <= answer < len(texts) else []
    if not isinstance(answer, str):
        return []
    plain = answer.strip()
    found = _at(plain, labels) or _at(plain.strip("().").upper(), [label.upper() for label in labels])
    if not found:
        label, text = _labelled(answer)
        found = [at for at in _at(label.upper(), [each.upper() for each in labels]) if _at(text.strip(), texts) == [at]]
    if not found:
        found = _at(plain, texts)
    return found if len(found) == 1 else []


def _at(value: str, values: list[str]) -> list[int]:
    return [at for at, each in enumerate(values) if each == value]
