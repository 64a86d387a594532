"""The stamps of all successful requests of a run as arrays, one request an element."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import numpy as np

from evalkit.analysis.times import token_gaps
from evalkit.analysis.times.token_gaps import NS_PER_MS
from evalkit.stats.arrays import Floats

_SENT = """
    SELECT session, sent_ns, end_ns, first_visible_ns, output_tokens, arrivals, arrival_events, streamed FROM attempt
    WHERE error_kind IS NULL AND end_ns NOT NULL"""


@dataclass(frozen=True, slots=True)
class Requests:
    """The stamps of the successful requests of a run.

    Parameters
    ----------
    sent, first, last, visible, end : ndarray, shape (n,)
        In ms: sent; first and last arrival, first visible arrival, NaN: none; body complete.
    tokens, events, first_events : ndarray, shape (n,)
        Output tokens that the endpoint reported, token-bearing events, and those in the first arrival; NaN: none.
    gaps : ndarray
        Times between consecutive arrivals in ms, pooled; of more than 2,000 answers those of a seeded sample.
    sessions : int
    """

    sent: Floats
    first: Floats
    last: Floats
    visible: Floats
    end: Floats
    tokens: Floats
    events: Floats
    first_events: Floats
    gaps: Floats
    sessions: int

    @property
    def tpot(self) -> Floats:
        """Our TPOT (``record.Attempt.tpot_ns``) of each request."""
        held = np.where(self.events == self.tokens, self.first_events, 1.0)
        after = np.where((self.tokens > held) & (self.last > self.first), self.tokens - held, np.nan)
        return (self.last - self.first) / after

    @property
    def decoding(self) -> Floats:
        """(last − first arrival) / (tokens − 1) of each request; NaN: fewer than two tokens."""
        return self.per_token(self.last - self.first)

    def per_token(self, times: Floats) -> Floats:
        """Times over tokens − 1."""
        return times / np.where(self.tokens > 1, self.tokens - 1, np.nan)


def read(connection: sqlite3.Connection) -> Requests:
    """The stamps of the successful requests of a run."""
    rows = []
    sessions = set()
    for session, sent, end, visible, tokens, arrivals, events, streamed in connection.execute(_SENT):
        sessions.add(session)
        reads = np.frombuffer(arrivals or b"", dtype="<i8") if streamed else ()
        first, last = (sent + reads[0], sent + reads[-1]) if len(reads) else (None, None)
        counts = np.frombuffer(events or b"", dtype="<i4") if len(reads) else ()
        held = (counts.sum(), counts[0]) if len(counts) else (None, None)
        rows.append((sent, first, last, visible if len(reads) else None, end, tokens, *held))
    columns = np.array(rows, dtype=np.float64).reshape(-1, 8).T
    base = columns[0].min() if len(rows) else 0.0  # so that no digits are lost
    stamps = ((column - base) / NS_PER_MS for column in columns[:5])
    gaps, _ = token_gaps.pooled(connection)
    return Requests(*stamps, *columns[5:], gaps=gaps, sessions=len(sessions))
