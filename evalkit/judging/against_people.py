"""A judge checked against people: answers with a person's label are judged, and the agreement is measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evalkit.endpoint import Endpoint
from evalkit.engine.session_thread import Watcher
from evalkit.errors import SettingsError
from evalkit.judging.cases import Case
from evalkit.judging.judge_run import JudgeRun, judge_cases
from evalkit.judging.judging import judge_info, rubric_for
from evalkit.judging.labels import LabelledAnswer, read_labels, strata_of_labels
from evalkit.judging.rubric import Rubric
from evalkit.runfile.file_names import RUNS_FOLDER
from evalkit.stats import agreement
from evalkit.stats.arrays import Flags, Floats
from evalkit.stats.estimate import Estimate
from evalkit.stats.proportions import proportion
from evalkit.stats.stratified_labels import Strata, stratified_proportion

UNPARSED, FAILED = "unparsed", "failed"  # columns of a confusion table, next to the rubric's choices
_MOST_REPEATS = 100
_MOST_TAGS = 50


class TagCheck(NamedTuple):
    """The agreement of a judge with people on the answers with a tag; as in ``JudgeCheck``."""

    tag: str
    n: int
    agreement: Estimate
    tpr: Estimate
    tnr: Estimate

    def to_json(self) -> dict[str, Any]:
        """The object of ``--json``."""
        estimates = {name: asdict(getattr(self, name)) for name in ("agreement", "tpr", "tnr")}
        return {"tag": self.tag, "n": self.n, **estimates}


class SelfAgreement(NamedTuple):
    """The agreement of a judge with itself, over the answers that it replied to in every repeat.

    ``same`` is the share of answers with the same choice in every repeat; unsure and unreadable replies are choices of
    their own. ``alpha`` is Krippendorff's, with the repeats as raters and undecided replies as missing. ``left_out`` is
    the number of answers whose call failed in some repeat.
    """

    repeats: int
    same: Estimate
    alpha: Estimate
    left_out: int = 0

    def to_json(self) -> dict[str, Any]:
        """The object of ``--json``."""
        return {
            "repeats": self.repeats, "same": asdict(self.same), "alpha": asdict(self.alpha), "left_out": self.left_out,
        }  # fmt: skip


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
    tpr, tnr : Estimate
        True positive rate (sensitivity): of the answers that people labelled as right and the judge decided, the share
        that the judge passed. True negative rate (specificity): of those labelled as wrong, the share that it failed.
        Missing if the rubric's values are not 1 and 0.
    by_tag : tuple of TagCheck
        The 50 most frequent tags, in that order.
    agreement_all : Estimate
        Share over all answers that the judge replied to: one that it did not decide counts as disagreement.
    majority_label : str
        The most frequent label.
    majority : Estimate
        Agreement of always choosing that label, over the same answers as ``agreement_all``.
    self_agreement : SelfAgreement or None
        None: every answer was judged once. All other figures are of the first time.
    weighted : bool
        The labels were drawn from strata, as by ``Run.label(choose="differ")``: ``agreement``, ``agreement_all``,
        ``majority``, ``tpr`` and ``tnr`` are weighted, and hold for all answers of the run. ``confusion``, ``kappa``
        and ``alpha`` are of the labels as they are.
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
    tpr: Estimate
    tnr: Estimate
    by_tag: tuple[TagCheck, ...]
    agreement_all: Estimate
    majority_label: str
    majority: Estimate
    self_agreement: SelfAgreement | None = None
    stopped: bool = False
    weighted: bool = False

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
        itself = self.self_agreement
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
            "tpr": asdict(self.tpr),
            "tnr": asdict(self.tnr),
            "by_tag": [tag.to_json() for tag in self.by_tag],
            "self_agreement": None if itself is None else itself.to_json(),
            "weighted": self.weighted,
        }


def check_judge(
    data: Path | str,
    endpoint: Endpoint,
    rubric: str | Path | Rubric = "correct",
    *,
    folder: Path | str = RUNS_FOLDER,
    repeats: int = 1,
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
        Where the judge's run file goes: ``FOLDER/DATA.judge-N.evalkit``, and ``FOLDER/DATA.repeat-R.judge-N.evalkit``
        for the repeats after the first.
    repeats : int
        How often every answer is judged, 1 to 100; more than once to measure the judge's agreement with itself.
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
    check_repeats(repeats)
    rows = list(read_labels(path, chosen))
    stem = Path(folder) / path.name.removesuffix(".gz").rpartition(".")[0]
    judge_runs: list[JudgeRun] = []
    for repeat in range(1, repeats + 1):
        judge_runs.append(
            judge_cases(
                stem if repeat == 1 else stem.with_name(f"{stem.name}.repeat-{repeat}"),
                lambda: (Case(row.id, row.material, row.group) for row in rows),
                chosen, endpoint, concurrency=concurrency, stream=stream, watch=watch,
            )
        )  # fmt: skip
        if judge_runs[-1].stopped:
            break
    choices = [choices_by_case(judge_run, chosen) for judge_run in judge_runs]
    sent = [row for row in rows if row.id in choices[0]] if judge_runs[0].stopped else rows
    majority = Counter(row.label for row in rows).most_common(1)[0][0]
    judge = judge_info(chosen, judge_runs[0], endpoint)
    itself = _self_agreement(chosen, rows, choices) if len(choices) > 1 else None
    stopped = judge_runs[-1].stopped
    return _check(path, judge_runs[0].path, chosen, judge, sent, choices[0], majority, itself, stopped=stopped)


def check_repeats(repeats: int) -> None:
    """Refuse a number of repeats that is out of range."""
    if not (type(repeats) is int and 1 <= repeats <= _MOST_REPEATS):
        raise SettingsError(f"repeats is {repeats}: it must be a whole number from 1 to {_MOST_REPEATS}")


def choices_by_case(judge_run: JudgeRun, rubric: Rubric) -> dict[str, str]:
    """The judge's choice on every case that was sent, by the id of the case; ``unparsed`` and ``failed`` too."""
    return {
        decision.case: FAILED if decision.failed else decision.choice or UNPARSED
        for decision in judge_run.decisions(rubric)
    }


def _check(
    path: Path,
    judge_run: Path,
    chosen: Rubric,
    judge: Mapping[str, Any],
    rows: Sequence[LabelledAnswer],
    by_case: Mapping[str, str],
    majority: str,
    itself: SelfAgreement | None,
    *,
    stopped: bool,
) -> JudgeCheck:
    choices = [by_case.get(row.id, FAILED) for row in rows]
    columns = (*chosen.choices, UNPARSED, FAILED)
    counts = Counter(zip((row.label for row in rows), choices, strict=True))
    values = chosen.values
    labels = _Labels(
        np.array([values[row.label] for row in rows]),
        np.array([values.get(choice, np.nan) for choice in choices]),
        np.array([row.group for row in rows]),
        strata_of_labels(rows),
    )
    people, judged, clusters, _ = labels
    replied = np.array([choice != FAILED for choice in choices], dtype=bool)
    return JudgeCheck(
        data=path,
        judge_run=judge_run,
        rubric=chosen,
        judge=judge,
        confusion={label: {choice: counts[label, choice] for choice in columns} for label in chosen.values},
        agreement=labels.share(labels.same, labels.decided),
        kappa=agreement.cohen_kappa(people, judged, clusters),
        alpha=agreement.alpha([people, judged], chosen.level, clusters),
        tpr=labels.rate(chosen, 1.0),
        tnr=labels.rate(chosen, 0.0),
        by_tag=_by_tag(chosen, rows, labels),
        agreement_all=labels.share(labels.same, replied),
        majority_label=majority,
        majority=labels.share(people == values[majority], replied),
        self_agreement=itself,
        stopped=stopped,
        weighted=labels.strata is not None,
    )


class _Labels(NamedTuple):
    """Labels and the judge's values, NaN where it did not decide, with their clusters and strata."""

    people: Floats
    judged: Floats
    clusters: Any
    strata: Strata | None

    @property
    def same(self) -> Flags:
        """Where both agree."""
        same: Flags = self.people == self.judged
        return same

    @property
    def decided(self) -> Flags:
        """Where the judge decided."""
        return ~np.isnan(self.judged)

    def share(self, of: Flags, among: Flags) -> Estimate:
        """The share of such answers among others, by weights if the labels were drawn from strata."""
        if self.strata is None:
            return proportion(of[among].astype(np.float64), self.clusters[among])
        return stratified_proportion(np.where(among, of, np.nan), self.strata, self.clusters)

    def rate(self, rubric: Rubric, value: float, tagged: Flags | bool = True) -> Estimate:
        """How often the judge agrees on decided answers that people gave this value, 1 or 0."""
        if not rubric.binary:
            return Estimate(None, None, None, 0, f"the values of the rubric {rubric.name} are not 1 and 0")
        return self.share(self.same, (self.people == value) & self.decided & tagged)


def _by_tag(rubric: Rubric, rows: Sequence[LabelledAnswer], labels: _Labels) -> tuple[TagCheck, ...]:
    places: dict[str, list[int]] = {}
    for at, row in enumerate(rows):
        for tag in row.tags:
            places.setdefault(tag, []).append(at)
    frequent = sorted(places.items(), key=lambda found: -len(found[1]))[:_MOST_TAGS]
    checks = []
    for tag, found in frequent:
        tagged = np.isin(np.arange(len(rows)), found)
        rates = (labels.rate(rubric, value, tagged) for value in (1.0, 0.0))
        checks.append(TagCheck(tag, len(found), labels.share(labels.same, labels.decided & tagged), *rates))
    return tuple(checks)


def _self_agreement(
    rubric: Rubric, rows: Sequence[LabelledAnswer], repeats: Sequence[Mapping[str, str]]
) -> SelfAgreement:
    replied = [row for row in rows if all(choices.get(row.id, FAILED) != FAILED for choices in repeats)]
    clusters = np.array([row.group for row in replied])
    same = [len({choices[row.id] for choices in repeats}) == 1 for row in replied]
    ratings = [[rubric.values.get(choices[row.id], np.nan) for row in replied] for choices in repeats]
    return SelfAgreement(
        len(repeats),
        proportion(np.array(same, dtype=np.float64), clusters),
        agreement.alpha(ratings, rubric.level, clusters),
        len(rows) - len(replied),
    )
