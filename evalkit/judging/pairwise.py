"""Two runs of one dataset judged side by side: each pair of answers is put to the judge in both orders."""

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
from evalkit.judging import judge_run as judging_run
from evalkit.judging.judge_run import Case, Hearing
from evalkit.judging.judging import Said, answers, check_limit, judge_json, path_of, place, rubric_for
from evalkit.judging.rubric import Rubric
from evalkit.run import Run
from evalkit.stats.estimate import Estimate
from evalkit.stats.proportions import proportion

OUTCOMES = ("win", "loss", "tie", "inconsistent", "undecided", "failed")
_ORDERS = (1, 2)  # in the second the answers have changed places
_SWAPPED = {"A": "B", "B": "A", "TIE": "TIE"}
_OUTCOME = {"A": "win", "B": "loss", "TIE": "tie"}


class Pair(NamedTuple):
    """What came of one turn.

    Parameters
    ----------
    conversation : str
    repeat, turn : int
    outcome : str
        For the run, not for the other: ``win``, ``loss`` or ``tie``, if the judge said so in both orders;
        ``inconsistent``: it said one thing in one order and another in the other; ``undecided``: it made no choice that
        can be read; ``failed``: a call failed.
    choices : (str or None, str or None)
        What it chose in each order; in the first the run's answer is A, in the second it is B.
    """

    conversation: str
    repeat: int
    turn: int
    outcome: str
    choices: tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class Pairing:
    """What a judge said of two runs.

    Parameters
    ----------
    run, against, judge_run : Path
    judge : mapping
        As in ``judging.Judging``.
    turns : tuple of Pair
    outcomes : mapping of str to int
        How many pairs came out in each way of ``OUTCOMES``.
    shares : mapping of str to Estimate
        Of ``win``, ``loss``, ``tie`` and ``inconsistent`` among the pairs that were decided in both orders; clusters
        are conversations or their groups.
    consistent : Estimate
        Share of those pairs on which both orders agree.
    first_shown : Estimate
        How often the answer that was shown first was chosen, where one of the two was. Each pair is seen in both
        orders, so a judge without a bias for a position chooses it in one half.
    stopped : bool
        It was stopped by hand: pairs that were not put to the judge in both orders are not among ``turns``.
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
) -> Pairing:
    """Let a model say which of two runs answered better, turn by turn, each pair in both orders.

    A run wins a turn only if the judge prefers its answer in both places. Turns that both runs answered are compared;
    ``{conversation}`` holds what the user said before, not what each run answered to it. The judge's calls are a run of
    their own beside ``run``, gone on with and read again as those of ``judging.judge``; no score is written.

    Parameters
    ----------
    run, against : Run or path-like
        Runs of the same conversations.
    endpoint : Endpoint
        The judge.
    rubric : str, path-like or Rubric
        One with the fields ``{answer_a}`` and ``{answer_b}``.
    limit : int, optional
        Compare the first so many turns only.
    concurrency, stream, watch
        As for ``judging.judge``.

    Returns
    -------
    Pairing

    Raises
    ------
    SettingsError, RunFileError, EndpointError
        As for ``judging.judge``; RunFileError also when a conversation of one run is another in the other.
    """
    mine, other, chosen = path_of(run), path_of(against), rubric_for(rubric, pairwise=True)
    check_limit(limit)
    groups: dict[str, str] = {}
    # no more of them than is needed: the texts before a turn would be many times as long
    theirs = {said.id: (said.row, said.answer) for said in answers(other)}

    def cases() -> Iterator[Case]:
        for first, second in itertools.islice(_pairs(mine, other, theirs), limit):
            groups[first.id] = first.group
            for order in _ORDERS:
                yield Case(f"{first.id}/{order}", _material(first, second, order), first.group)

    held = judging_run.hold(
        judging_run.stem_of(mine), cases, chosen, endpoint,
        nothing=f"{mine} and {other} have no turn that both answered: there is nothing to compare",
        concurrency=concurrency, stream=stream, watch=watch,
    )  # fmt: skip
    pairs, clusters = _decided(held, chosen, groups)
    return _pairing(mine, other, held, judge_json(chosen, held, endpoint), pairs, clusters)


def _pairs(mine: Path, other: Path, theirs: Mapping[str, tuple[str, str]]) -> Iterator[tuple[Said, str]]:
    """Turns that both runs answered, and the other's answer."""
    for said in answers(mine):
        row, answer = theirs.get(said.id, (None, ""))
        if row is None:
            continue
        if row != said.row:
            conversation = place(said.id)[0]
            raise RunFileError(
                f"conversation {conversation!r} of {mine} is another one in {other}: "
                "only runs of the same dataset can be judged side by side"
            )
        yield said, answer


def _material(first: Said, second: str, order: int) -> dict[str, str]:
    shown = (first.answer, second) if order == 1 else (second, first.answer)
    return {
        "question": first.question,
        "answer_a": shown[0],
        "answer_b": shown[1],
        "target": first.target or "",
        "conversation": first.asked_before,
    }


def _decided(held: Hearing, chosen: Rubric, groups: Mapping[str, str]) -> tuple[list[Pair], list[str]]:
    """What came of every pair, and its cluster."""
    pairs, clusters = [], []
    for name, both in itertools.groupby(held.heard(chosen), lambda heard: heard.case.rpartition("/")[0]):
        said = {heard.case.rpartition("/")[2]: heard for heard in both}
        first, second = (said.get(str(order)) for order in _ORDERS)
        if held.stopped and (first is None or second is None):
            continue
        if first is None or second is None or first.failed or second.failed:
            outcome = "failed"
        else:
            outcome = outcome_of(first.choice, second.choice)
        choices = (first.choice if first else None, second.choice if second else None)
        pairs.append(Pair(*place(name), outcome, choices))
        clusters.append(groups[name])
    return pairs, clusters


def outcome_of(first: str | None, second: str | None) -> str:
    """What two choices amount to for the run whose answer was A in the first order and B in the second."""
    if first is None or second is None:
        return "undecided"
    return _OUTCOME[first] if first == _SWAPPED[second] else "inconsistent"


def _pairing(
    mine: Path, other: Path, held: Hearing, judge: Mapping[str, Any], pairs: list[Pair], clusters: list[str]
) -> Pairing:
    outcomes = Counter(pair.outcome for pair in pairs)
    decided = [at for at, pair in enumerate(pairs) if pair.outcome in OUTCOMES[:4]]
    of_decided = [clusters[at] for at in decided]

    def share(wanted: frozenset[str]) -> Estimate:
        return proportion(np.array([pairs[at].outcome in wanted for at in decided], dtype=float), of_decided)

    placed = [(choice == "A", clusters[at]) for at in decided for choice in pairs[at].choices if choice != "TIE"]
    return Pairing(
        run=mine,
        against=other,
        judge_run=held.path,
        judge=judge,
        turns=tuple(pairs),
        outcomes={outcome: outcomes[outcome] for outcome in OUTCOMES},
        shares={outcome: share(frozenset({outcome})) for outcome in OUTCOMES[:4]},
        consistent=share(frozenset(OUTCOMES[:3])),
        first_shown=proportion(np.array([first for first, _ in placed], dtype=float), [owner for _, owner in placed]),
        stopped=held.stopped,
    )
