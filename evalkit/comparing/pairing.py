"""Two runs turn by turn: which conversations they share, and what came of the turns that both were asked."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import RunFileError
from evalkit.runfile import query_arrays, schema
from evalkit.stats.arrays import Flags, Floats

Places = NDArray[np.int64]

NS_PER_MS = 1e6
_BY_ID = "SELECT id, hash, position FROM conversation ORDER BY id"
_TURNS = f"""
    SELECT t.conversation, t.repeat, t.turn, t.error_kind NOT NULL,
      {schema.SCORABLE} AND NOT {schema.INTERRUPTED}, s.value, t.ttft_ns, t.latency_ns, t.censored_ns
    FROM turn t
      {schema.JOIN_SCORE}
    ORDER BY t.conversation, t.repeat, t.turn"""  # noqa: S608 - SQL of our own
_TYPES = ("i8", "i8", "i8", "?", "?", "f8", "f8", "f8", "f8")
_STREAMED = "SELECT coalesce(json_extract(settings, '$.stream'), 1) FROM run"


@dataclass(frozen=True, slots=True)
class Shared:
    """The conversations that two runs share: same id, same content.

    Parameters
    ----------
    first, second : ndarray of int, shape (n,)
        Their positions in the dataset of either run, in the order of the first.
    only_first, only_second : int
        Conversations that only one of them holds.
    changed : int
        Conversations of one id that are not the same in both; they are shared by none.
    """

    first: Places
    second: Places
    only_first: int
    only_second: int
    changed: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Why turns are not among the pairs; counts.

    Parameters
    ----------
    conversations_only_first, conversations_only_second, conversations_changed : int
        See ``Shared``.
    only_first, only_second : int
        Turns of shared conversations that only one run has finished.
    failed_first, failed_second, failed_both : int
        Turns that got no answer in one run, or in both.
    unscored : int
        Answered turns that have a target and no score in one run or in both.
    no_target : int
        Turns that are not to be scored.
    """

    conversations_only_first: int
    conversations_only_second: int
    conversations_changed: int
    only_first: int
    only_second: int
    failed_first: int
    failed_second: int
    failed_both: int
    unscored: int
    no_target: int

    @property
    def failed(self) -> int:
        """Turns that got no answer in at least one run."""
        return self.failed_first + self.failed_second + self.failed_both


@dataclass(frozen=True, slots=True)
class Pairs:
    """Turns that both runs have finished, in order of conversation, repeat and turn.

    Parameters
    ----------
    conversation : ndarray of int, shape (n,)
        Index into ``Shared.first`` and ``Shared.second``.
    repeat, turn : ndarray of int, shape (n,)
        From 1; the repeat is 0 where scores are means over repeats.
    first, second : ndarray of float, shape (n,)
        Scores; NaN: not answered, or not scored.
    first_all, second_all : ndarray of float, shape (n,)
        The same with 0 for a turn that failed and has a target.
    """

    conversation: Places
    repeat: Places
    turn: Places
    first: Floats
    second: Floats
    first_all: Floats
    second_all: Floats


@dataclass(frozen=True, slots=True)
class Paired:
    """What two runs have to be compared by.

    Parameters
    ----------
    shared : Shared
    pairs : Pairs
        By conversation, repeat and turn; with ``averaged`` by conversation and turn.
    single : Pairs
        By conversation, repeat and turn: single answers.
    times : mapping
        ``ttft`` and ``latency`` to two arrays beside ``single``, in ms; NaN: missing, or the turn failed, and not by a
        time-out.
    lost : mapping
        The same to two arrays of flags: the turn timed out, and the time is a lower bound.
    averaged : bool
        The runs have not the same number of repeats, so that scores are means over the repeats of a turn.
    left_out : LeftOut
    """

    shared: Shared
    pairs: Pairs
    single: Pairs
    times: Mapping[str, tuple[Floats, Floats]]
    lost: Mapping[str, tuple[Flags, Flags]]
    averaged: bool
    left_out: LeftOut


@dataclass(frozen=True, slots=True)
class _Turns:
    """The finished turns of one run, one a key, keys in ascending order; with means over repeats there is no time.

    ``ttft_lost``, ``latency_lost``: the time is a lower bound.
    """

    key: Places
    score: Floats
    score_all: Floats
    failed: Flags
    has_target: Flags
    ttft: Floats
    latency: Floats
    ttft_lost: Flags
    latency_lost: Flags

    def at(self, rows: Any) -> _Turns:
        return _Turns(*(getattr(self, name)[rows] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class _Keys:
    """How conversation, repeat and turn make one number."""

    repeats: int
    turns: int

    def of(self, conversation: Places, repeat: Places, turn: Places) -> Places:
        return (conversation * self.repeats + repeat) * self.turns + turn

    def parts(self, key: Places) -> tuple[Places, Places, Places]:
        rest, turn = np.divmod(key, self.turns)
        return (*np.divmod(rest, self.repeats), turn)


def shared(
    first: sqlite3.Connection,
    second: sqlite3.Connection,
    about: tuple[Mapping[str, Any], Mapping[str, Any]],
    *,
    common: bool,
) -> Shared:
    """The conversations that two runs share.

    Runs of one checked dataset share what both have begun. Else conversations of one id are the same if their content
    hashes are. The datasets count as one if none has changed, and if a conversation that only one run holds may be
    missing in the other because of a limit, or because that run did not get so far.

    Parameters
    ----------
    first, second : sqlite3.Connection
    about : pair of mappings
        What ``store.run_info`` tells of them.
    common : bool
        Take what is the same also of datasets that differ.

    Raises
    ------
    RunFileError
        The datasets differ, or nothing is shared.
    """
    datasets = [info["dataset"] for info in about]
    limits = [info["settings"].get("limit") for info in about]
    hashes = [dataset.get("hash") for dataset in datasets]
    if hashes[0] is not None and hashes[0] == hashes[1]:
        found, same = _by_position(first, second), True
    else:
        checked_whole = None not in hashes and limits[0] == limits[1]
        # with a limit the count is that of a part of the dataset
        ends = [
            dataset.get("conversations") if limit is None else None
            for dataset, limit in zip(datasets, limits, strict=True)
        ]
        found, explained, example = _by_id(first, second, ends)
        same = explained and not found.changed and not checked_whole
    if not len(found.first):
        raise RunFileError(_nothing_shared(found))
    if not same and not common:
        raise RunFileError(_differing(found, example))
    return found


def paired(first: sqlite3.Connection, second: sqlite3.Connection, found: Shared, *, averaged: bool) -> Paired:
    """Pair the turns of shared conversations; see ``Paired``."""
    most = [
        connection.execute("SELECT coalesce(max(repeat), 0) + 1, coalesce(max(turn), 0) + 1 FROM turn").fetchone()
        for connection in (first, second)
    ]
    keys = _Keys(max(repeats for repeats, _ in most), max(turns for _, turns in most))
    turns = _read(first, found.first, keys), _read(second, found.second, keys)
    singles, only_first, only_second = _matched(*turns)
    single = _pairs(keys, *singles)
    pairs = single
    compared = singles
    if averaged:
        compared, only_first, only_second = _matched(*(_averaged(side, keys) for side in turns))
        pairs = _pairs(_Keys(1, keys.turns), *compared)
    times, lost = (
        {name: (getattr(singles[0], name + kind), getattr(singles[1], name + kind)) for name in ("ttft", "latency")}
        for kind in ("", "_lost")
    )
    return Paired(found, pairs, single, times, lost, averaged, _left_out(found, *compared, only_first, only_second))


def _by_position(first: sqlite3.Connection, second: sqlite3.Connection) -> Shared:
    one, other = _positions(first), _positions(second)
    both = np.intersect1d(one, other, assume_unique=True)
    return Shared(both, both, len(one) - len(both), len(other) - len(both), 0)


def _positions(connection: sqlite3.Connection) -> Places:
    return np.fromiter((row[0] for row in connection.execute("SELECT position FROM conversation")), dtype=np.int64)


def _by_id(
    first: sqlite3.Connection, second: sqlite3.Connection, ends: list[int | None]
) -> tuple[Shared, bool, str | None]:
    """What is shared; whether what is not may only be lacking as yet; and an id that is not the same in both."""
    both = array("q"), array("q")
    only = array("q"), array("q")
    changed, example = 0, None
    for name, one, other in _merged(first.execute(_BY_ID), second.execute(_BY_ID)):
        if one is None or other is None:
            only[one is None].append((one or other or ("", 0))[1])
        elif one[0] == other[0]:
            both[0].append(one[1])
            both[1].append(other[1])
        else:
            changed, example = changed + 1, example or name
    places = [np.array(part, dtype=np.int64) for part in (*both, *only)]
    order = np.argsort(places[0])
    found = Shared(places[0][order], places[1][order], len(only[0]), len(only[1]), changed)
    explained = _lacking(places[2], second, ends[1]) and _lacking(places[3], first, ends[0])
    return found, explained, example


def _merged(
    first: Iterator[tuple[str, str, int]], second: Iterator[tuple[str, str, int]]
) -> Iterator[tuple[str, tuple[str, int] | None, tuple[str, int] | None]]:
    """Two sequences in the order of their ids as one: id, and what either says of it."""
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


def _lacking(places: Places, other: sqlite3.Connection, end: int | None) -> bool:
    """Whether a run may yet come to these positions: it holds nothing else there, and its dataset has not ended."""
    if not len(places):
        return True
    return not np.isin(places, _positions(other)).any() and (end is None or int(places.max()) < end)


def _nothing_shared(found: Shared) -> str:
    for name, held in (("first", found.only_first + found.changed), ("second", found.only_second + found.changed)):
        if not held:
            return f"the {name} run holds no finished turn: 'evalkit resume' goes on with it"
    if found.changed:
        return (
            f"the runs have no conversation in common: {found.changed:,} have one id, but not the same content. "
            "Compare runs of one dataset"
        )
    return "the runs have no conversation in common, by id and content: compare runs of one dataset"


def _differing(found: Shared, example: str | None) -> str:
    parts = [f"{len(found.first):,} conversations are the same in both"]
    if found.changed:
        parts.append(f"{found.changed:,} have one id, but not the same content (such as {example!r})")
    parts += [
        f"{count:,} are only in the {name} run"
        for name, count in (("first", found.only_first), ("second", found.only_second))
        if count
    ]
    if len(parts) == 1:
        parts.append("in another order")
    return (
        f"the runs are not of one dataset: {', '.join(parts)}. To compare what is the same: --common "
        "(in Python common=True)"
    )


def _read(connection: sqlite3.Connection, places: Places, keys: _Keys) -> _Turns:
    """The finished turns of these conversations."""
    (count,) = connection.execute("SELECT count(*) FROM turn").fetchone()
    key, known = np.empty(count, dtype=np.int64), np.empty((4, count))
    flags = np.empty((2, count), dtype=np.bool_)
    order = np.argsort(places)
    in_order = places[order]
    end = 0
    for some in query_arrays.groups(connection.execute(_TURNS), _TYPES):
        at = np.minimum(np.searchsorted(in_order, some[0]), len(places) - 1)
        kept = in_order[at] == some[0]
        number = order[at]
        begin, end = end, min(end + int(kept.sum()), count)  # more may come than were counted
        part = slice(begin, end)
        key[part] = keys.of(number[kept], some[1][kept], some[2][kept])[: end - begin]
        for column, values in zip((*flags, *known), some[3:], strict=True):
            column[part] = values[kept][: end - begin]
    failed, has_target = flags[:, :end]
    score, ttft, latency, bound = known[:, :end]
    lost = failed & ~np.isnan(bound)  # a time-out bounds its times; its first token may have come
    for column in (score, latency):
        column[failed] = np.nan
    ttft[failed & ~lost] = np.nan
    # without streaming TTFT does not exist, so that nothing bounds it
    ttft_lost = lost & np.isnan(ttft) & bool(connection.execute(_STREAMED).fetchone()[0])
    ttft[ttft_lost], latency[lost] = bound[ttft_lost], bound[lost]
    turns = _Turns(
        key[:end],
        score,
        np.where(failed & has_target, 0.0, score),
        failed,
        has_target,
        ttft / NS_PER_MS,
        latency / NS_PER_MS,
        ttft_lost,
        lost,
    )
    return turns if (np.diff(turns.key) > 0).all() else turns.at(np.argsort(turns.key))


def _averaged(turns: _Turns, keys: _Keys) -> _Turns:
    """Means over repeats: a turn is scored if it is in one of them, and failed if it got no answer in any."""
    conversation, _, turn = keys.parts(turns.key)
    key = conversation * keys.turns + turn
    order = np.argsort(key, kind="stable")
    key = key[order]
    begins = np.flatnonzero(np.diff(key, prepend=-1))
    if not len(begins):
        return turns

    def mean(values: Floats) -> Floats:
        known = ~np.isnan(values)
        count = np.add.reduceat(known.astype(np.int64), begins)
        total = np.add.reduceat(np.where(known, values, 0.0), begins)
        means: Floats = np.divide(total, count, out=np.full(len(begins), np.nan), where=count > 0)
        return means

    missing = np.full(len(begins), np.nan)
    return _Turns(
        key[begins],
        mean(turns.score[order]),
        mean(turns.score_all[order]),
        np.logical_and.reduceat(turns.failed[order], begins),
        np.logical_or.reduceat(turns.has_target[order], begins),
        missing,
        missing,
        np.zeros(len(begins), dtype=bool),
        np.zeros(len(begins), dtype=bool),
    )


def _matched(first: _Turns, second: _Turns) -> tuple[tuple[_Turns, _Turns], int, int]:
    """What both have; and how many only one has."""
    if np.array_equal(first.key, second.key):
        return (first, second), 0, 0
    both, one, other = np.intersect1d(first.key, second.key, assume_unique=True, return_indices=True)
    return (first.at(one), second.at(other)), len(first.key) - len(both), len(second.key) - len(both)


def _pairs(keys: _Keys, first: _Turns, second: _Turns) -> Pairs:
    return Pairs(*keys.parts(first.key), first.score, second.score, first.score_all, second.score_all)


def _left_out(found: Shared, first: _Turns, second: _Turns, only_first: int, only_second: int) -> LeftOut:
    unscored = np.isnan(first.score), np.isnan(second.score)
    aimed = first.has_target | second.has_target | ~unscored[0] | ~unscored[1]
    failed = first.failed & unscored[0] & aimed, second.failed & unscored[1] & aimed
    return LeftOut(
        conversations_only_first=found.only_first,
        conversations_only_second=found.only_second,
        conversations_changed=found.changed,
        only_first=only_first,
        only_second=only_second,
        failed_first=int((failed[0] & ~failed[1]).sum()),
        failed_second=int((failed[1] & ~failed[0]).sum()),
        failed_both=int((failed[0] & failed[1]).sum()),
        unscored=int(((unscored[0] | unscored[1]) & aimed & ~failed[0] & ~failed[1]).sum()),
        no_target=int((~aimed).sum()),
    )
