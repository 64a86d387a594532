"""Answers with a person's label, read from JSON Lines: what a judge is checked against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from evalkit.datasets.dataset_file import LINES, VALUES, open_dataset
from evalkit.datasets.field_checks import kind
from evalkit.datasets.file_lines import read_lines, why_not_text
from evalkit.errors import DatasetError
from evalkit.inputs.suggestions import nearest_name
from evalkit.judging.cases import NOTHING_BEFORE
from evalkit.judging.rubric import Rubric
from evalkit.stats.stratified_labels import Strata, strata_of

_TEXTS = ("question", "answer", "target", "conversation", "label", "id", "group")
_SAMPLING = ("person", "stratum", "stratum_answers", "seed")  # of a file made by ``Run.label``
_KEYS = (*_TEXTS, "tags", "note", *_SAMPLING)


class LabelledAnswer(NamedTuple):
    """An answer and the label a person gave it: one of the rubric's choices that have a value.

    ``stratum`` is the part of a run that it was drawn from, and how many answers are in it; None: not known.
    """

    id: str
    material: Mapping[str, str]
    label: str
    group: str
    tags: tuple[str, ...] = ()
    stratum: tuple[str, int] | None = None


def read_labels(path: Path, rubric: Rubric) -> Iterator[LabelledAnswer]:
    """Read answers with labels, one JSON object a line.

    Keys: ``question``, ``answer``, ``label`` (one of the rubric's choices that have a value); ``target`` and
    ``conversation``, if the rubric names them; ``id`` (default ``row-N``), ``group`` (rows that are correlated, for the
    intervals; default: each row is its own group), ``tags`` (a text or a list of texts, to group results by) and
    ``note``, which is for people. Files that ``labelling.Labelling`` makes have further keys; an answer that its person
    was unsure about has no label and is skipped.

    Raises
    ------
    DatasetError
        With file, line and field.
    """
    file, form = open_dataset(path)
    ids: dict[str, int] = {}
    unsure = 0
    with file:
        if form not in (LINES, VALUES):
            raise DatasetError("labels are JSON Lines, an object on each line", path=path)
        for line in read_lines(file):
            if isinstance(line, DatasetError):
                raise DatasetError(line.problem, path=path, line=line.line)
            if not line.raw.strip():
                continue
            try:
                row = _row(line.raw, len(ids) + 1, rubric)
                if row is None:
                    unsure += 1
                    continue
                if row.id in ids:
                    raise DatasetError(f"{row.id!r} is the id in line {ids[row.id]} already", field="id")
            except DatasetError as error:
                raise DatasetError(error.problem, path=path, line=line.number, field=error.field) from None
            ids[row.id] = line.number
            yield row
    if not ids:
        raise DatasetError("holds no label but UNSURE: label more answers" if unsure else "holds no rows", path=path)


def _row(raw: bytes, position: int, rubric: Rubric) -> LabelledAnswer | None:
    try:
        row = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise DatasetError(why_not_text(raw) or f"not valid JSON: {error.msg}") from None
    if not isinstance(row, dict):
        raise DatasetError(f"a row must be an object, {{…}}, not {kind(row)}")
    tags = _tags(row.pop("tags", None))
    texts = {key: _text(key, value) for key, value in row.items() if value is not None}
    for key in ("question", "answer", "label", *sorted(rubric.fields - {"conversation"})):
        if key not in texts:
            raise DatasetError("is missing", field=key)
    known = rubric.values
    if "stratum" in texts and texts["label"] == "UNSURE" not in known:
        return None
    if texts["label"] not in known:
        suggestion = nearest_name(texts["label"].upper(), known)
        hint = f"did you mean {suggestion!r}?" if suggestion else f"they are {', '.join(known)}"
        raise DatasetError(
            f"{texts['label'][:60]!r} is not a choice of the rubric {rubric.name!r}: {hint}", field="label"
        )
    name = texts.get("id", f"row-{position}")
    material = {field: texts.get(field, NOTHING_BEFORE) for field in ("question", "answer", "target", "conversation")}
    group, stratum = texts.get("group", f"row {name}"), _stratum(row)
    return LabelledAnswer(name, material, texts["label"], group, tags, stratum)


def _stratum(row: Mapping[str, Any]) -> tuple[str, int] | None:
    name, answers = row.get("stratum"), row.get("stratum_answers")
    if name is None and answers is None:
        return None
    if not isinstance(name, str):
        raise DatasetError(f"must be text, not {kind(name)}", field="stratum")
    if type(answers) is not int or answers < 1:
        raise DatasetError("must be a whole number, 1 or more", field="stratum_answers")
    return name, answers


def strata_of_labels(rows: Sequence[LabelledAnswer]) -> Strata | None:
    """The strata that labels were drawn from; None: they count alike, since all are of one stratum, or of unknown ones.

    A label of a stratum stands for its answers divided by its labels (the newest line counts, since the run may have
    grown). Means weighted like this are those of all answers of the run, also if answers on which judge and scorer
    differ were labelled more often.
    """
    known = [row.stratum for row in rows if row.stratum]
    sizes = dict(known)
    if len(sizes) < 2 or len(known) < len(rows):
        return None
    return strata_of([name for name, _ in known], sizes)


def _tags(value: Any) -> tuple[str, ...]:
    tags = [] if value is None else value if isinstance(value, list) else [value]
    for tag in tags:
        if not isinstance(tag, str):
            raise DatasetError(f"must be a text or a list of texts, not {kind(tag)}", field="tags")
    return tuple(dict.fromkeys(tags))


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
