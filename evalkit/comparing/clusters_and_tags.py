"""Clusters and tags of the conversations that two runs share."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from evalkit.comparing.shared_conversations import Positions
from evalkit.runfile.conversation_clusters import conversation_clusters, index_of
from evalkit.runfile.turn_columns import json_value

_MOST_CACHED = 10_000  # decoded lists of tags; most datasets repeat a few


@dataclass(frozen=True, slots=True)
class Clusters:
    """The clusters of conversations for the intervals.

    Parameters
    ----------
    labels : ndarray of int, shape (conversations,)
        Cluster of each shared conversation.
    noun : str
        ``conversation``, or ``group`` when the dataset names groups.
    """

    labels: Positions
    noun: str


@dataclass(frozen=True, slots=True)
class Tags:
    """Which conversations have which tag.

    Parameters
    ----------
    names : list of str
        In order of first occurrence.
    conversations : list of ndarray of int
        Conversations of each tag, in ascending order.
    """

    names: list[str]
    conversations: list[Positions]


def clusters(connection: sqlite3.Connection, positions: Positions) -> Clusters:
    """The clusters of the conversations at these positions, which are in ascending order."""
    labels = conversation_clusters(connection, positions).astype(np.int64)
    has_groups = bool((labels >= len(positions)).any())
    return Clusters(labels, "group" if has_groups else "conversation")


def tags(connection: sqlite3.Connection, positions: Positions) -> Tags:
    """The tags of the conversations at these positions, which are in ascending order."""
    names: dict[str, int] = {}
    cache: dict[str, list[int]] = {}
    tagged, numbers = array("q"), array("q")
    for position, text in connection.execute("SELECT position, tags FROM conversation WHERE tags NOT NULL"):
        number = index_of(positions, position)
        if number is None:
            continue
        tag_numbers = cache.get(text)
        if tag_numbers is None:
            tag_numbers = [names.setdefault(name, len(names)) for name in dict.fromkeys(json_value(text))]
            if len(cache) < _MOST_CACHED:
                cache[text] = tag_numbers
        tagged.extend(tag_numbers)
        numbers.extend([number] * len(tag_numbers))
    return Tags(list(names), list(_parts(tagged, numbers, len(names))))


def rows_of(conversations: Positions, pairs: Positions) -> Positions:
    """The rows of pairs with these conversations; both arrays are in ascending order."""
    begins, ends = (np.searchsorted(pairs, conversations, side=side) for side in ("left", "right"))
    counts = ends - begins
    within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    rows: Positions = np.repeat(begins, counts) + within
    return rows


def _parts(tagged: array[int], numbers: array[int], count: int) -> Iterator[Positions]:
    tag, conversation = (
        np.frombuffer(part, dtype=np.int64) if part else np.empty(0, np.int64) for part in (tagged, numbers)
    )
    order = np.lexsort((conversation, tag))
    ends = np.searchsorted(tag[order], np.arange(count), side="right")
    return iter(np.split(conversation[order], ends[:-1])) if count else iter(())
