"""Two runs of one dataset judged side by side: each pair of answers is sent to the judge in both orders."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evalkit.endpoint import Endpoint
from evalkit.engine.session_thread import Watcher
from evalkit.errors import RunFileError
from evalkit.judging import judge_run as judge_runs
from evalkit.judging.cases import AnsweredTurn, Case, answered_turns, position_of
from evalkit.judging.judge_run import JudgeRun
from evalkit.judging.judging import check_limit, judge_info, path_of, rubric_for
from evalkit.judging.rubric import Rubric
from evalkit.run import Run
from evalkit.stats.estimate import Estimate
from evalkit.stats.proportions import proportion

OUTCOMES = ("win", "loss", "tie", "inconsistent", "undecided", "failed")
_ORDERS = (1, 2)  # in the second the answers are swapped
_SWAPPED = {"A": "B", "B": "A", "TIE": "TIE"}
_OUTCOME = {"A": "win", "B": "loss", "TIE": "tie"}


class Pair(NamedTuple):
    """The outcome of one turn.

    Parameters
    ----------
    conversation : str
    repeat, turn : int
    outcome : str
        For the first run: ``win``, ``loss`` or ``tie`` if the judge decided so in both orders; ``inconsistent`` if its
        decisions differ; ``undecided`` without a readable choice; ``failed`` if a call failed.
    choices : (str or None, str or None)
        The choice in each order; in the first the run's answer is A, in the second it is B.
    """

    conversation: str
    repeat: int
    turn: int
    outcome: str
    choices: tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class PairwiseJudging:
    """The result of judging two runs side by side.

    Parameters
    ----------
    run, against, judge_run : Path
    judge : mapping
        As in ``judging.Judging``.
    turns : tuple of Pair
    outcomes : mapping of str to int
        The number of pairs with each of ``OUTCOMES``.
    shares : mapping of str to Estimate
        Of ``win``, ``loss``, ``tie`` and ``inconsistent`` among the pairs that were decided in both orders; clusters
        are conversations or their groups.
    consistent : Estimate
        Share of those pairs on which both orders agree.
    first_shown : Estimate
        Share of the answer shown first among the choices of one of the two. Each pair is judged in both orders, so a
        judge without position bias chooses it in half of them.
    stopped : bool
        The user stopped it: pairs that were not sent in both orders are not among ``turns``.
    """

    run: Path
    against: Path
    judge_run: Path
    judge: Mapping[str, Any]
    turns: tuple[Pair, ...]
    outcomes: Mapping[str, int]
    shares: Mapping[str, Estimate]
    consistent: Estimate
    first_shown: Estimate
    stopped: bool = False

    def to_json(self) -> dict[str, Any]:
        """The object of ``--json``."""
        return {
            "run": str(self.run),
            "against": str(self.against),
            "judge": dict(self.judge),
            "pairs": len(self.turns),
            "outcomes": dict(self.outcomes),
            "shares": {outcome: asdict(share) for outcome, share in self.shares.items()},
            "consistent": asdict(self.consistent),
            "first_shown": asdict(self.first_shown),
            "turns": [pair._asdict() for pair in self.turns],
            "stopped": self.stopped,
        }


def judge_pairs(
    run: Run | Path | str,
    against: Run | Path | str,
    endpoint: Endpoint,
    rubric: str | Path | Rubric = "better",
    *,
    limit: int | None = None,
    concurrency: int = 4,
    stream: bool = True,
    watch: Watcher | None = None,
) -> PairwiseJudging:
    """Let a model decide which of two runs answered better, turn by turn, each pair in both orders.

    A run wins a turn only if the judge prefers its answer in both orders. Turns that both runs answered are compared;
    ``{conversation}`` has the user's earlier messages without the answers. The judge's calls are a run of their own
    next to ``run``, resumed and reused like those of ``judging.judge``; no score is stored.

    Parameters
    ----------
    run, against : Run or path-like
        Runs of the same conversations.
    endpoint : Endpoint
        The judge.
    rubric : str, path-like or Rubric
        One with the fields ``{answer_a}`` and ``{answer_b}``.
    limit : int, optional
        Compare only this many turns, from the first.
    concurrency, stream, watch
        As for ``judging.judge``.

    Returns
    -------
    PairwiseJudging

    Raises
    ------
    SettingsError, RunFileError, EndpointError
        As for ``judging.judge``; RunFileError also if the runs have different conversations of one id.
    """
    run_path, against_path, chosen = path_of(run), path_of(against), rubric_for(rubric, pairwise=True)
    check_limit(limit)
    # two runs may have a system prompt each, and the judge must not measure one of them by that of the other
    system = all(Run(path).info["settings"].get("system") is None for path in (run_path, against_path))
    groups: dict[str, str] = {}
    # only what is needed: the text before a turn is many times as long
    against_answers = {turn.id: (turn.row, turn.answer) for turn in answered_turns(against_path, system=system)}

    def cases() -> Iterator[Case]:
        for first, second in itertools.islice(_pairs(run_path, against_path, against_answers, system), limit):
            groups[first.id] = first.group
            for order in _ORDERS:
                yield Case(f"{first.id}/{order}", _material(first, second, order), first.group)

    judge_run = judge_runs.judge_cases(
        judge_runs.stem_of(run_path), cases, chosen, endpoint,
        nothing=f"{run_path} and {against_path} have no turn that both answered: there is nothing to compare",
        concurrency=concurrency, stream=stream, watch=watch,
    )  # fmt: skip
    pairs, clusters = _decided(judge_run, chosen, groups)
    return _pairing(run_path, against_path, judge_run, judge_info(chosen, judge_run, endpoint), pairs, clusters)


def _pairs(
    run_path: Path, against_path: Path, against_answers: Mapping[str, tuple[str, str]], system: bool
) -> Iterator[tuple[AnsweredTurn, str]]:
    """Turns that both runs answered, each with the other run's answer."""
    for turn in answered_turns(run_path, system=system):
        row, answer = against_answers.get(turn.id, (None, ""))
        if row is None:
            continue
        if row != turn.row:
            conversation = position_of(turn.id)[0]
            raise RunFileError(
                f"conversation {conversation!r} of {run_path} is a different one in {against_path}: "
                "only runs of the same dataset can be judged side by side"
            )
        yield turn, answer


def _material(first: AnsweredTurn, second: str, order: int) -> dict[str, str]:
    shown = (first.answer, second) if order == 1 else (second, first.answer)
    return {
        "question": first.question,
        "answer_a": shown[0],
        "answer_b": shown[1],
        "target": first.target or "",
        "conversation": first.questions_before,
    }


def _decided(judge_run: JudgeRun, chosen: Rubric, groups: Mapping[str, str]) -> tuple[list[Pair], list[str]]:
    """The outcome of every pair, and its cluster."""
    pairs, clusters = [], []
    for name, both in itertools.groupby(judge_run.decisions(chosen), lambda decision: decision.case.rpartition("/")[0]):
        by_order = {decision.case.rpartition("/")[2]: decision for decision in both}
        first, second = (by_order.get(str(order)) for order in _ORDERS)
        if judge_run.stopped and (first is None or second is None):
            continue
        if first is None or second is None or first.failed or second.failed:
            outcome = "failed"
        else:
            outcome = outcome_of(first.choice, second.choice)
        choices = (first.choice if first else None, second.choice if second else None)
        pairs.append(Pair(*position_of(name), outcome, choices))
        clusters.append(groups[name])
    return pairs, clusters


def outcome_of(first: str | None, second: str | None) -> str:
    """The outcome of two choices for the run whose answer was A in the first order and B in the second."""
    if first is None or second is None:
        return "undecided"
    return _OUTCOME[first] if first == _SWAPPED[second] else "inconsistent"


def _pairing(
    run_path: Path,
    against_path: Path,
    judge_run: JudgeRun,
    judge: Mapping[str, Any],
    pairs: list[Pair],
    clusters: list[str],
) -> PairwiseJudging:
    outcomes = Counter(pair.outcome for pair in pairs)
    decided = [at for at, pair in enumerate(pairs) if pair.outcome in OUTCOMES[:4]]
    of_decided = [clusters[at] for at in decided]

    def share(outcomes_in: frozenset[str]) -> Estimate:
        return proportion(np.array([pairs[at].outcome in outcomes_in for at in decided], dtype=float), of_decided)

    placed = [(choice == "A", clusters[at]) for at in decided for choice in pairs[at].choices if choice != "TIE"]
    return PairwiseJudging(
        run=run_path,
        against=against_path,
        judge_run=judge_run.path,
        judge=judge,
        turns=tuple(pairs),
        outcomes={outcome: outcomes[outcome] for outcome in OUTCOMES},
        shares={outcome: share(frozenset({outcome})) for outcome in OUTCOMES[:4]},
        consistent=share(frozenset(OUTCOMES[:3])),
        first_shown=proportion(np.array([first for first, _ in placed], dtype=float), [owner for _, owner in placed]),
        stopped=judge_run.stopped,
    )
