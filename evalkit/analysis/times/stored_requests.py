"""The stamps of all successful requests of a run as arrays, one request an element."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

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
    rows: list[tuple[Any, ...]] = []
    sessions = set()
    for session, sent, end, visible, tokens, arrivals, events, streamed in connection.execute(_SENT):
        sessions.add(session)
        if streamed and arrivals:
            reads, counts = np.frombuffer(arrivals, dtype="<i8"), np.frombuffer(events, dtype="<i4")
            known: tuple[Any, ...] = (sent + reads[0], sent + reads[-1], visible, counts.sum(), counts[0])
        else:
            known = (None,) * 5
        rows.append((sent, end, tokens, *known))
    columns = np.array(rows, dtype=np.float64).reshape(-1, 8).T
    sent_ns, end_ns, output_tokens, first, last, first_visible, event_count, first_events = columns
    base = sent_ns.min() if len(rows) else 0.0  # so that no digits are lost
    gaps, _ = token_gaps.pooled(connection)
    return Requests(
        sent=(sent_ns - base) / NS_PER_MS,
        first=(first - base) / NS_PER_MS,
        last=(last - base) / NS_PER_MS,
        visible=(first_visible - base) / NS_PER_MS,
        end=(end_ns - base) / NS_PER_MS,
        tokens=output_tokens,
        events=event_count,
        first_events=first_events,
        gaps=gaps,
        sessions=len(sessions),
    )
