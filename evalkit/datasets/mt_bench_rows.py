"""Rows of MT-Bench: texts as turns, with reference answers beside them or joined from the file that has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from evalkit.datasets.field_checks import list_in, object_in
from evalkit.datasets.other_keys import with_rest
from evalkit.datasets.row_format import Row, RowFormat, read_as, texts_listed
from evalkit.errors import DatasetError

_IDS = ("question_id", "prompt_id", "id")


def _mt_bench(row: Row) -> Row:
    place = "turns" if "turns" in row or "prompt" not in row else "prompt"
    questions = read_as(list_in, row.pop(place, None), place)
    golden, where = _references(row)
    if len(golden) > len(questions):
        raise DatasetError(f"has {len(golden)} answers for {len(questions)} turns", field=where)
    turns = [{"user": user} for user in questions]
    for turn, answer in zip(turns, golden, strict=False):
        turn["assistant"] = answer or None
    name = next((key for key in _IDS if key in row), "question_id")
    native: Row = {"id": row.pop(name, None), "turns": turns}
    category = row.pop("category", None)
    if category is not None:
        native["tags"] = [category, *read_as(list_in, row.pop("tags", None) or [], "tags")]
    return with_rest(native, row, others=("category", "reference"))


def _references(row: Row) -> tuple[list[Any], str]:
    """The reference answers, and their field: ``reference``, or ``choices`` of a row of ``reference_answer/``."""
    if not row.get("choices"):
        return read_as(list_in, row.pop("reference", None) or [], "reference"), "reference"
    choices = read_as(list_in, row.pop("choices"), "choices")
    if len(choices) != 1:
        raise DatasetError(f"has {len(choices)} entries, and a reference answer has one", field="choices")
    turns = read_as(object_in, choices[0], "choices[0]").get("turns")
    return read_as(list_in, turns, "choices[0].turns"), "choices[0].turns"


def _is_mt_bench(row: Mapping[str, Any]) -> bool:
    turns = row.get("turns")
    return texts_listed(turns) or ("question_id" in row and isinstance(turns, list)) or texts_listed(row.get("prompt"))


MT_BENCH = RowFormat(
    "mt-bench",
    "MT-Bench",
    '{"question_id": 81, "category": "math", "turns": ["2+2?", "And twice that?"], "reference": ["4", "8"]}',
    ("question_id", "turns"),
    _is_mt_bench,
    _mt_bench,
    fields=(
        (re.compile(r"^turns\[\d+\]\.(?=target|scorer)"), ""),
        (re.compile(r"^id$"), "question_id"),
        (re.compile(r"^tags\b.*"), "category"),
        (re.compile(r"^turns(\[\d+\])\.user$"), r"turns\1"),
        (re.compile(r"^turns(\[\d+\])\.assistant$"), r"reference\1"),
    ),
)
