"""How the conversations that two runs share hang together: which resemble each other, and which have a tag."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from evalkit.comparing.pairing import Places
from evalkit.runfile.turn_columns import json_value

_KEPT_TEXTS = 10_000  # lists of tags, as a rule few that come again and again


@dataclass(frozen=True, slots=True)
class Clusters:
    """What the intervals take for one sample each.

    Parameters
    ----------
    labels : ndarray of int, shape (conversations,)
        Of each shared conversation.
    noun : str
        ``conversation``, or ``group`` when the dataset names groups.
    """

    labels: Places
    noun: str


@dataclass(frozen=True, slots=True)
class Tags:
    """Which conversations have which tag.

    Parameters
    ----------
    names : list of str
        In the order in which they came.
    conversations : list of ndarray of int
        Of each tag, in ascending order.
    """

    names: list[str]
    conversations: list[Places]


def clusters(connection: sqlite3.Connection, places: Places) -> Clusters:
    """The clusters of the conversations at these positions, which are in ascending order."""
    labels = np.arange(len(places), dtype=np.int64)
    groups: dict[str, int] = {}
    for place, group in connection.execute("SELECT position, cluster FROM conversation WHERE cluster NOT NULL"):
        number = _number(places, place)
        if number is not None:
            labels[number] = groups.setdefault(group, len(places) + len(groups))
    return Clusters(labels, "group" if groups else "conversation")


def tags(connection: sqlite3.Connection, places: Places) -> Tags:
    """The tags of the conversations at these positions, which are in ascending order."""
    names: dict[str, int] = {}
    known: dict[str, list[int]] = {}
    tagged, numbers = array("q"), array("q")
    for place, text in connection.execute("SELECT position, tags FROM conversation WHERE tags NOT NULL"):
        number = _number(places, place)
        if number is None:
            continue
        found = known.get(text)
        if found is None:
            found = [names.setdefault(name, len(names)) for name in dict.fromkeys(json_value(text))]
            if len(known) < _KEPT_TEXTS:
                known[text] = found
        tagged.extend(found)
        numbers.extend([number] * len(found))
    return Tags(list(names), list(_parts(tagged, numbers, len(names))))


def rows_of(conversations: Places, pairs: Places) -> Places:
    """Where these conversations stand among those of pairs; both are in ascending order."""
    begins, ends = (np.searchsorted(pairs, conversations, side=side) for side in ("left", "right"))
    counts = ends - begins
    within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    rows: Places = np.repeat(begins, counts) + within
    return rows


def _number(places: Places, place: int) -> int | None:
    at = int(places.searchsorted(place))
    return at if at < len(places) and places[at] == place else None


def _parts(tagged: array[int], numbers: array[int], count: int) -> Iterator[Places]:
    tag, conversation = (
        np.frombuffer(part, dtype=np.int64) if part else np.empty(0, np.int64) for part in (tagged, numbers)
    )
    order = np.lexsort((conversation, tag))
    ends = np.searchsorted(tag[order], np.arange(count), side="right")
    return iter(np.split(conversation[order], ends[:-1])) if count else iter(())
