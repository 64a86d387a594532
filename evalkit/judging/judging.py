"""Judging a run: its answers are sent to a judge, whose decisions become scores in the run file."""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evalkit import __version__
from evalkit.endpoint import Endpoint
from evalkit.engine.session_thread import Watcher
from evalkit.errors import SettingsError
from evalkit.judging import judge_run as judge_runs
from evalkit.judging.cases import Case, cases, position_of
from evalkit.judging.correction import Correction, correction
from evalkit.judging.judge_run import Decision, JudgeRun
from evalkit.judging.labels import LabelledAnswer, read_labels
from evalkit.judging.rubric import Rubric, find
from evalkit.record import Score
from evalkit.run import Run
from evalkit.runfile import scorings
from evalkit.runfile.scorings import JudgedScoring
from evalkit.runfile.store import RunFile
from evalkit.scorers.registry import cut
from evalkit.stats import agreement
from evalkit.stats.estimate import Estimate
from evalkit.stats.proportions import proportion


class Agreement(NamedTuple):
    """Agreement of several judgings of a run by one rubric: their scorings, and Krippendorff's alpha."""

    scorings: tuple[int, ...]
    models: tuple[str, ...]
    level: str
    alpha: Estimate


@dataclass(frozen=True, slots=True)
class Judging:
    """The result of judging a run.

    Parameters
    ----------
    run, judge_run : Path
        The judged run file, and that of the judge.
    rubric : Rubric
    judge : mapping
        What the run file stores about the judge: ``model``, ``base_url``, ``rubric`` (its name), ``rubric_hash``,
        ``form`` (one of ``judge_run.FORMS``), ``run`` (the name of the judge's run file) and ``answered``, the number
        of cases it answered; ``temperature_refused`` if it refuses temperature 0 and ran at its own.
    scoring : int
        Number of the scoring in the run file.
    counts : bool
        Whether its scores are those of the run now.
    judged : int
        Turns that were sent to the judge.
    choices : mapping of str to int
        How often the judge made each choice.
    unparsed, failed : int
        Replies without a readable choice, and calls that failed.
    mean : Estimate
        Of the scores, 0 to 1; clusters are conversations or their groups.
    agreement : Agreement or None
        With the judgings of this run by other judges with the same rubric; None if there is no other.
    corrected : Correction or None
        The mean corrected by labels; None: no labels were given, or it was stopped.
    stopped : bool
        The user stopped it before every turn was judged: its scores do not become those of the run.
    """

    run: Path
    judge_run: Path
    rubric: Rubric
    judge: Mapping[str, Any]
    scoring: int
    counts: bool
    judged: int
    choices: Mapping[str, int]
    unparsed: int
    failed: int
    mean: Estimate
    agreement: Agreement | None
    corrected: Correction | None = None
    stopped: bool = False

    @property
    def unsure(self) -> int:
        """How often the judge made a choice that has no value."""
        return sum(number for choice, number in self.choices.items() if self.rubric.choices[choice] is None)

    def to_json(self) -> dict[str, Any]:
        """The object of ``--json``."""
        others = self.agreement
        return {
            "run": str(self.run),
            "judge": dict(self.judge),
            "scoring": self.scoring,
            "counts": self.counts,
            "judged": self.judged,
            "choices": dict(self.choices),
            "unsure": self.unsure,
            "unparsed": self.unparsed,
            "failed": self.failed,
            "mean": asdict(self.mean),
            "agreement": None if others is None else {**others._asdict(), "alpha": asdict(others.alpha)},
            "stopped": self.stopped,
            "corrected": None if self.corrected is None else self.corrected.to_json(),
        }


def judge(
    run: Run | Path | str,
    endpoint: Endpoint,
    rubric: str | Path | Rubric = "correct",
    *,
    labels: Path | str | None = None,
    limit: int | None = None,
    concurrency: int = 4,
    stream: bool = True,
    watch: Watcher | None = None,
) -> Judging:
    """Let a model judge the answers of a run, and store its decisions in the run file as a new scoring.

    The judge's calls are a run of their own, ``NAME.judge-N.evalkit`` next to the judged one. A prompt that the
    same judge has answered in any of these runs is not sent again: a trial is paid for once, a judging that was
    interrupted or had failed calls continues when you repeat it, and a complete one costs nothing. A choice without a
    value, a reply that cannot be read and a failed call are scores without a value, each with its reason; the turns are
    never marked wrong for it.

    Parameters
    ----------
    run : Run or path-like
        Failed turns are not judged, nor turns without target and golden answer if the rubric names ``{target}``.
    endpoint : Endpoint
        The judge, at temperature 0 unless its parameters set another (None: at its own) or it refuses that.
    rubric : str, path-like or Rubric
        A built-in one (``correct``, ``helpful``), a TOML file, or one made in code.
    labels : path-like, optional
        Answers labelled by people, as for ``judge-check``: best a random sample of the run's. The judge judges them
        too, and the mean is corrected by its mistakes: see ``Judging.corrected``.
    limit : int, optional
        Judge only this many turns, from the first: a trial, whose scores are stored but do not become those of the run.
    concurrency : int
        Turns judged in parallel.
    stream : bool
        Request streams.
    watch : callable, optional
        Called with the ``Progress`` about ten times a second; if it returns ``True`` judging ends, and the
        scores so far are stored but do not become those of the run.

    Returns
    -------
    Judging

    Raises
    ------
    SettingsError
        The rubric cannot be used, or there is nothing to judge.
    DatasetError
        A label cannot be used, with file, line and field.
    RunFileError
        A run file cannot be used, or is being written.
    EndpointError
        The judge cannot be used.
    """
    path, chosen = path_of(run), rubric_for(rubric, pairwise=False)
    check_limit(limit)
    rows = None if labels is None else list(read_labels(Path(labels), chosen))

    def of_run() -> Iterator[Case]:
        return itertools.islice(cases(path, chosen), limit)

    stem = judge_runs.stem_of(path)
    lack = " with a target or a golden answer" if "target" in chosen.fields else ""
    judge_run = judge_runs.judge_cases(
        stem, of_run, chosen, endpoint,
        nothing=f"{path} has no answered turn{lack}: there is nothing to judge by the rubric {chosen.name!r}",
        concurrency=concurrency, stream=stream, watch=watch,
    )  # fmt: skip
    corrected = None
    if rows is not None and not judge_run.stopped:
        of_labels = judge_runs.judge_cases(
            stem, lambda: _labelled(rows), chosen, endpoint, concurrency=concurrency, stream=stream, watch=watch
        )
        if not of_labels.stopped:
            corrected = correction(Path(str(labels)), rows, of_labels, of_run(), judge_run, chosen)
    info, counts = judge_info(chosen, judge_run, endpoint), limit is None and not judge_run.stopped
    with RunFile.open(path) as runfile:
        known = next((stored for stored in scorings.judgings(runfile.connection) if stored.judge == info), None)
        if known is not None:
            number = known.id
            if counts:
                scorings.make_current_if_read(runfile, number)
        else:
            number = scorings.add(
                runfile, scorer_name(chosen), [_scores(judge_run, chosen, runfile.connection)],
                versions=lambda used: {"evalkit": __version__, **dict.fromkeys(used, chosen.hash)},
                scores_all="target" not in chosen.fields, judge=info, counts=counts,
            )  # fmt: skip
        return _judging(path, judge_run, chosen, info, number, runfile.connection, corrected)


def _labelled(rows: list[LabelledAnswer]) -> Iterator[Case]:
    return (Case(row.id, row.material, row.group) for row in rows)


def rubric_for(name: str | Path | Rubric, *, pairwise: bool) -> Rubric:
    """The rubric of this name, if it is about one answer, or about two for ``pairwise``."""
    chosen = find(name)
    if chosen.pairwise != pairwise:
        about = (
            "two answers: name the other run with --against" if chosen.pairwise else "one answer: --against needs two"
        )
        raise SettingsError(f"the rubric {chosen.name!r} is about {about}")
    return chosen


def check_limit(limit: int | None) -> None:
    """Refuse a limit below 1."""
    if limit is not None and limit < 1:
        raise SettingsError(f"limit is {limit}: it must be a whole number, 1 or more")


def scorer_name(chosen: Rubric) -> str:
    """The name of the scorer whose scores a rubric gives."""
    return f"judge:{chosen.name}"


def judge_info(chosen: Rubric, judge_run: JudgeRun, endpoint: Endpoint) -> dict[str, Any]:
    """What a run file stores about a judge."""
    return {
        "model": endpoint.model,
        "base_url": None if endpoint.source == "embedded" else endpoint.base_url,  # it has another port each time
        "rubric": chosen.name,
        "rubric_hash": chosen.hash,
        "form": judge_run.form,
        "run": judge_run.path.name,
        "answered": judge_run.answered(),
        **({"temperature_refused": True} if judge_run.temperature_refused else {}),
    }


def path_of(run: Run | Path | str) -> Path:
    """The path of a run file, which must be readable."""
    return (run if isinstance(run, Run) else Run(run)).path


def _scores(judge_run: JudgeRun, chosen: Rubric, connection: sqlite3.Connection) -> Iterator[scorings.Scored]:
    positions: dict[str, int] = dict(connection.execute("SELECT id, position FROM conversation"))
    for decision in judge_run.decisions(chosen):
        conversation, repeat, turn = position_of(decision.case)
        yield positions[conversation], repeat, turn, _score(decision, chosen)


def _score(decision: Decision, chosen: Rubric) -> Score:
    value = None if decision.choice is None else chosen.choices[decision.choice]
    reason = cut(decision.reason) if decision.reason else None
    if decision.choice is not None and value is None:
        reason = f"the judge chose {decision.choice}" + (f": {reason}" if reason else "")
    return Score(scorer_name(chosen), value, reason, decision.choice)


def _judging(
    path: Path,
    judge_run: JudgeRun,
    chosen: Rubric,
    info: Mapping[str, Any],
    number: int,
    connection: sqlite3.Connection,
    corrected: Correction | None,
) -> Judging:
    counts: Counter[str | None] = Counter()
    failed = 0
    for decision in judge_run.decisions(chosen):
        counts[decision.choice] += 1
        failed += decision.failed
    values = scorings.values(connection, number)
    known = {key: value for key, value in values.items() if value is not None}
    clusters = _clusters(connection)
    return Judging(
        run=path,
        judge_run=judge_run.path,
        rubric=chosen,
        judge=info,
        scoring=number,
        counts=connection.execute("SELECT scoring FROM run").fetchone()[0] == number,
        judged=sum(counts.values()),
        choices={choice: counts[choice] for choice in chosen.choices},
        unparsed=counts[None] - failed,
        failed=failed,
        mean=proportion(list(known.values()), [clusters[key[0]] for key in known]),
        agreement=_agreement(path, connection, chosen, clusters),
        corrected=corrected,
        stopped=judge_run.stopped,
    )


def _clusters(connection: sqlite3.Connection) -> dict[int, str]:
    """The group of every conversation, by its position."""
    return dict(connection.execute("SELECT position, coalesce(cluster, id) FROM conversation"))


def _agreement(
    path: Path, connection: sqlite3.Connection, chosen: Rubric, clusters: Mapping[int, str]
) -> Agreement | None:
    """Agreement of the judgings by this rubric: of each judge the one with most answers, of equal ones the newest."""
    newest: dict[Any, JudgedScoring] = {}
    for stored in scorings.judgings(connection):
        if stored.judge.get("rubric_hash") != chosen.hash:
            continue
        run = path.parent / stored.judge["run"]
        judge = judge_runs.judge_of(run) if run.exists() else stored.judge["run"]
        if judge not in newest or stored.judge.get("answered", 0) >= newest[judge].judge.get("answered", 0):
            newest[judge] = stored
    judges = list(newest.values())
    if len(judges) < 2:
        return None
    scores = [scorings.values(connection, stored.id) for stored in judges]
    keys = sorted(set().union(*scores))
    ratings = np.array([[values.get(key) for key in keys] for values in scores], dtype=np.float64)
    alpha = agreement.alpha(ratings, chosen.level, [clusters[position] for position, *_ in keys])
    return Agreement(
        tuple(stored.id for stored in judges), tuple(stored.judge["model"] for stored in judges), chosen.level, alpha
    )
