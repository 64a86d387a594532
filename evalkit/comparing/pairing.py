"""Pairs of turns from two runs, with their scores and times, and the turns that are left out."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evalkit.comparing.shared_conversations import Positions, SharedConversations
from evalkit.runfile import query_arrays, schema
from evalkit.stats.arrays import Flags, Floats

NS_PER_MS = 1e6
_TURNS = f"""
    SELECT t.conversation, t.repeat, t.turn, t.error_kind NOT NULL,
      {schema.SCORABLE} AND NOT {schema.INTERRUPTED}, {schema.INTERRUPTED}, s.value, t.ttft_ns, t.latency_ns,
      t.censored_ns
    FROM turn t
      {schema.JOIN_SCORE}
    ORDER BY t.conversation, t.repeat, t.turn"""  # noqa: S608 - SQL of our own
_TYPES = ("i8", "i8", "i8", "?", "?", "?", "f8", "f8", "f8", "f8")
_STREAMED = "SELECT coalesce(json_extract(settings, '$.stream'), 1) FROM run"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Number of turns and conversations that are not among the pairs, by reason.

    Parameters
    ----------
    conversations_only_first, conversations_only_second, conversations_changed : int
        See ``SharedConversations``.
    only_first, only_second : int
        Turns of shared conversations that only one run has finished.
    failed_first, failed_second, failed_both : int
        Turns without an answer in one run, or in both.
    unscored : int
        Answered turns with a target but without a score in one run or in both.
    no_target : int
        Turns without a target or scorer.
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
        """Turns without an answer in at least one run."""
        return self.failed_first + self.failed_second + self.failed_both


@dataclass(frozen=True, slots=True)
class TurnPairs:
    """Turns that both runs have finished, in the order of conversation, repeat and turn.

    Parameters
    ----------
    conversation : ndarray of int, shape (n,)
        Index into ``SharedConversations.first`` and ``second``.
    repeat, turn : ndarray of int, shape (n,)
        From 1; the repeat is 0 where scores are means over repeats.
    first, second : ndarray of float, shape (n,)
        Scores; NaN: not answered, or not scored.
    first_all, second_all : ndarray of float, shape (n,)
        The same with 0 for a turn that failed and has a target.
    """

    conversation: Positions
    repeat: Positions
    turn: Positions
    first: Floats
    second: Floats
    first_all: Floats
    second_all: Floats


@dataclass(frozen=True, slots=True)
class PairedRuns:
    """The paired turns of two runs.

    Parameters
    ----------
    shared : SharedConversations
    pairs : TurnPairs
        By conversation, repeat and turn; with ``averaged`` by conversation and turn.
    single : TurnPairs
        By conversation, repeat and turn: single answers.
    times : mapping
        ``ttft`` and ``latency`` to two arrays parallel to ``single``, in ms; NaN: missing, or the turn failed for
        another reason than a time-out.
    censored : mapping
        The same keys to two arrays of flags: the turn timed out, and the time is a lower bound.
    failed, interrupted : (ndarray of bool, ndarray of bool)
        Parallel to ``single``, one array per run: the turn has no answer; the end of its session is the reason.
    averaged : bool
        The runs have different numbers of repeats, so scores are means over the repeats of a turn.
    left_out : LeftOut
    """

    shared: SharedConversations
    pairs: TurnPairs
    single: TurnPairs
    times: Mapping[str, tuple[Floats, Floats]]
    censored: Mapping[str, tuple[Flags, Flags]]
    failed: tuple[Flags, Flags]
    interrupted: tuple[Flags, Flags]
    averaged: bool
    left_out: LeftOut


@dataclass(frozen=True, slots=True)
class _Turns:
    """The finished turns of one run by ascending, unique keys; means over repeats have no times.

    ``ttft_censored``, ``latency_censored``: the time is a lower bound.
    """

    key: Positions
    score: Floats
    score_all: Floats
    failed: Flags
    has_target: Flags
    interrupted: Flags
    ttft: Floats
    latency: Floats
    ttft_censored: Flags
    latency_censored: Flags

    def at(self, rows: Any) -> _Turns:
        return _Turns(*(getattr(self, name)[rows] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class _Keys:
    """Conversation, repeat and turn as one number."""

    repeats: int
    turns: int

    def of(self, conversation: Positions, repeat: Positions, turn: Positions) -> Positions:
        return (conversation * self.repeats + repeat) * self.turns + turn

    def parts(self, key: Positions) -> tuple[Positions, Positions, Positions]:
        rest, turn = np.divmod(key, self.turns)
        return (*np.divmod(rest, self.repeats), turn)


def pair_turns(
    first: sqlite3.Connection, second: sqlite3.Connection, shared: SharedConversations, *, averaged: bool
) -> PairedRuns:
    """Pair the turns of shared conversations; see ``PairedRuns``."""
    most = [
        connection.execute("SELECT coalesce(max(repeat), 0) + 1, coalesce(max(turn), 0) + 1 FROM turn").fetchone()
        for connection in (first, second)
    ]
    keys = _Keys(max(repeats for repeats, _ in most), max(turns for _, turns in most))
    turns = _read(first, shared.first, keys), _read(second, shared.second, keys)
    singles, only_first, only_second = _matched(*turns)
    single = _pairs(keys, *singles)
    pairs = single
    compared = singles
    if averaged:
        compared, only_first, only_second = _matched(*(_averaged(side, keys) for side in turns))
        pairs = _pairs(_Keys(1, keys.turns), *compared)
    times, censored = (
        {name: (getattr(singles[0], name + kind), getattr(singles[1], name + kind)) for name in ("ttft", "latency")}
        for kind in ("", "_censored")
    )
    return PairedRuns(
        shared=shared,
        pairs=pairs,
        single=single,
        times=times,
        censored=censored,
        failed=(singles[0].failed, singles[1].failed),
        interrupted=(singles[0].interrupted, singles[1].interrupted),
        averaged=averaged,
        left_out=_left_out(shared, *compared, only_first, only_second),
    )


def _read(connection: sqlite3.Connection, positions: Positions, keys: _Keys) -> _Turns:
    """The finished turns of these conversations."""
    (count,) = connection.execute("SELECT count(*) FROM turn").fetchone()
    key, values_of = np.empty(count, dtype=np.int64), np.empty((4, count))
    flags = np.empty((3, count), dtype=np.bool_)
    order = np.argsort(positions)
    in_order = positions[order]
    end = 0
    for group in query_arrays.groups(connection.execute(_TURNS), _TYPES):
        at = np.minimum(np.searchsorted(in_order, group[0]), len(positions) - 1)
        is_shared = in_order[at] == group[0]
        number = order[at]
        begin, end = end, min(end + int(is_shared.sum()), count)  # turns may have been added after the counting
        part = slice(begin, end)
        key[part] = keys.of(number[is_shared], group[1][is_shared], group[2][is_shared])[: end - begin]
        for column, values in zip((*flags, *values_of), group[3:], strict=True):
            column[part] = values[is_shared][: end - begin]
    failed, has_target, interrupted = flags[:, :end]
    score, ttft, latency, bound = values_of[:, :end]
    timed_out = failed & ~np.isnan(bound)  # the time-out bounds the latency; the first token may have arrived
    for column in (score, latency):
        column[failed] = np.nan
    ttft[failed & ~timed_out] = np.nan
    # without streaming there is no TTFT to bound
    ttft_censored = timed_out & np.isnan(ttft) & bool(connection.execute(_STREAMED).fetchone()[0])
    ttft[ttft_censored], latency[timed_out] = bound[ttft_censored], bound[timed_out]
    turns = _Turns(
        key[:end],
        score,
        np.where(failed & has_target, 0.0, score),
        failed,
        has_target,
        interrupted,
        ttft / NS_PER_MS,
        latency / NS_PER_MS,
        ttft_censored,
        timed_out,
    )
    return turns if (np.diff(turns.key) > 0).all() else turns.at(np.argsort(turns.key))


def _averaged(turns: _Turns, keys: _Keys) -> _Turns:
    """Means over repeats: a turn is scored if any repeat is scored, and failed if no repeat has an answer."""
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
        np.logical_and.reduceat(turns.interrupted[order], begins),
        missing,
        missing,
        np.zeros(len(begins), dtype=bool),
        np.zeros(len(begins), dtype=bool),
    )


def _matched(first: _Turns, second: _Turns) -> tuple[tuple[_Turns, _Turns], int, int]:
    """The turns with a key in both; and how many are only in one."""
    if np.array_equal(first.key, second.key):
        return (first, second), 0, 0
    both, one, other = np.intersect1d(first.key, second.key, assume_unique=True, return_indices=True)
    return (first.at(one), second.at(other)), len(first.key) - len(both), len(second.key) - len(both)


def _pairs(keys: _Keys, first: _Turns, second: _Turns) -> TurnPairs:
    return TurnPairs(*keys.parts(first.key), first.score, second.score, first.score_all, second.score_all)


def _left_out(shared: SharedConversations, first: _Turns, second: _Turns, only_first: int, only_second: int) -> LeftOut:
    unscored = np.isnan(first.score), np.isnan(second.score)
    has_target = first.has_target | second.has_target | ~unscored[0] | ~unscored[1]
    failed = first.failed & unscored[0] & has_target, second.failed & unscored[1] & has_target
    return LeftOut(
        conversations_only_first=shared.only_first,
        conversations_only_second=shared.only_second,
        conversations_changed=shared.changed,
        only_first=only_first,
        only_second=only_second,
        failed_first=int((failed[0] & ~failed[1]).sum()),
        failed_second=int((failed[1] & ~failed[0]).sum()),
        failed_both=int((failed[0] & failed[1]).sum()),
        unscored=int(((unscored[0] | unscored[1]) & has_target & ~failed[0] & ~failed[1]).sum()),
        no_target=int((~has_target).sum()),
    )
