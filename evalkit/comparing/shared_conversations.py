"""Which conversations two runs share: same id, same content."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import RunFileError
from evalkit.runfile import store
from evalkit.runfile.schema import CURRENT_SCORING, JOIN_CORRECTED, ROW

Positions = NDArray[np.int64]
_BY_ID = "SELECT id, {content}, position FROM conversation ORDER BY id"
_CORRECTED_BY_ID = f"""
    SELECT id, {{content}}, position
    FROM (SELECT c.id, c.position, {ROW} AS row FROM conversation c {JOIN_CORRECTED}) ORDER BY id"""  # noqa: S608
_IS_CORRECTED = f"SELECT EXISTS (SELECT 1 FROM corrected_row WHERE scoring = {CURRENT_SCORING})"  # noqa: S608
_SCORE_BOTH = (
    ". A run was scored with the targets of a corrected dataset: score both with them, by 'evalkit score RUN --targets'"
)


@dataclass(frozen=True, slots=True)
class SharedConversations:
    """The conversations that two runs share: same id, same content.

    Parameters
    ----------
    first, second : ndarray of int, shape (n,)
        Positions in the dataset of each run, in the order of the first.
    only_first, only_second : int
        Number of conversations that are only in one run.
    changed : int
        Number of conversations with the same id but different content; they are not shared.
    """

    first: Positions
    second: Positions
    only_first: int
    only_second: int
    changed: int


def shared_conversations(
    first: sqlite3.Connection,
    second: sqlite3.Connection,
    about: tuple[Mapping[str, Any], Mapping[str, Any]],
    *,
    common: bool,
) -> SharedConversations:
    """The conversations that two runs share.

    Runs of one checked dataset share the conversations that both have started. Otherwise conversations with the same id
    are shared if their content is equal (``store.content``). The datasets count as the same if no conversation has
    changed, and if each conversation that is only in one run may be missing in the other because of a limit, or because
    that run has not come to it yet. The content of a run that was scored with the targets of a corrected dataset has
    those targets: it can be compared with a run of that dataset, and not with one that has the old targets.

    Parameters
    ----------
    first, second : sqlite3.Connection
    about : pair of mappings
        From ``store.run_info``.
    common : bool
        Accept different datasets, and share the conversations that are equal.

    Raises
    ------
    RunFileError
        The datasets differ, or nothing is shared.
    """
    datasets = [info["dataset"] for info in about]
    limits = [info["settings"].get("limit") for info in about]
    hashes = [dataset.get("hash") for dataset in datasets]
    corrected = any(connection.execute(_IS_CORRECTED).fetchone()[0] for connection in (first, second))
    if hashes[0] is not None and hashes[0] == hashes[1] and not corrected:
        shared, same = _by_position(first, second), True
    else:
        checked_whole = None not in hashes and limits[0] == limits[1] and not corrected
        # with a limit the count is only that of a part of the dataset
        ends = [
            dataset.get("conversations") if limit is None else None
            for dataset, limit in zip(datasets, limits, strict=True)
        ]
        content = store.content(*about)
        query = _CORRECTED_BY_ID.format(content="row" if content == "hash" else content) if corrected else (
            _BY_ID.format(content=content)
        )  # fmt: skip
        shared, may_be_pending, example = _by_id(first, second, ends, query)
        same = may_be_pending and not shared.changed and not checked_whole
    hint = _SCORE_BOTH if corrected and shared.changed else ""
    if not len(shared.first):
        raise RunFileError(_nothing_shared(shared) + hint)
    if not same and not common:
        raise RunFileError(_datasets_differ(shared, example) + hint)
    return shared


def _by_position(first: sqlite3.Connection, second: sqlite3.Connection) -> SharedConversations:
    one, other = _positions(first), _positions(second)
    both = np.intersect1d(one, other, assume_unique=True)
    return SharedConversations(both, both, len(one) - len(both), len(other) - len(both), 0)


def _positions(connection: sqlite3.Connection) -> Positions:
    return np.fromiter((row[0] for row in connection.execute("SELECT position FROM conversation")), dtype=np.int64)


def _by_id(
    first: sqlite3.Connection, second: sqlite3.Connection, ends: list[int | None], query: str
) -> tuple[SharedConversations, bool, str | None]:
    """What is shared; whether the rest may only be pending; and an id with different content."""
    both = array("q"), array("q")
    only = array("q"), array("q")
    changed, example = 0, None
    for name, one, other in _merged(first.execute(query), second.execute(query)):
        if one is None or other is None:
            only[one is None].append((one or other or ("", 0))[1])
        elif one[0] == other[0]:
            both[0].append(one[1])
            both[1].append(other[1])
        else:
            changed, example = changed + 1, example or name
    positions = [np.array(part, dtype=np.int64) for part in (*both, *only)]
    order = np.argsort(positions[0])
    shared = SharedConversations(positions[0][order], positions[1][order], len(only[0]), len(only[1]), changed)
    may_be_pending = _may_be_pending(positions[2], second, ends[1]) and _may_be_pending(positions[3], first, ends[0])
    return shared, may_be_pending, example


def _merged(
    first: Iterator[tuple[str, str, int]], second: Iterator[tuple[str, str, int]]
) -> Iterator[tuple[str, tuple[str, int] | None, tuple[str, int] | None]]:
    """Merge two sequences in the order of their ids: id, and its content and position in each."""
    one, other = next(first, None), next(second, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            assert one is not None
            yield one[0], one[1:], None
            one = next(first, None)
        elif one is None or other[0] < one[0]:
            yield other[0], None, other[1:]
            other = next(second, None)
        else:
            yield one[0], one[1:], other[1:]
            one, other = next(first, None), next(second, None)


def _may_be_pending(positions: Positions, other: sqlite3.Connection, end: int | None) -> bool:
    """Whether a run may still come to these positions: it has nothing there, and its dataset does not end before."""
    if not len(positions):
        return True
    return not np.isin(positions, _positions(other)).any() and (end is None or int(positions.max()) < end)


def _nothing_shared(shared: SharedConversations) -> str:
    for name, count in (("first", shared.only_first + shared.changed), ("second", shared.only_second + shared.changed)):
        if not count:
            return f"the {name} run has no finished turn: continue it with 'evalkit resume'"
    if shared.changed:
        return (
            f"the runs have no conversation in common: {shared.changed:,} have the same id but different content. "
            "Compare runs of one dataset"
        )
    return "the runs have no conversation in common, by id and content: compare runs of one dataset"


def _datasets_differ(shared: SharedConversations, example: str | None) -> str:
    parts = [f"{len(shared.first):,} conversations are the same in both"]
    if shared.changed:
        parts.append(f"{shared.changed:,} have the same id but different content (such as {example!r})")
    parts += [
        f"{count:,} are only in the {name} run"
        for name, count in (("first", shared.only_first), ("second", shared.only_second))
        if count
    ]
    if len(parts) == 1:
        parts.append("in a different order")
    return (
        f"the runs are not of one dataset: {', '.join(parts)}. To compare only equal conversations, use --common "
        "(in Python common=True)"
    )
