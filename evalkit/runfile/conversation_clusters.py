"""Which conversations are one cluster: a conversation with all its repeats, or a group of conversations."""

from __future__ import annotations

import sqlite3

import numpy as np
from numpy.typing import NDArray


def conversation_clusters(
    connection: sqlite3.Connection, positions: NDArray[np.int64] | None = None
) -> NDArray[np.int32]:
    """The cluster of each conversation, as a number: that of its group, else the index of the conversation.

    Groups are numbered after all conversations, so that a number of at least ``len(positions)`` is that of a group.

    Parameters
    ----------
    connection : sqlite3.Connection
        A run file.
    positions : ndarray of int, shape (n,), optional
        Positions of conversations in the dataset, in ascending order. None: all positions from 0 to the largest.

    Returns
    -------
    ndarray of int, shape (n,)
    """
    if positions is None:
        count = 1 + int(connection.execute("SELECT coalesce(max(position), -1) FROM conversation").fetchone()[0])
    else:
        count = len(positions)
    numbers = np.arange(count, dtype=np.int32)
    groups: dict[str, int] = {}
    for position, group in connection.execute("SELECT position, cluster FROM conversation WHERE cluster NOT NULL"):
        index = position if positions is None else index_of(positions, position)
        if index is not None:
            numbers[index] = groups.setdefault(group, count + len(groups))
    return numbers


def index_of(positions: NDArray[np.int64], position: int) -> int | None:
    """Index of a position in an ascending array; None: it is not there."""
    index = int(positions.searchsorted(position))
    return index if index < len(positions) and positions[index] == position else None
