"""How many conversations are needed, told from a pilot run: for a wanted precision, or to find a difference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from evalkit.analysis import client_trust, measures
from evalkit.datasets import reader
from evalkit.errors import EvalkitError, RunFileError, SettingsError
from evalkit.runfile import schema, store
from evalkit.stats.checked_samples import totals
from evalkit.stats.power import (
    Spread,
    VarianceSplit,
    assured_for_difference,
    assured_for_precision,
    half_width,
    smallest_difference,
    split_variance,
    spread_of,
)

PRECISION, DIFFERENCE = 0.03, 0.05
ASSURANCE, RANGE = 0.8, (0.1, 0.9)  # in which share of the cases a number of conversations is enough
REPEATS = (1, 2, 5)
_FEW = 10  # clusters: with fewer a pilot is too small
_SAME = 1e-9  # a standard deviation below it is rounding

_SCORED = f"""
    SELECT c.cluster IS NOT NULL, coalesce(c.cluster, c.id), t.repeat, total(s.value), count(s.value)
    FROM turn t JOIN conversation c ON c.position = t.conversation
      {schema.JOIN_SCORE}
    WHERE t.status = 'answered'
    GROUP BY 1, 2, 3 HAVING count(s.value) > 0"""  # noqa: S608 - SQL of our own
_BY_TURN = f"""
    SELECT c.id, t.repeat, t.turn, s.value, c.cluster IS NOT NULL, coalesce(c.cluster, c.id)
    FROM turn t JOIN conversation c ON c.position = t.conversation
      {schema.JOIN_SCORE}
    WHERE t.status = 'answered' AND s.value NOT NULL"""  # noqa: S608 - SQL of our own
_PARTIAL = f"""
    SELECT total(s.value * (1 - s.value)) FROM turn t
      {schema.JOIN_SCORE}
    WHERE t.status = 'answered'"""  # noqa: S608 - SQL of our own
_ASKED = """
    SELECT count(DISTINCT conversation), (SELECT count(*) FROM (SELECT DISTINCT conversation, repeat FROM turn)),
      count(*), avg(prompt_tokens + output_tokens) FROM turn"""

Key = tuple[tuple[bool, str], int]  # a cluster, whether a group or a conversation, by its name; and the repeat
Scored = dict[Key, tuple[float, int]]  # sum and number of scores


class HasPath(Protocol):
    """A ``Run``."""

    path: Path


@dataclass(frozen=True, slots=True)
class Need:
    """What a goal takes when each conversation is asked so many times.

    Parameters
    ----------
    goal : str
        ``precision`` or ``difference``.
    wanted : float
        The half-width of the 95 % interval, or the true difference that is to be found; 0 to 1.
    repeats : int
    conversations : int or None
        Enough in 80 % of the cases, in which pilots and runs like these differ by chance. None: it cannot be told,
        ``reason`` says why.
    turns, tokens, wall_s : float or None
        Of all runs that are to be made: one for a precision of one accuracy, else two. None: the pilot does not tell.
    reason : str or None
    fewest, most : int or None
        Conversations that are enough in 10 % and in 90 % of the cases.
    """

    goal: str
    wanted: float
    repeats: int
    conversations: int | None
    turns: float | None = None
    tokens: float | None = None
    wall_s: float | None = None
    reason: str | None = None
    fewest: int | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pilot tells of the runs to come.

    Parameters
    ----------
    pilots : tuple of str
        Their run files: one, or two of the same conversations.
    value : float
        Accuracy of the pilot; of two, that of the second minus that of the first.
    clusters : int
        Conversations the figures stand on, or groups of them if the dataset names any.
    unit : str
        ``conversations`` or ``groups``.
    repeats : int
        How often each was asked.
    split : VarianceSplit or None
        How a cluster's share in the value varies. None: there is only one.
    power : float
        Probability with which a difference is to be found.
    half_width, smallest_difference : float or None
        What as many clusters as the pilot has can tell.
    needs : tuple of Need
    assumes, warnings : tuple of str
        What must hold for all this; what speaks against relying on it.
    assurance : float
        Share of the cases in which the conversations of ``needs`` are enough.
    """

    pilots: tuple[str, ...]
    value: float
    clusters: int
    unit: str
    repeats: int
    split: VarianceSplit | None
    power: float
    half_width: float | None
    smallest_difference: float | None
    needs: tuple[Need, ...]
    assumes: tuple[str, ...]
    warnings: tuple[str, ...]
    assurance: float = ASSURANCE

    @property
    def too_small(self) -> bool:
        """The pilot has fewer than ten clusters."""
        return self.clusters < _FEW

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "too_small": self.too_small}


def plan(
    pilot: Path | str | HasPath,
    other: Path | str | HasPath | None = None,
    *,
    precision: float | None = None,
    difference: float | None = None,
    power: float = 0.8,
    repeats: int | None = None,
) -> Plan:
    """Tell from a pilot run how many conversations are needed.

    A conversation's share in the accuracy p is ``(s − p n) / (mean of n)``, with the sum s of its n scores. The
    variance of the shares, split between conversations and repeats when the pilot has repeats, gives the number of
    conversations; see ``power``. As the variance is known from the pilot alone, and a run shows another one again, the
    number is one that is enough in 80 % of the cases, with the range of 10 to 90 % beside it. With two pilots the
    shares are differences, conversation by conversation, over the turns that both have answered and scored.

    Parameters
    ----------
    pilot : path-like or Run
    other : path-like or Run, optional
        Another pilot of the same conversations: what is planned is then their difference.
    precision : float, optional
        Half-width of the 95 % interval, of the accuracy or, with two pilots, of their difference.
    difference : float, optional
        The difference between two runs that is to be found, by a paired two-sided test at 5 %. With neither this nor a
        precision, 0.03 and 0.05 are planned for.
    power : float
        Probability with which it is to be found.
    repeats : int, optional
        How often each conversation is to be asked; default: 1, 2 and 5 beside each other.

    Returns
    -------
    Plan

    Raises
    ------
    SettingsError
        A number that cannot be.
    RunFileError
        A pilot cannot be read or holds no score, or two are not of the same conversations.
    """
    goals = _goals(precision, difference, power, repeats)
    pilots = [_Pilot.read(_path(each)) for each in (pilot, other) if each is not None]
    value, shares = _shares(pilots[0].scored) if other is None else _paired(*pilots)
    clusters = {cluster for cluster, _ in shares}
    split = split_variance(list(shares.values()), _numbered(shares)) if len(clusters) > 1 else None
    asked = max(repeat for _, repeat in shares)
    sd = None if split is None else split.sd(asked)
    known = sd is not None and sd > _SAME
    work = _Work(pilots, value, tuple(shares.values()), tuple(_numbered(shares)), split, power)
    needs = tuple(work.need(*goal, times) for goal in goals for times in ((repeats,) if repeats else REPEATS))
    return Plan(
        pilots=tuple(str(each.path) for each in pilots),
        value=value,
        clusters=len(clusters),
        unit="groups" if any(grouped for grouped, _ in clusters) else "conversations",
        repeats=asked,
        split=split,
        power=power,
        half_width=half_width(len(clusters), sd) if sd and known else None,
        smallest_difference=smallest_difference(len(clusters), sd * work.spread, power) if sd and known else None,
        needs=needs,
        assumes=tuple(_assumes(len(pilots), power, needs)),
        warnings=tuple(_warnings(needs, len(clusters), pilots[0].dataset, known=known)),
    )


@dataclass(frozen=True, slots=True)
class _Pilot:
    path: Path
    scored: Scored
    partial: float  # sum of y (1 − y) of the scores: 0 when all are right or wrong
    hashes: dict[str, str]
    conversations: int
    asked: int  # conversations, each as often as it was asked
    turns: int
    tokens: float | None  # a turn
    wall_s: float | None
    dataset: int | None  # conversations it has

    @classmethod
    def read(cls, path: Path) -> _Pilot:
        with measures.opened(path) as connection:
            rows = connection.execute(_SCORED).fetchall()
            scored: Scored = {
                ((bool(grouped), name), repeat): (total, count) for grouped, name, repeat, total, count in rows
            }
            if not scored:
                raise RunFileError(
                    f"{path} holds no scored turn: a pilot needs turns with targets, and answers to them"
                )
            (partial,) = connection.execute(_PARTIAL).fetchone()
            hashes = dict(connection.execute("SELECT id, hash FROM conversation"))
            conversations, asked, turns, tokens = connection.execute(_ASKED).fetchone()
            wall_s, dataset = client_trust.wall_s(connection), _held(store.run_info(connection))
        return cls(path, scored, partial, hashes, conversations, asked, turns, tokens, wall_s, dataset)


def _held(info: Mapping[str, Any]) -> int | None:
    """How many conversations a pilot's dataset has, beyond the pilot's limit too; None: it cannot be read any more."""
    asked: int | None = info["dataset"].get("conversations")
    settings = info["settings"]
    limit = settings.get("limit")
    if limit is None or (asked is not None and asked < limit):
        return asked
    try:
        return reader.check(info["dataset"]["path"], columns=settings.get("columns")).conversations
    except (EvalkitError, OSError, KeyError):
        return None


def _shares(scored: Scored) -> tuple[float, dict[Key, float]]:
    """The accuracy, and the share each conversation has in it."""
    count = sum(n for _, n in scored.values())
    accuracy, mean = sum(total for total, _ in scored.values()) / count, count / len(scored)
    return accuracy, {key: (total - accuracy * n) / mean for key, (total, n) in scored.items()}


def _paired(first: _Pilot, second: _Pilot) -> tuple[float, dict[Key, float]]:
    """The difference second − first over what both have, and the share each conversation has in it."""
    changed = [name for name, known in first.hashes.items() if second.hashes.get(name, known) != known]
    if changed:
        raise RunFileError(
            f"conversation {changed[0]!r} is not the same in {first.path} and {second.path}: "
            "two pilots must ask the same dataset"
        )
    scored = _of_both(first.path, second.path)
    if not scored[0]:
        raise RunFileError(
            f"{first.path} and {second.path} have no scored conversation in common: ask one dataset of both"
        )
    (before, of_first), (after, of_second) = map(_shares, scored)
    return after - before, {key: of_second[key] - of_first[key] for key in of_first}


def _of_both(first: Path, second: Path) -> tuple[Scored, Scored]:
    """What either has for the turns that both have answered and scored: a failed turn must not make a difference."""
    with measures.opened(second) as connection:
        known = {tuple(turn): value for *turn, value, _, _ in connection.execute(_BY_TURN)}
    sums: tuple[Scored, Scored] = {}, {}
    with measures.opened(first) as connection:
        for *turn_of, value, grouped, name in connection.execute(_BY_TURN):
            if (other := known.get(tuple(turn_of))) is not None:
                key = (bool(grouped), name), turn_of[1]
                for side, score in zip(sums, (value, other), strict=True):
                    total, count = side.get(key, (0.0, 0))
                    side[key] = total + score, count + 1
    return sums


@dataclass(frozen=True, slots=True)
class _Work:
    """What a goal takes, from the figures of the pilots."""

    pilots: Sequence[_Pilot]
    value: float
    shares: Sequence[float]
    clusters: Sequence[int]  # of each share
    split: VarianceSplit | None
    power: float

    @property
    def spread(self) -> float:
        """A difference to a run that nothing is known of varies as that of two unrelated ones."""
        return math.sqrt(2) if len(self.pilots) == 1 else 1.0

    def need(self, goal: str, wanted: float, repeats: int) -> Need:
        sd = None if self.split is None else self.split.sd(repeats)
        if self.split is None:
            return Need(goal, wanted, repeats, None, reason="there is only one conversation or group")
        if sd is None:
            why = "the pilot asked each conversation once: what repeats save, a pilot with repeats tells"
            return Need(goal, wanted, repeats, None, reason=why)
        if sd <= _SAME:
            return Need(goal, wanted, repeats, None, reason="all conversations of the pilot went alike")
        spread = self._spread_of(sd, repeats)
        conversations, fewest, most = (
            self._conversations(goal, wanted, spread, level) for level in (ASSURANCE, *RANGE)
        )
        # a difference to a run that is not there yet is taken to cost as much again
        runs = [*self.pilots, *(self.pilots if goal == "difference" and len(self.pilots) == 1 else ())]
        times = conversations * repeats
        return Need(
            goal,
            wanted,
            repeats,
            conversations,
            turns=sum(times * run.turns / run.asked for run in runs),
            tokens=_sum(None if run.tokens is None else times * run.tokens * run.turns / run.asked for run in runs),
            wall_s=_sum(None if run.wall_s is None else times * run.wall_s / run.asked for run in runs),
            fewest=fewest,
            most=most,
        )

    def _conversations(self, goal: str, wanted: float, spread: Spread, level: float) -> int:
        if goal == "precision":
            value = self.value if len(self.pilots) == 1 else None
            clusters = assured_for_precision(wanted, spread, value, level)
        else:
            clusters = assured_for_difference(wanted, replace(spread, sd=spread.sd * self.spread), self.power, level)
        return math.ceil(clusters * self.pilots[0].conversations / self._clusters_of_first)

    def _spread_of(self, sd: float, repeats: int) -> Spread:
        """How the clusters vary when each is asked so often; an accuracy never less than with independent turns."""
        sums, counts = totals(np.array(self.shares), np.array(self.clusters), max(self.clusters) + 1)
        values, least = sums / counts, 0.0
        if len(self.pilots) == 1:
            (pilot,) = self.pilots
            turns = sum(n for _, n in pilot.scored.values())
            alone = max(self.value * (1 - self.value) - pilot.partial / turns, 0.0)
            least = math.sqrt(alone / (turns / len(pilot.scored) * repeats))
        return spread_of(values, sd, least) if values.std() > _SAME else Spread(sd, len(values), least=least)

    @property
    def _clusters_of_first(self) -> int:
        return len({cluster for cluster, _ in self.pilots[0].scored})


def _path(pilot: Path | str | HasPath) -> Path:
    return Path(pilot if isinstance(pilot, Path | str) else pilot.path)


def _sum(values: Iterator[float | None]) -> float | None:
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _numbered(shares: dict[Key, float]) -> list[int]:
    numbers: dict[tuple[bool, str], int] = {}
    return [numbers.setdefault(cluster, len(numbers)) for cluster, _ in shares]


def _goals(
    precision: float | None, difference: float | None, power: float, repeats: int | None
) -> list[tuple[str, float]]:
    if precision is None and difference is None:
        precision, difference = PRECISION, DIFFERENCE
    goals = [
        (name, wanted) for name, wanted in (("precision", precision), ("difference", difference)) if wanted is not None
    ]
    for name, wanted in goals:
        if not 0 < wanted < 1:
            raise SettingsError(f"{name} is {wanted}: it must lie between 0 and 1, such as 0.03 for 3 points")
        if wanted < 1e-5:
            raise SettingsError(f"{name} is {wanted}: no number of conversations that can be asked tells so little")
    if not 0.05 < power < 1:
        raise SettingsError(f"power is {power}: it must lie between 0.05 and 1, such as 0.8")
    if repeats is not None and repeats < 1:
        raise SettingsError(f"repeats is {repeats}: it must be a whole number, 1 or more")
    return goals


def _assumes(pilots: int, power: float, needs: Sequence[Need]) -> Iterator[str]:
    yield "The conversations to come are as those of the pilot: drawn at random from the same kind."
    if any(need.conversations is not None for need in needs):
        yield (
            f"So many conversations are enough in {ASSURANCE:.0%} of cases: how conversations vary is known from the "
            f"pilot alone, and a run varies too. The range is what is enough in {RANGE[0]:.0%} and in {RANGE[1]:.0%}."
        )
    yield "Intervals are of 95 %, by Student's t over conversations, whose turns may resemble each other."
    yield f"A difference is found with a probability of {power:.0%}, by a paired two-sided test at 5 %."
    if pilots == 1:
        yield (
            "Two runs that are compared are taken as unrelated, the cautious end: a second pilot of the same "
            "conversations tells what comparing them one by one saves."
        )
    yield "Turns, tokens and time are what the pilot took, at the load it was asked with; a comparison is two runs."


def _warnings(needs: Sequence[Need], clusters: int, dataset: int | None, *, known: bool) -> Iterator[str]:
    if clusters < _FEW:
        yield (
            f"The pilot is too small: {clusters} tell little of how conversations vary. Ask {_FEW} at least, better 30."
        )
    if clusters > 1 and not known:
        yield "All conversations of the pilot went alike: how they vary cannot be told. Ask more, or harder ones."
    most = max((need.conversations for need in needs if need.conversations is not None), default=0)
    if dataset is not None and most > dataset:
        yield f"The dataset has {dataset} conversations, and up to {most:,} are needed."
