"""A judge checked against people: answers with a person's label, judged, and how far the two agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from evalkit.datasets.field_checks import kind
from evalkit.datasets.file_lines import open_dataset, read_lines, why_not_text
from evalkit.endpoint import Endpoint
from evalkit.engine.session_thread import Watcher
from evalkit.errors import DatasetError
from evalkit.inputs.suggestions import nearest_name
from evalkit.judging import judge_run as judging_run
from evalkit.judging.judge_run import Case, Hearing
from evalkit.judging.judging import NOTHING_BEFORE, judge_json, rubric_for
from evalkit.judging.rubric import Rubric
from evalkit.runfile.file_names import RUNS_FOLDER
from evalkit.stats import agreement
from evalkit.stats.estimate import Estimate
from evalkit.stats.proportions import proportion

UNPARSED, FAILED = "unparsed", "failed"  # beside the rubric's choices, in a confusion table
_TEXTS = ("question", "answer", "target", "conversation", "label", "id", "group")
_KEYS = (*_TEXTS, "tags", "note")


class Labelled(NamedTuple):
    """An answer and what a person says of it: one of the rubric's choices that is worth something."""

    id: str
    material: Mapping[str, str]
    label: str
    group: str


@dataclass(frozen=True, slots=True)
class Check:
    """How far a judge agrees with people.

    Parameters
    ----------
    data, judge_run : Path
        The labels, and the judge's run file.
    rubric : Rubric
    judge : mapping
        As in ``judging.Judging``.
    confusion : mapping of str to mapping of str to int
        Label to choice to count; beside the choices there are ``unparsed`` and ``failed``.
    agreement, kappa, alpha : Estimate
        Over the answers that the judge decided: share on which both say the same, Cohen's kappa, Krippendorff's alpha
        (``rubric.level``).
    agreement_all : Estimate
        Share over all answers that the judge was heard on: one that it did not decide counts as not the same.
    majority_label : str
        The most frequent label.
    majority : Estimate
        What always saying that one would give, over the same answers as ``agreement_all``.
    stopped : bool
        It was stopped by hand: answers that were not put to the judge are in no figure.
    """

    data: Path
    judge_run: Path
    rubric: Rubric
    judge: Mapping[str, Any]
    confusion: Mapping[str, Mapping[str, int]]
    agreement: Estimate
    kappa: Estimate
    alpha: Estimate
    agreement_all: Estimate
    majority_label: str
    majority: Estimate
    stopped: bool = False

    def count(self, *choices: str) -> int:
        """How many answers the judge gave one of these choices."""
        return sum(row[choice] for row in self.confusion.values() for choice in choices)

    @property
    def n(self) -> int:
        """Answers with a label."""
        return sum(sum(row.values()) for row in self.confusion.values())

    @property
    def unsure(self) -> int:
        """Choices that are worth nothing known."""
        return self.count(*(choice for choice, value in self.rubric.choices.items() if value is None))

    def to_json(self) -> dict[str, Any]:
        """The object of ``--json``."""
        return {
            "labels": str(self.data),
            "judge": {**self.judge, "run": str(self.judge_run)},
            "n": self.n,
            "unsure": self.unsure,
            "unparsed": self.count(UNPARSED),
            "failed": self.count(FAILED),
            "confusion": {label: dict(row) for label, row in self.confusion.items()},
            "agreement": asdict(self.agreement),
            "agreement_all": asdict(self.agreement_all),
            "majority": {"label": self.majority_label, **asdict(self.majority)},
            "kappa": asdict(self.kappa),
            "alpha": {"level": self.rubric.level, **asdict(self.alpha)},
            "stopped": self.stopped,
        }


def check_judge(
    data: Path | str,
    endpoint: Endpoint,
    rubric: str | Path | Rubric = "correct",
    *,
    folder: Path | str = RUNS_FOLDER,
    concurrency: int = 4,
    stream: bool = True,
    watch: Watcher | None = None,
) -> Check:
    """Let a judge judge answers that people have labelled, and say how far the two agree.

    Parameters
    ----------
    data : path-like
        JSON Lines: see ``read_labels``.
    endpoint : Endpoint
        The judge.
    rubric : str, path-like or Rubric
    folder : path-like
        Where the judge's run file goes: ``FOLDER/DATA.judge-N.evalkit``.
    concurrency, stream, watch
        As for ``judging.judge``.

    Returns
    -------
    Check

    Raises
    ------
    DatasetError
        A row that cannot be used, with file, line and field.
    SettingsError, RunFileError, EndpointError
        As for ``judging.judge``.
    """
    path, chosen = Path(data), rubric_for(rubric, pairwise=False)
    rows = list(read_labels(path, chosen))
    held = judging_run.hold(
        Path(folder) / path.name.removesuffix(".gz").rpartition(".")[0],
        lambda: (Case(row.id, row.material, row.group) for row in rows),
        chosen, endpoint, concurrency=concurrency, stream=stream, watch=watch,
    )  # fmt: skip
    said = {heard.case: FAILED if heard.failed else heard.choice or UNPARSED for heard in held.heard(chosen)}
    most = Counter(row.label for row in rows).most_common(1)[0][0]
    asked = [row for row in rows if row.id in said] if held.stopped else rows
    told = [said.get(row.id, FAILED) for row in asked]
    return _check(path, held, chosen, judge_json(chosen, held, endpoint), asked, told, most)


def _check(
    path: Path,
    held: Hearing,
    chosen: Rubric,
    judge: Mapping[str, Any],
    rows: list[Labelled],
    told: list[str],
    most: str,
) -> Check:
    columns = (*chosen.choices, UNPARSED, FAILED)
    labels = [label for label, value in chosen.choices.items() if value is not None]
    counted = Counter(zip((row.label for row in rows), told, strict=True))
    places = _places(chosen)
    people = np.array([places[row.label] for row in rows])
    judged = np.array([places.get(choice, np.nan) for choice in told])
    clusters = np.array([row.group for row in rows])
    heard = np.array([choice != FAILED for choice in told], dtype=bool)
    return Check(
        data=path,
        judge_run=held.path,
        rubric=chosen,
        judge=judge,
        confusion={label: {choice: counted[label, choice] for choice in columns} for label in labels},
        agreement=agreement.raw_agreement(people, judged, clusters),
        kappa=agreement.cohen_kappa(people, judged, clusters),
        alpha=agreement.alpha([people, judged], chosen.level, clusters),
        agreement_all=proportion((people == judged)[heard].astype(np.float64), clusters[heard]),
        majority_label=most,
        majority=proportion((people == places[most])[heard].astype(np.float64), clusters[heard]),
        stopped=held.stopped,
    )


def _places(chosen: Rubric) -> dict[str, float]:
    """A number for every choice that is worth something: its worth, in which their order lies."""
    return {choice: float(value) for choice, value in chosen.choices.items() if value is not None}


def read_labels(path: Path, chosen: Rubric) -> Iterator[Labelled]:
    """Read answers with labels, one JSON object a line.

    Keys: ``question``, ``answer``, ``label`` (one of the rubric's choices that is worth something); ``target`` and
    ``conversation``, where the rubric names them; ``id`` (default ``row-N``), ``group`` (rows that hang together, for
    the intervals; default: each is its own), ``tags`` and ``note``, which are for people.

    Raises
    ------
    DatasetError
        With file, line and field.
    """
    file, form = open_dataset(path)
    ids: dict[str, int] = {}
    with file:
        if form != "lines":
            raise DatasetError("labels are JSON Lines: the name must end in .jsonl", path=path)
        for line in read_lines(file):
            if isinstance(line, DatasetError):
                raise DatasetError(line.problem, path=path, line=line.line)
            if not line.raw.strip():
                continue
            try:
                row = _row(line.raw, len(ids) + 1, chosen)
                if row.id in ids:
                    raise DatasetError(f"{row.id!r} is the id in line {ids[row.id]} already", field="id")
            except DatasetError as error:
                raise DatasetError(error.problem, path=path, line=line.number, field=error.field) from None
            ids[row.id] = line.number
            yield row
    if not ids:
        raise DatasetError("holds no rows", path=path)


def _row(raw: bytes, position: int, chosen: Rubric) -> Labelled:
    try:
        row = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise DatasetError(why_not_text(raw) or f"not valid JSON: {error.msg}") from None
    if not isinstance(row, dict):
        raise DatasetError(f"a row must be an object, {{…}}, not {kind(row)}")
    texts = {key: _text(key, value) for key, value in row.items() if value is not None}
    for key in ("question", "answer", "label", *sorted(chosen.fields - {"conversation"})):
        if key not in texts:
            raise DatasetError("is missing", field=key)
    known = _places(chosen)
    if texts["label"] not in known:
        suggestion = nearest_name(texts["label"].upper(), known)
        hint = f"did you mean {suggestion!r}?" if suggestion else f"they are {', '.join(known)}"
        raise DatasetError(f"{texts['label'][:60]!r} is no choice of the rubric {chosen.name!r}: {hint}", field="label")
    name = texts.get("id", f"row-{position}")
    material = {field: texts.get(field, NOTHING_BEFORE) for field in ("question", "answer", "target", "conversation")}
    return Labelled(name, material, texts["label"], texts.get("group", f"row {name}"))


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
