"""A judge checked against people: answers with a person's label are judged, and the agreement is measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.endpoint import Endpoint
from evalkit.engine.session_thread import Watcher
from evalkit.judging.cases import Case
from evalkit.judging.judge_run import JudgeRun, judge_cases
from evalkit.judging.judging import judge_info, rubric_for
from evalkit.judging.labels import LabelledAnswer, read_labels
from evalkit.judging.rubric import Rubric
from evalkit.runfile.file_names import RUNS_FOLDER
from evalkit.stats import agreement
from evalkit.stats.estimate import Estimate
from evalkit.stats.proportions import proportion

UNPARSED, FAILED = "unparsed", "failed"  # columns of a confusion table, next to the rubric's choices


@dataclass(frozen=True, slots=True)
class JudgeCheck:
    """The agreement of a judge with people.

    Parameters
    ----------
    data, judge_run : Path
        The labels, and the judge's run file.
    rubric : Rubric
    judge : mapping
        As in ``judging.Judging``.
    confusion : mapping of str to mapping of str to int
        Label to choice to count; the choices include ``unparsed`` and ``failed``.
    agreement, kappa, alpha : Estimate
        Over the answers that the judge decided: share on which both agree, Cohen's kappa, Krippendorff's alpha
        (``rubric.level``).
    agreement_all : Estimate
        Share over all answers that the judge replied to: one that it did not decide counts as disagreement.
    majority_label : str
        The most frequent label.
    majority : Estimate
        Agreement of always choosing that label, over the same answers as ``agreement_all``.
    stopped : bool
        The user stopped it: answers that were not sent to the judge are in no figure.
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
        """The number of answers for which the judge made one of these choices."""
        return sum(row[choice] for row in self.confusion.values() for choice in choices)

    @property
    def n(self) -> int:
        """The number of answers with a label."""
        return sum(sum(row.values()) for row in self.confusion.values())

    @property
    def unsure(self) -> int:
        """How often the judge made a choice that has no value."""
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
) -> JudgeCheck:
    """Let a judge judge answers that people have labelled, and measure the agreement.

    Parameters
    ----------
    data : path-like
        JSON Lines: see ``labels.read_labels``.
    endpoint : Endpoint
        The judge.
    rubric : str, path-like or Rubric
    folder : path-like
        Where the judge's run file goes: ``FOLDER/DATA.judge-N.evalkit``.
    concurrency, stream, watch
        As for ``judging.judge``.

    Returns
    -------
    JudgeCheck

    Raises
    ------
    DatasetError
        A row that cannot be used, with file, line and field.
    SettingsError, RunFileError, EndpointError
        As for ``judging.judge``.
    """
    path, chosen = Path(data), rubric_for(rubric, pairwise=False)
    rows = list(read_labels(path, chosen))
    judge_run = judge_cases(
        Path(folder) / path.name.removesuffix(".gz").rpartition(".")[0],
        lambda: (Case(row.id, row.material, row.group) for row in rows),
        chosen, endpoint, concurrency=concurrency, stream=stream, watch=watch,
    )  # fmt: skip
    by_id = {
        decision.case: FAILED if decision.failed else decision.choice or UNPARSED
        for decision in judge_run.decisions(chosen)
    }
    majority = Counter(row.label for row in rows).most_common(1)[0][0]
    sent = [row for row in rows if row.id in by_id] if judge_run.stopped else rows
    choices = [by_id.get(row.id, FAILED) for row in sent]
    return _check(path, judge_run, chosen, judge_info(chosen, judge_run, endpoint), sent, choices, majority)


def _check(
    path: Path,
    judge_run: JudgeRun,
    chosen: Rubric,
    judge: Mapping[str, Any],
    rows: list[LabelledAnswer],
    choices: list[str],
    majority: str,
) -> JudgeCheck:
    columns = (*chosen.choices, UNPARSED, FAILED)
    counts = Counter(zip((row.label for row in rows), choices, strict=True))
    values = chosen.values
    people = np.array([values[row.label] for row in rows])
    judged = np.array([values.get(choice, np.nan) for choice in choices])
    clusters = np.array([row.group for row in rows])
    replied = np.array([choice != FAILED for choice in choices], dtype=bool)
    return JudgeCheck(
        data=path,
        judge_run=judge_run.path,
        rubric=chosen,
        judge=judge,
        confusion={label: {choice: counts[label, choice] for choice in columns} for label in chosen.values},
        agreement=agreement.raw_agreement(people, judged, clusters),
        kappa=agreement.cohen_kappa(people, judged, clusters),
        alpha=agreement.alpha([people, judged], chosen.level, clusters),
        agreement_all=proportion((people == judged)[replied].astype(np.float64), clusters[replied]),
        majority_label=majority,
        majority=proportion((people == values[majority])[replied].astype(np.float64), clusters[replied]),
        stopped=judge_run.stopped,
    )
