"""Answers with a person's label, read from JSON Lines: what a judge is checked against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from evalkit.datasets.field_checks import kind
from evalkit.datasets.file_lines import open_dataset, read_lines, why_not_text
from evalkit.errors import DatasetError
from evalkit.inputs.suggestions import nearest_name
from evalkit.judging.cases import NOTHING_BEFORE
from evalkit.judging.rubric import Rubric

_TEXTS = ("question", "answer", "target", "conversation", "label", "id", "group")
_KEYS = (*_TEXTS, "tags", "note")


class LabelledAnswer(NamedTuple):
    """An answer and the label a person gave it: one of the rubric's choices that have a value."""

    id: str
    material: Mapping[str, str]
    label: str
    group: str


def read_labels(path: Path, rubric: Rubric) -> Iterator[LabelledAnswer]:
    """Read answers with labels, one JSON object a line.

    Keys: ``question``, ``answer``, ``label`` (one of the rubric's choices that have a value); ``target`` and
    ``conversation``, if the rubric names them; ``id`` (default ``row-N``), ``group`` (rows that are correlated, for the
    intervals; default: each row is its own group), ``tags`` and ``note``, which are for people.

    Raises
    ------
    DatasetError
        With file, line and field.
    """
    file, form = open_dataset(path)
    ids: dict[str, int] = {}
    with file:
        if form != "lines":
            raise DatasetError("labels are JSON Lines: the file's name must end in .jsonl", path=path)
        for line in read_lines(file):
            if isinstance(line, DatasetError):
                raise DatasetError(line.problem, path=path, line=line.line)
            if not line.raw.strip():
                continue
            try:
                row = _row(line.raw, len(ids) + 1, rubric)
                if row.id in ids:
                    raise DatasetError(f"{row.id!r} is the id in line {ids[row.id]} already", field="id")
            except DatasetError as error:
                raise DatasetError(error.problem, path=path, line=line.number, field=error.field) from None
            ids[row.id] = line.number
            yield row
    if not ids:
        raise DatasetError("holds no rows", path=path)


def _row(raw: bytes, position: int, rubric: Rubric) -> LabelledAnswer:
    try:
        row = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise DatasetError(why_not_text(raw) or f"not valid JSON: {error.msg}") from None
    if not isinstance(row, dict):
        raise DatasetError(f"a row must be an object, {{…}}, not {kind(row)}")
    texts = {key: _text(key, value) for key, value in row.items() if value is not None}
    for key in ("question", "answer", "label", *sorted(rubric.fields - {"conversation"})):
        if key not in texts:
            raise DatasetError("is missing", field=key)
    known = rubric.values
    if texts["label"] not in known:
        suggestion = nearest_name(texts["label"].upper(), known)
        hint = f"did you mean {suggestion!r}?" if suggestion else f"they are {', '.join(known)}"
        raise DatasetError(
            f"{texts['label'][:60]!r} is not a choice of the rubric {rubric.name!r}: {hint}", field="label"
        )
    name = texts.get("id", f"row-{position}")
    material = {field: texts.get(field, NOTHING_BEFORE) for field in ("question", "answer", "target", "conversation")}
    return LabelledAnswer(name, material, texts["label"], texts.get("group", f"row {name}"))


def _text(key: str, value: Any) -> str:
    if key not in _KEYS:
        suggestion = nearest_name(key, _KEYS)
        hint = f"; did you mean {suggestion!r}?" if suggestion else f". Known here: {', '.join(_KEYS)}"
        raise DatasetError(f"unknown key{hint}", field=key[:60])
    if key in ("target", "label", "id") and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if key in _TEXTS and not isinstance(value, str):
        raise DatasetError(f"must be text, not {kind(value)}", field=key)
    return str(value)
