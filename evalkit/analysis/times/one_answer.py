"""The timing of one streamed answer, read by read, from the stored attempt of a turn."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from evalkit.errors import RunFileError
from evalkit.stats.arrays import Floats, Whole

NS_PER_MS = 1e6
_ATTEMPT = """
    SELECT a.sent_ns, a.headers_ns, a.end_ns, a.arrivals, a.arrival_events, a.error_kind, t.output_tokens, a.flags
    FROM conversation c JOIN turn t ON t.conversation = c.position
      JOIN attempt a ON (a.conversation, a.repeat, a.turn, a.session) = (t.conversation, t.repeat, t.turn, t.session)
    WHERE c.id = ? AND t.repeat = ? AND t.turn = ? ORDER BY a.id DESC LIMIT 1"""
_ARRIVALS = """
    SELECT c.id, t.repeat, t.turn, a.arrivals, a.arrival_events
    FROM turn t JOIN conversation c ON c.position = t.conversation
      JOIN attempt a ON (a.conversation, a.repeat, a.turn, a.session) = (t.conversation, t.repeat, t.turn, t.session)
      JOIN (SELECT max(id) AS id FROM attempt GROUP BY conversation, repeat, turn, session) last ON last.id = a.id
    WHERE t.error_kind IS NULL AND t.streamed AND a.arrivals IS NOT NULL
    ORDER BY t.conversation, t.repeat, t.turn"""
# with two arrivals at least; and the times nearest the medians
_TYPICAL = """
    SELECT c.id, t.repeat, t.turn FROM turn t JOIN conversation c ON c.position = t.conversation
    WHERE t.error_kind IS NULL AND t.streamed AND t.latency_ns > t.ttft_ns
    ORDER BY abs(t.latency_ns - :latency) / :latency + abs(t.ttft_ns - :ttft) / :ttft,
      t.conversation, t.repeat, t.turn LIMIT 1"""


@dataclass(frozen=True, slots=True)
class AnswerTiming:
    """Timing of the last attempt of one turn; times in ms since its request was sent.

    Parameters
    ----------
    conversation : str
    repeat, turn : int
    headers, end : float or None
        None: the attempt did not get that far.
    arrivals : ndarray of float, shape (m,)
        Times of reads with tokens; empty when it was not streamed, or no token arrived.
    events : ndarray of int, shape (m,)
        Token-bearing events in each read.
    error_kind : str or None
    output_tokens : int or None
        As the endpoint reported.
    flags : tuple of str
        See ``record.Attempt``.
    """

    conversation: str
    repeat: int
    turn: int
    headers: float | None
    end: float | None
    arrivals: Floats
    events: Whole
    error_kind: str | None
    output_tokens: int | None
    flags: tuple[str, ...] = ()


def typical_turn(
    connection: sqlite3.Connection, latency_p50_ms: float | None, ttft_p50_ms: float | None
) -> tuple[str, int, int] | None:
    """Conversation, repeat and turn of the streamed answer whose times are nearest the medians; None: there is none."""
    if not latency_p50_ms or not ttft_p50_ms:
        return None
    medians = {"latency": latency_p50_ms * NS_PER_MS, "ttft": ttft_p50_ms * NS_PER_MS}
    found: tuple[str, int, int] | None = connection.execute(_TYPICAL, medians).fetchone()
    return found


def answer_timing(connection: sqlite3.Connection, conversation: str, turn: int, repeat: int = 1) -> AnswerTiming:
    """Read the timing of the last attempt of a turn.

    Raises
    ------
    RunFileError
        The run has no such turn, or it was never requested.
    """
    row = connection.execute(_ATTEMPT, (conversation, repeat, turn)).fetchone()
    if row is None:
        raise RunFileError(
            f"the run file has no attempt of turn {turn} of conversation {conversation!r} in repeat {repeat}: "
            "turns() lists its turns"
        )
    sent, headers, end, arrivals, events, error_kind, output_tokens, flags = row
    return AnswerTiming(
        conversation,
        repeat,
        turn,
        None if headers is None else (headers - sent) / NS_PER_MS,
        None if end is None else (end - sent) / NS_PER_MS,
        np.frombuffer(arrivals or b"", dtype="<i8") / NS_PER_MS,
        _counts(events or b""),
        error_kind,
        output_tokens,
        tuple((flags or "").split()),
    )


def arrivals(connection: sqlite3.Connection) -> Iterator[tuple[str, int, int, Floats, Whole]]:
    """Conversation, repeat, turn, arrivals in ms and the events of each, of every streamed answer with a token."""
    for conversation, repeat, turn, times, events in connection.execute(_ARRIVALS):
        yield conversation, repeat, turn, np.frombuffer(times, dtype="<i8") / NS_PER_MS, _counts(events)


def _counts(packed: bytes) -> Whole:
    return np.frombuffer(packed, dtype="<i4").astype(np.int64)
