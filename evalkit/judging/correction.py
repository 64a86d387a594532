"""The mean score that a judge gives to a run, corrected by answers that people have labelled."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evalkit.judging.cases import Case
from evalkit.judging.judge_run import JudgeRun
from evalkit.judging.label_sample import RANDOM
from evalkit.judging.labels import LabelledAnswer, strata_of_labels
from evalkit.judging.rubric import Rubric
from evalkit.stats.corrected_rate import corrected_rate
from evalkit.stats.estimate import Estimate, independent_difference
from evalkit.stats.prediction_powered import prediction_powered_mean
from evalkit.stats.proportions import proportion
from evalkit.stats.stratified_labels import Strata, stratified_prediction_powered_mean, stratified_proportion

_SURE = 0.99  # level at which labelled and other answers are called different


@dataclass(frozen=True, slots=True)
class Correction:
    """The mean score of a run, corrected by labels.

    The judge's choices without a value and its unreadable replies count as not passed here, in the labelled answers and
    in the others alike, so that the corrected mean is over all answers that the judge replied to.

    Parameters
    ----------
    labels : Path
    labelled, of_run, failed : int
        Labelled answers that the judge replied to, how many of them are answers of this run, and how many labelled
        answers it did not reply to because the call failed.
    mean : Estimate
        ``prediction_powered_mean``: for labels that are a random sample of the run's answers, or of answers like them.
    rogan_gladen : Estimate
        ``corrected_rate``: for labels of any answers on which the judge makes its mistakes as often as on those of the
        run. It takes all answers as independent. Missing if the rubric's values are not 1 and 0.
    doubt : str or None
        Why the labels do not seem to be a random sample.
    weighted : bool
        The labels were drawn from strata: ``mean`` is ``stratified_prediction_powered_mean``, in which each label
        weighs as many answers as it stands for. There is no ``rogan_gladen`` then.
    """

    labels: Path
    labelled: int
    of_run: int
    failed: int
    mean: Estimate
    rogan_gladen: Estimate
    doubt: str | None
    weighted: bool = False

    def to_json(self) -> dict[str, Any]:
        """The object of ``--json``."""
        return {
            "labels": str(self.labels),
            "labelled": self.labelled,
            "of_run": self.of_run,
            **asdict(self.mean),
            "rogan_gladen": asdict(self.rogan_gladen),
            "doubt": self.doubt,
            "failed": self.failed,
            "weighted": self.weighted,
        }


class _Answers(NamedTuple):
    """Answers with the value that the judge gave each, and their clusters."""

    judged: list[float]
    clusters: list[str]


def correction(
    labels: Path, rows: Sequence[LabelledAnswer], of_labels: JudgeRun, cases: Iterable[Case], of_run: JudgeRun,
    rubric: Rubric,
) -> Correction:  # fmt: skip
    """Correct the mean score of a run.

    Parameters
    ----------
    labels : Path
    rows : sequence of LabelledAnswer
    of_labels, of_run : JudgeRun
        The judge's replies to the labelled answers, and to those of the run.
    cases : iterable of Case
        The answers of the run.
    rubric : Rubric
    """
    values = _values(of_labels, rubric)
    replied = [row for row in rows if row.id in values]
    left = Counter(_content(row.material, rubric) for row in replied)
    found: dict[tuple[str, ...], list[str]] = defaultdict(list)
    others, of_labelled = _Answers([], []), list[tuple[str, str]]()
    of_cases = _values(of_run, rubric)
    for case in cases:
        if case.id not in of_cases:
            continue
        content = _content(case.material, rubric)
        if left[content] > 0:
            left[content] -= 1
            found[content].append(case.group or case.id)
            of_labelled.append((case.id, case.group or case.id))
        else:
            others.judged.append(of_cases[case.id])
            others.clusters.append(case.group or case.id)
    same = sum(map(len, found.values()))
    labelled = _Answers([values[row.id] for row in replied], list(_clusters(replied, found, rubric)))
    people = [rubric.values[row.label] for row in replied]
    strata = strata_of_labels(replied)
    if strata is None:
        mean = prediction_powered_mean(people, labelled.judged, others.judged, labelled.clusters, others.clusters)
        rogan_gladen = _rogan_gladen(rubric, people, labelled.judged, list(of_cases.values()))
        doubt = _lone_stratum(rows) or _doubt(labelled, others)
    else:
        everything = _Answers([*others.judged], [*others.clusters])
        for name, group in of_labelled:
            everything.judged.append(of_cases[name])
            everything.clusters.append(group)
        mean = stratified_prediction_powered_mean(
            people, labelled.judged, strata, everything.judged, labelled.clusters, everything.clusters
        )
        rogan_gladen = Estimate(None, None, None, len(of_cases), "labels from strata have weights, and it has none")
        doubt = _doubt(labelled, everything, strata)
    return Correction(
        labels=labels,
        labelled=len(replied),
        of_run=same,
        failed=len(rows) - len(replied),
        mean=mean,
        rogan_gladen=rogan_gladen,
        doubt=doubt,
        weighted=strata is not None,
    )


def _values(judge_run: JudgeRun, rubric: Rubric) -> dict[str, float]:
    """The value of the judge's choice on every case that it replied to; 0 without one."""
    values = rubric.values
    return {
        decision.case: values.get(decision.choice or "", 0.0)
        for decision in judge_run.decisions(rubric)
        if not decision.failed
    }


def _content(material: Mapping[str, str], rubric: Rubric) -> tuple[str, ...]:
    return tuple(material[field] for field in sorted(rubric.fields))


def _clusters(
    rows: Iterable[LabelledAnswer], found: Mapping[tuple[str, ...], list[str]], rubric: Rubric
) -> Iterator[str]:
    """The cluster of each labelled answer: that of the run's turn, else its own."""
    left = {content: iter(groups) for content, groups in found.items()}
    for row in rows:
        yield next(left.get(_content(row.material, rubric), iter(())), row.group)


def _rogan_gladen(rubric: Rubric, people: list[float], judged: list[float], of_run: list[float]) -> Estimate:
    if not rubric.binary:
        return Estimate(None, None, None, len(of_run), f"the values of the rubric {rubric.name} are not 1 and 0")
    cells = Counter(zip(people, judged, strict=True))
    return corrected_rate(
        (sum(value == 1 for value in of_run), len(of_run)),
        (cells[1.0, 1.0], cells[1.0, 1.0] + cells[1.0, 0.0]),
        (cells[0.0, 0.0], cells[0.0, 0.0] + cells[0.0, 1.0]),
    )


def _lone_stratum(rows: Sequence[LabelledAnswer]) -> str | None:
    """Why labels that ``Run.label`` drew from strata cannot stand for the run: some strata or weights are missing."""
    names = {row.stratum[0] if row.stratum else RANDOM for row in rows}
    if names == {RANDOM}:
        return None
    if RANDOM in names:
        missing = "others are of unknown origin, so their weights are not known: correct by one labels file"
    else:
        missing = "none of the other answers has a label yet: label more"
    return f"some labels are of answers chosen by whether judge and scorer differ, and {missing}"


def _doubt(labelled: _Answers, others: _Answers, strata: Strata | None = None) -> str | None:
    """Why labelled answers are not like the others: the judge gave them other scores, beyond chance."""
    of_others = proportion(np.array(others.judged), others.clusters, _SURE)
    if strata is None:
        scores = [proportion(np.array(labelled.judged), labelled.clusters, _SURE), of_others]
    else:
        scores = [stratified_proportion(labelled.judged, strata, labelled.clusters, _SURE), of_others]
    difference = independent_difference(*scores)
    if difference.low is None or difference.high is None or difference.low <= 0 <= difference.high:
        return None
    rely = ", so rely on Rogan and Gladen's estimate" if strata is None else ""
    shares = [f"{100 * (score.value or 0):.0f} %" for score in scores]
    return (
        f"the judge's mean score is {shares[0]} on the labelled answers and {shares[1]} on the others: the labels are "
        f"no random sample of these answers{rely}"
    )
