"""Rows of GSM8K: a question, and an answer that ends with ``####`` and a number; its socratic form also as turns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evalkit.datasets.field_checks import words_in
from evalkit.datasets.other_keys import with_rest
from evalkit.datasets.row_format import Row, RowFormat, read_as
from evalkit.errors import DatasetError

if TYPE_CHECKING:
    from evalkit.scorers.reading.numbers import Number

_CALCULATED = re.compile(r"<<[^<>]*=([^<>=]*)>>")


def _gsm8k(row: Row) -> Row:
    if row.get("steps") is not None:
        return _steps(row)
    answer = read_as(words_in, row.pop("answer", None), "answer")
    _, target = _split(answer, "answer")
    turn = {"user": row.pop("question", None), "target": target, "scorer": "number", "assistant": answer}
    return with_rest({"turns": [turn]}, row)


def _steps(row: Row) -> Row:
    """A turn for each step of the socratic form, lines such as ``How many? ** She has 4 + 2 = <<4+2=6>>6``."""
    question = read_as(words_in, row.pop("question", None), "question")
    text, final = _split(read_as(words_in, row.pop("steps"), "steps"), "steps")
    turns: list[Row] = []
    for number, line in enumerate(filter(str.strip, text.splitlines()), 1):
        asked, mark, said = line.partition(" ** ")
        if not mark or not asked.strip():
            raise DatasetError(f"has no ' ** ' in step {number}: only the socratic form has its steps", field="steps")
        results = _CALCULATED.findall(said)
        value = _read_number(results[-1]) if results else None
        user = asked.strip() if turns else f"{question.rstrip()}\n\n{asked.strip()}"
        turn: Row = {"user": user, "assistant": _CALCULATED.sub("", said).strip() or None}
        if value is not None:
            turn |= {"target": value.to_json(), "scorer": "number"}
        turns.append(turn)
    if not turns:
        raise DatasetError("has no step before ####", field="steps")
    turns[-1] |= {"target": final, "scorer": "number"}
    return with_rest({"turns": turns}, row)


def _split(answer: str, field: str) -> tuple[str, Any]:
    """The text before the mark, and the number after it."""
    text, mark, final = answer.rpartition("####")
    number = _read_number(final.strip().rstrip(".")) if mark else None
    if number is None:
        problem = "must end with #### and a number; write rows without one in the native format"
        raise DatasetError(problem, field=field)
    return text, number.to_json()


def _read_number(text: str) -> Number | None:
    """Loaded for rows of this format only: its expressions take as long to compile as this folder to load."""
    from evalkit.scorers.reading.numbers import read_number

    return read_number(text)


def _is_gsm8k(row: Mapping[str, Any]) -> bool:
    answer = row.get("answer")
    return "question" in row and ("steps" in row or (isinstance(answer, str) and "####" in answer))


GSM8K = RowFormat(
    "gsm8k",
    "GSM8K",
    '{"question": "2 plus 2?", "answer": "2 + 2 is 4.\\n#### 4"}',
    ("question", "answer"),
    _is_gsm8k,
    _gsm8k,
    fields=((re.compile(r"^turns\[0\]\.user$"), "question"), (re.compile(r"^turns\[\d+\]\.(?!user).*"), "answer")),
)
