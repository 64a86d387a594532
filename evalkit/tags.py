"""How right the turns of a run were, by the tags of their conversations."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from evalkit import columns, stats
from evalkit.clusters import ClusterSums
from evalkit.schema import JOIN_SCORE
from evalkit.stats import Estimate

MOST = 20
_COUNTED = """
    SELECT c.tags, count(*), sum(t.error_kind NOT NULL)
    FROM turn t CROSS JOIN conversation c ON c.position = t.conversation GROUP BY c.tags"""
# turns of one cluster follow each other, as their sums want it
_SCORED = f"""
    SELECT coalesce(c.cluster, c.position), c.tags, s.value
    FROM turn t CROSS JOIN conversation c ON c.position = t.conversation
      {JOIN_SCORE}
    WHERE c.tags NOT NULL AND t.error_kind IS NULL AND s.value NOT NULL
    ORDER BY 1"""  # noqa: S608 - SQL of our own


@dataclass(frozen=True, slots=True)
class Tagged:
    """The turns of one tag; a turn counts in each tag of its conversation.

    Parameters
    ----------
    tag : str
    turns, failed : int
        Finished ones.
    accuracy : Estimate
        Mean score over answered and scored turns; the interval takes the turns of one conversation, or of one group of
        them, as one cluster.
    among_all : Estimate
        The same with an interval that holds for all shown tags at once (Bonferroni): by it a tag may be told apart.
    """

    tag: str
    turns: int
    failed: int
    accuracy: Estimate
    among_all: Estimate


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags of a run.

    Parameters
    ----------
    shown : tuple of Tagged
        The most frequent ones, by number of turns; equal ones by name.
    left_out : int
        Tags beyond them.
    untagged : int
        Finished turns without any tag.
    """

    shown: tuple[Tagged, ...]
    left_out: int
    untagged: int


def tagged(connection: sqlite3.Connection, most: int = MOST) -> Tags:
    """Measure the turns of the most frequent tags, of so many at most."""
    turns, failed, untagged = Counter[str](), Counter[str](), 0
    for text, count, errors in connection.execute(_COUNTED):
        own = _tags(text)
        untagged += 0 if own else count
        for tag in own:
            turns[tag] += count
            failed[tag] += errors
    chosen = sorted(turns, key=lambda tag: (-turns[tag], tag))[:most]
    scored = _accuracies(connection, chosen)
    shown = tuple(Tagged(tag, turns[tag], failed[tag], *scored[tag]) for tag in chosen)
    return Tags(shown, len(turns) - len(chosen), untagged)


def _accuracies(connection: sqlite3.Connection, chosen: list[str]) -> dict[str, tuple[Estimate, Estimate]]:
    sums = {tag: ClusterSums() for tag in chosen}
    codes: dict[str, int] = {}
    rows = _coded(connection.execute(_SCORED), codes)
    for cluster, code, score in columns.groups(rows, ("i8", "i8", "f8")):
        there = set(np.unique(code).tolist())
        held = {
            tag: [number for text, number in codes.items() if number in there and tag in _tags(text)] for tag in chosen
        }
        for tag, numbers in held.items():
            if numbers:
                own = np.isin(code, numbers)
                sums[tag].add(cluster[own], score[own])
    for each in sums.values():
        each.close()
    level = 1 - 0.05 / max(len(chosen), 1)
    return {
        tag: (stats.clustered_proportion(each), stats.clustered_proportion(each, level)) for tag, each in sums.items()
    }


def _coded(rows: Iterator[tuple[Any, ...]], codes: dict[str, int]) -> Iterator[tuple[int, int, float]]:
    """Rows with numbers in place of clusters and of texts of tags."""
    number, before = 0, None
    for cluster, text, score in rows:
        if cluster != before:
            number, before = number + 1, cluster
        yield number, codes.setdefault(text, len(codes)), score


def _tags(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(orjson.loads(text))) if text else ()
