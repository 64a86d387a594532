"""What paired turns say of the difference between two runs: rates, times, and how sure both are."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evalkit.comparing import clusters_and_tags
from evalkit.comparing.clusters_and_tags import Clusters
from evalkit.comparing.pairing import Paired, Pairs, Places
from evalkit.stats import paired as statistics
from evalkit.stats import survival
from evalkit.stats.arrays import Flags, Floats
from evalkit.stats.estimate import Estimate
from evalkit.stats.paired import Difference, McNemar
from evalkit.stats.quantiles import quantiles

CONFIDENCE = 0.95
MOST_TAGS = 1_000
QUANTILES = {"p50": 0.5, "p95": 0.95}
_MANY, _RESAMPLES, _RESAMPLES_OF_MANY = 100_000, 2_000, 500  # the limits of so many pairs lie close to each other
_NOTHING = "no turn was answered and scored in both runs"


@dataclass(frozen=True, slots=True)
class Effect:
    """How two runs differ over some of their pairs.

    Parameters
    ----------
    label : int, str or None
        The turn index or the tag; None: all pairs.
    pairs, clusters : int
        Pairs, and the conversations, or groups, that they are of.
    differing : int
        Clusters in which the two are not equally good.
    noun : str
        What a cluster is: ``conversation`` or ``group``.
    first, second : float or None
        Mean scores; None: there are no pairs.
    difference : Estimate
        Second − first.
    p : float or None
        Of no difference, two-sided, not corrected; None: it cannot be told.
    smallest_decidable : float or None
        The smallest difference that so many clusters, as different as these, would show in four cases of five; above 1:
        they would show none.
    only_first, only_second : int
        Single answers that only one run has right.
    mcnemar : McNemar or None
        Of these counts, where every cluster has one pair and every score is 0 or 1; else None.
    equal : bool
        The scores of every pair are equal.
    corrected_p : float or None
        p after Holm's correction for the comparisons made beside it.
    words : str
        The effect as a sentence.
    """

    label: int | str | None
    pairs: int
    clusters: int
    differing: int
    noun: str
    first: float | None
    second: float | None
    difference: Estimate
    p: float | None
    smallest_decidable: float | None
    only_first: int
    only_second: int
    mcnemar: McNemar | None
    equal: bool
    corrected_p: float | None = None
    words: str = ""

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out 0."""
        low, high = self.difference.low, self.difference.high
        return low is not None and high is not None and (low > 0 or high < 0)

    def to_json(self) -> dict[str, Any]:
        """All but the label; missing values are None."""
        difference, mcnemar = self.difference, self.mcnemar
        return {
            "pairs": self.pairs,
            "clusters": self.clusters,
            "differing": self.differing,
            "first": self.first,
            "second": self.second,
            "difference": difference.value,
            "low": difference.low,
            "high": difference.high,
            "p": self.p,
            "corrected_p": self.corrected_p,
            "smallest_decidable": self.smallest_decidable,
            "only_first": self.only_first,
            "only_second": self.only_second,
            "mcnemar": None if mcnemar is None else {"exact_p": mcnemar.exact_p, "mid_p": mcnemar.mid_p},
            "reason": difference.reason,
            "words": self.words,
        }


@dataclass(frozen=True, slots=True)
class QuantileEffect:
    """One quantile of a time in both runs, in ms, and the difference second − first.

    None: it is not known. Where time-outs leave it open, ``difference.low`` may still say that it is at least so much,
    ``difference.high`` that it is at most so much, and ``difference.reason`` says of which run the quantile is open.
    """

    first: float | None
    second: float | None
    difference: Estimate


@dataclass(frozen=True, slots=True)
class Times:
    """The times of turns that both runs have: as known, or as a lower bound where the turn timed out.

    Parameters
    ----------
    turn : int or None
        The turn index they share; None: all.
    pairs : mapping
        ``ttft`` and ``latency`` to the number of pairs that have it.
    lost : mapping
        The same to how many of these are lower bounds, in the first run and in the second.
    quantiles : mapping
        The same to ``p50`` and ``p95`` to QuantileEffect.
    """

    turn: int | None
    pairs: dict[str, int]
    lost: dict[str, tuple[int, int]]
    quantiles: dict[str, dict[str, QuantileEffect]]

    def to_json(self) -> dict[str, Any]:
        """All but the turn index; missing values are None."""
        return {
            f"{metric}_ms": {
                "pairs": self.pairs[metric],
                **{
                    name: {
                        "first": effect.first,
                        "second": effect.second,
                        "difference": effect.difference.value,
                        "low": effect.difference.low,
                        "high": effect.difference.high,
                        "reason": effect.difference.reason,
                    }
                    for name, effect in quantiles.items()
                },
                "lower_bounds": dict(zip(("first", "second"), self.lost[metric], strict=True)),
            }
            for metric, quantiles in self.quantiles.items()
        }


@dataclass(frozen=True, slots=True)
class Measured:
    """All that is measured of two runs: fields of ``comparison.Contrast``, and why to doubt the interval of ``all``."""

    all: Effect
    with_failures: Effect
    by_turn: tuple[Effect, ...]
    by_tag: tuple[Effect, ...]
    tags_left_out: int
    times: tuple[Times, ...]
    doubt: str | None


def measured(first: sqlite3.Connection, paired: Paired) -> Measured:
    """Measure two runs by their pairs; groups and tags are read from the first."""
    clusters = clusters_and_tags.clusters(first, paired.shared.first)
    scored = _Scored.of(paired.pairs, clusters)
    # single answers are what flips are counted over, whatever the scores are means of
    single = _Scored.of(paired.single, clusters) if paired.averaged else scored
    by_tag, tags_left_out = _by_tag(first, paired.shared.first, scored, single)
    counted = _Scored.of(paired.pairs, clusters, failures=True)
    return Measured(
        all=_effect(None, scored, single),
        with_failures=_effect(None, counted, _Scored.of(paired.single, clusters, failures=True)),
        by_turn=tuple(
            _effect(turn, scored.at(scored.turn == turn), single.at(single.turn == turn))
            for turn in np.unique(counted.turn).tolist()
        ),
        by_tag=by_tag,
        tags_left_out=tags_left_out,
        times=_times(paired, clusters),
        doubt=statistics.doubt(scored.first, scored.second, scored.labels, clusters.noun),
    )


@dataclass(frozen=True, slots=True)
class _Scored:
    """Pairs with two scores."""

    conversation: Places
    turn: Places
    first: Floats
    second: Floats
    clusters: Clusters

    @classmethod
    def of(cls, pairs: Pairs, clusters: Clusters, *, failures: bool = False) -> _Scored:
        first, second = (pairs.first_all, pairs.second_all) if failures else (pairs.first, pairs.second)
        kept = ~(np.isnan(first) | np.isnan(second))
        return cls(pairs.conversation[kept], pairs.turn[kept], first[kept], second[kept], clusters)

    def at(self, rows: Places | Flags) -> _Scored:
        return _Scored(self.conversation[rows], self.turn[rows], self.first[rows], self.second[rows], self.clusters)

    @property
    def labels(self) -> Places:
        """The cluster of each pair."""
        return self.clusters.labels[self.conversation]


def _effect(label: int | str | None, scored: _Scored, single: _Scored) -> Effect:
    first, second, noun = scored.first, scored.second, scored.clusters.noun
    right = single.first >= 1, single.second >= 1
    only_first, only_second = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    if not len(first):
        nothing = Estimate(None, None, None, 0, _NOTHING)
        return Effect(label, 0, 0, 0, noun, None, None, nothing, None, None, only_first, only_second, None, equal=False)
    labels = scored.labels
    difference = statistics.difference(first, second, labels, CONFIDENCE)
    equal = bool((first == second).all())
    return Effect(
        label=label,
        pairs=len(first),
        clusters=difference.clusters,
        differing=difference.differing,
        noun=noun,
        first=float(first.mean()),
        second=float(second.mean()),
        difference=_possible(difference, noun),
        p=difference.p,
        smallest_decidable=statistics.smallest_decidable(difference, CONFIDENCE),
        only_first=only_first,
        only_second=only_second,
        mcnemar=_mcnemar(scored, single, difference, only_first, only_second),
        equal=equal,
    )


def _possible(difference: Difference, noun: str) -> Estimate:
    """Limits no further out than a difference of rates can be, or why there are none."""
    told = difference.estimate
    if difference.clusters == 1:
        return replace(told, reason=f"all pairs are of one {noun}")
    reason = told.reason and told.reason.replace("clusters", f"{noun}s", 1)
    if told.low is None or told.high is None:
        return replace(told, reason=reason)
    return replace(told, low=max(told.low, -1.0), high=min(told.high, 1.0), reason=reason)


def _mcnemar(
    scored: _Scored, single: _Scored, difference: Difference, only_first: int, only_second: int
) -> McNemar | None:
    """It counts pairs as independent, and knows right and wrong only."""
    if len(single.first) != len(scored.first) or difference.clusters != len(scored.first):
        return None
    if not all(np.isin(side, (0.0, 1.0)).all() for side in (scored.first, scored.second)):
        return None
    return statistics.mcnemar(only_first, only_second)


def _by_tag(
    connection: sqlite3.Connection, places: Places, scored: _Scored, single: _Scored
) -> tuple[tuple[Effect, ...], int]:
    """The tags of most pairs, and how many there are beside them."""
    tags = clusters_and_tags.tags(connection, places)
    rows = [clusters_and_tags.rows_of(conversations, scored.conversation) for conversations in tags.conversations]
    most = sorted(range(len(rows)), key=lambda number: (-len(rows[number]), tags.names[number]))[:MOST_TAGS]
    effects = []
    for number in most:
        if len(rows[number]):
            own = single.at(clusters_and_tags.rows_of(tags.conversations[number], single.conversation))
            effects.append(_effect(tags.names[number], scored.at(rows[number]), own))
    return tuple(effects), len(rows) - len(effects)


def _times(paired: Paired, clusters: Clusters) -> tuple[Times, ...]:
    turns = np.unique(paired.single.turn).tolist()
    everything = _times_of(None, paired, clusters, np.ones(len(paired.single.turn), dtype=bool))
    if len(turns) == 1:
        by_turn = [replace(everything, turn=turns[0])]
    else:
        by_turn = [_times_of(turn, paired, clusters, paired.single.turn == turn) for turn in turns]
    return (everything, *by_turn)


def _times_of(turn: int | None, paired: Paired, clusters: Clusters, rows: Flags) -> Times:
    pairs, lost, told = {}, {}, {}
    for metric, (first, second) in paired.times.items():
        kept = rows & ~(np.isnan(first) | np.isnan(second))
        labels = clusters.labels[paired.single.conversation[kept]]
        bounds = [flags[kept] for flags in paired.lost[metric]]
        pairs[metric], lost[metric] = int(kept.sum()), (int(bounds[0].sum()), int(bounds[1].sum()))
        told[metric] = _quantiles((first[kept], second[kept]), (bounds[0], bounds[1]), labels)
    return Times(turn, pairs, lost, told)


def _quantiles(times: tuple[Floats, Floats], lost: tuple[Flags, Flags], labels: Places) -> dict[str, QuantileEffect]:
    values = [quantiles(side, tuple(QUANTILES.values()), flags) for side, flags in zip(times, lost, strict=True)]
    resamples = _RESAMPLES if len(labels) < _MANY else _RESAMPLES_OF_MANY
    told = {}
    for name, q, one, other in zip(QUANTILES, QUANTILES.values(), *values, strict=True):
        difference = survival.quantile_difference(*times, q, labels, lost=lost, resamples=resamples)
        told[name] = QuantileEffect(one.value, other.value, difference)
    return told
