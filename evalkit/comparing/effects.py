"""Differences between two runs over paired turns: of rates and of times, with intervals and tests."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evalkit.comparing import clusters_and_tags
from evalkit.comparing.clusters_and_tags import Clusters
from evalkit.comparing.pairing import PairedRuns, TurnPairs
from evalkit.comparing.shared_conversations import Positions
from evalkit.stats import paired as statistics
from evalkit.stats import survival
from evalkit.stats.arrays import Flags, Floats
from evalkit.stats.estimate import Estimate
from evalkit.stats.paired import Difference, McNemar
from evalkit.stats.quantiles import quantiles

CONFIDENCE = 0.95
MOST_TAGS = 1_000
QUANTILES = {"p50": 0.5, "p95": 0.95}
_MANY_PAIRS, _RESAMPLES, _RESAMPLES_OF_MANY = 100_000, 2_000, 500  # with many pairs the limits are close together
_NO_PAIRS = "no turn is answered and scored in both runs"


@dataclass(frozen=True, slots=True)
class Effect:
    """The difference between two runs over some of their pairs.

    Parameters
    ----------
    label : int, str or None
        The turn index or the tag; None: all pairs.
    pairs, clusters : int
        Number of pairs, and of their conversations or groups.
    differing : int
        Number of clusters with a difference.
    noun : str
        The kind of cluster: ``conversation`` or ``group``.
    first, second : float or None
        Mean scores; None: there are no pairs.
    difference : Estimate
        Second − first.
    p : float or None
        Two-sided p of no difference, not corrected; None: not available.
    smallest_decidable : float or None
        The smallest difference that this number of clusters, with this variance, would show in four of five cases;
        above 1: they would show none.
    only_first, only_second : int
        Number of single answers that only one run has right.
    mcnemar : McNemar or None
        Test of these counts, if every cluster has one pair and every score is 0 or 1; else None.
    equal : bool
        Whether both scores are equal in every pair.
    corrected_p : float or None
        p after Holm's correction for all comparisons of its kind.
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
        """Whether the interval excludes 0."""
        low, high = self.difference.low, self.difference.high
        return low is not None and high is not None and (low > 0 or high < 0)

    def to_json(self) -> dict[str, Any]:
        """All fields except the label; missing values are None."""
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

    None: not known. Where time-outs leave the difference unknown, ``difference.low`` and ``difference.high`` may still
    bound it, and ``difference.reason`` says which run has an unknown quantile.
    """

    first: float | None
    second: float | None
    difference: Estimate


@dataclass(frozen=True, slots=True)
class TimeEffects:
    """The times of turns in both runs, as known or as lower bounds where the turn timed out.

    Parameters
    ----------
    turn : int or None
        The turn index; None: all turns.
    pairs : mapping
        ``ttft`` and ``latency`` to the number of pairs with this time.
    lower_bounds : mapping
        The same keys to the number of lower bounds among these, in the first and in the second run.
    quantiles : mapping
        The same keys to ``p50`` and ``p95`` to QuantileEffect.
    """

    turn: int | None
    pairs: dict[str, int]
    lower_bounds: dict[str, tuple[int, int]]
    quantiles: dict[str, dict[str, QuantileEffect]]

    def to_json(self) -> dict[str, Any]:
        """All fields except the turn index; missing values are None."""
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
                "lower_bounds": dict(zip(("first", "second"), self.lower_bounds[metric], strict=True)),
            }
            for metric, quantiles in self.quantiles.items()
        }


@dataclass(frozen=True, slots=True)
class Effects:
    """The measured fields of ``comparison.Contrast``, and the reason to doubt the interval of ``all``."""

    all: Effect
    with_failures: Effect
    by_turn: tuple[Effect, ...]
    by_tag: tuple[Effect, ...]
    tags_left_out: int
    times: tuple[TimeEffects, ...]
    doubt: str | None


def measure_effects(first: sqlite3.Connection, paired: PairedRuns, clusters: Clusters) -> Effects:
    """Measure the differences between two runs; tags are read from the first."""
    scored = _ScoredPairs.of(paired.pairs, clusters)
    # flips are counted over single answers, even if scores are means over repeats
    single = _ScoredPairs.of(paired.single, clusters) if paired.averaged else scored
    by_tag, tags_left_out = _by_tag(first, paired.shared.first, scored, single)
    counted = _ScoredPairs.of(paired.pairs, clusters, failures=True)
    return Effects(
        all=_effect(None, scored, single),
        with_failures=_effect(None, counted, _ScoredPairs.of(paired.single, clusters, failures=True)),
        by_turn=tuple(
            _effect(turn, scored.at(scored.turn == turn), single.at(single.turn == turn))
            for turn in np.unique(counted.turn).tolist()
        ),
        by_tag=by_tag,
        tags_left_out=tags_left_out,
        times=_times(paired, clusters),
        doubt=statistics.doubt(scored.first, scored.second, scored.labels, clusters.noun),
    )


def measure_overall(paired: PairedRuns, clusters: Clusters) -> tuple[Effect, QuantileEffect, int]:
    """The difference of two runs over all pairs, and that of their median latency with its number of clusters."""
    scored = _ScoredPairs.of(paired.pairs, clusters)
    single = _ScoredPairs.of(paired.single, clusters) if paired.averaged else scored
    first, second = paired.times["latency"]
    known = ~(np.isnan(first) | np.isnan(second))
    bounds = [flags[known] for flags in paired.censored["latency"]]
    labels = clusters.labels[paired.single.conversation[known]]
    latency = _quantiles((first[known], second[known]), (bounds[0], bounds[1]), labels, {"p50": 0.5})
    return _effect(None, scored, single), latency["p50"], len(np.unique(labels))


@dataclass(frozen=True, slots=True)
class _ScoredPairs:
    """Pairs with two scores."""

    conversation: Positions
    turn: Positions
    first: Floats
    second: Floats
    clusters: Clusters

    @classmethod
    def of(cls, pairs: TurnPairs, clusters: Clusters, *, failures: bool = False) -> _ScoredPairs:
        first, second = (pairs.first_all, pairs.second_all) if failures else (pairs.first, pairs.second)
        known = ~(np.isnan(first) | np.isnan(second))
        return cls(pairs.conversation[known], pairs.turn[known], first[known], second[known], clusters)

    def at(self, rows: Positions | Flags) -> _ScoredPairs:
        return _ScoredPairs(
            self.conversation[rows], self.turn[rows], self.first[rows], self.second[rows], self.clusters
        )

    @property
    def labels(self) -> Positions:
        """The cluster of each pair."""
        return self.clusters.labels[self.conversation]


def _effect(label: int | str | None, scored: _ScoredPairs, single: _ScoredPairs) -> Effect:
    first, second, noun = scored.first, scored.second, scored.clusters.noun
    right = single.first >= 1, single.second >= 1
    only_first, only_second = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    if not len(first):
        nothing = Estimate(None, None, None, 0, _NO_PAIRS)
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
    """The estimate with limits from −1 to 1, or the reason why there are none."""
    estimate = difference.estimate
    if difference.clusters == 1:
        return replace(estimate, reason=f"all pairs are of one {noun}")
    reason = estimate.reason and estimate.reason.replace("clusters", f"{noun}s", 1)
    if estimate.low is None or estimate.high is None:
        return replace(estimate, reason=reason)
    return replace(estimate, low=max(estimate.low, -1.0), high=min(estimate.high, 1.0), reason=reason)


def _mcnemar(
    scored: _ScoredPairs, single: _ScoredPairs, difference: Difference, only_first: int, only_second: int
) -> McNemar | None:
    """McNemar's test, which needs independent pairs and scores of 0 and 1; None: it does not apply."""
    if len(single.first) != len(scored.first) or difference.clusters != len(scored.first):
        return None
    if not all(np.isin(side, (0.0, 1.0)).all() for side in (scored.first, scored.second)):
        return None
    return statistics.mcnemar(only_first, only_second)


def _by_tag(
    connection: sqlite3.Connection, positions: Positions, scored: _ScoredPairs, single: _ScoredPairs
) -> tuple[tuple[Effect, ...], int]:
    """The tags with the most pairs, and the number of other tags."""
    tags = clusters_and_tags.tags(connection, positions)
    rows = [clusters_and_tags.rows_of(conversations, scored.conversation) for conversations in tags.conversations]
    most = sorted(range(len(rows)), key=lambda number: (-len(rows[number]), tags.names[number]))[:MOST_TAGS]
    effects = []
    for number in most:
        if len(rows[number]):
            own = single.at(clusters_and_tags.rows_of(tags.conversations[number], single.conversation))
            effects.append(_effect(tags.names[number], scored.at(rows[number]), own))
    return tuple(effects), len(rows) - len(effects)


def _times(paired: PairedRuns, clusters: Clusters) -> tuple[TimeEffects, ...]:
    turns = np.unique(paired.single.turn).tolist()
    everything = _times_of(None, paired, clusters, np.ones(len(paired.single.turn), dtype=bool))
    if len(turns) == 1:
        by_turn = [replace(everything, turn=turns[0])]
    else:
        by_turn = [_times_of(turn, paired, clusters, paired.single.turn == turn) for turn in turns]
    return (everything, *by_turn)


def _times_of(turn: int | None, paired: PairedRuns, clusters: Clusters, rows: Flags) -> TimeEffects:
    pairs, lower_bounds, by_metric = {}, {}, {}
    for metric, (first, second) in paired.times.items():
        known = rows & ~(np.isnan(first) | np.isnan(second))
        labels = clusters.labels[paired.single.conversation[known]]
        bounds = [flags[known] for flags in paired.censored[metric]]
        pairs[metric], lower_bounds[metric] = int(known.sum()), (int(bounds[0].sum()), int(bounds[1].sum()))
        by_metric[metric] = _quantiles((first[known], second[known]), (bounds[0], bounds[1]), labels)
    return TimeEffects(turn, pairs, lower_bounds, by_metric)


def _quantiles(
    times: tuple[Floats, Floats],
    censored: tuple[Flags, Flags],
    labels: Positions,
    names: Mapping[str, float] = QUANTILES,
) -> dict[str, QuantileEffect]:
    values = [quantiles(side, tuple(names.values()), flags) for side, flags in zip(times, censored, strict=True)]
    resamples = _RESAMPLES if len(labels) < _MANY_PAIRS else _RESAMPLES_OF_MANY
    by_quantile = {}
    for name, q, one, other in zip(names, names.values(), *values, strict=True):
        difference = survival.quantile_difference(*times, q, labels, censored=censored, resamples=resamples)
        by_quantile[name] = QuantileEffect(one.value, other.value, difference)
    return by_quantile
