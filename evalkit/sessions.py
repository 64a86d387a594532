"""What the sessions of a run tell of themselves: how long they took, and how far their times can be trusted."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

import orjson

from evalkit import stats


@dataclass(frozen=True, slots=True)
class Trust:
    """The client's own honesty over the sessions of a run; None: no session has told it.

    Parameters
    ----------
    loop_lag_p99_ms : float or None
        Of the worst session.
    client_bound : bool or None
        See ``stats.client_bound``.
    gc_pauses : int or None
        Sum over sessions.
    gc_pause_max_ms : float or None
        The longest.
    cpu_share : float or None
        Of the busiest session: 1 is one core.
    connections_opened : int or None
        Sum over sessions.
    attempts, attempts_on_new_connections : int
        Requests, and those among them that a connection was opened for.
    reads, reads_with_several_events : int or None
        Reads that brought tokens, and those among them that held several token-bearing events; sums over sessions.
    """

    loop_lag_p99_ms: float | None
    client_bound: bool | None
    gc_pauses: int | None
    gc_pause_max_ms: float | None
    cpu_share: float | None
    connections_opened: int | None
    attempts: int
    attempts_on_new_connections: int
    reads: int | None
    reads_with_several_events: int | None


def trust(connection: sqlite3.Connection, ttft_p50_ms: float | None) -> Trust:
    """Judge a run by what its sessions noted, beside its median TTFT in ms."""
    told = [orjson.loads(text) for (text,) in connection.execute("SELECT trust FROM session WHERE trust IS NOT NULL")]

    def known(name: str) -> list[Any]:
        return [session[name] for session in told if session.get(name) is not None]

    def worst(name: str) -> float | None:
        return max(map(float, known(name)), default=None)

    def total(name: str) -> int | None:
        return sum(known(name)) if known(name) else None

    lag = worst("loop_lag_p99_ms")
    attempts, opened = connection.execute(
        "SELECT count(*), coalesce(sum(connection_opened), 0) FROM attempt"
    ).fetchone()
    return Trust(
        loop_lag_p99_ms=lag,
        client_bound=stats.client_bound(lag, ttft_p50_ms),
        gc_pauses=total("gc_pauses"),
        gc_pause_max_ms=worst("gc_pause_max_ms"),
        cpu_share=worst("cpu_share"),
        connections_opened=total("connections_opened"),
        attempts=attempts,
        attempts_on_new_connections=opened,
        reads=total("reads"),
        reads_with_several_events=total("reads_with_several_events"),
    )


def wall_s(connection: sqlite3.Connection) -> float | None:
    """Sum over sessions of end − start, in s; a session without an end counts up to its last turn. None: none did."""
    rows = connection.execute(
        "SELECT coalesce(ended_mono_ns, (SELECT max(end_ns) FROM turn WHERE session = session.id)) - started_mono_ns "
        "FROM session"
    )
    total = sum(nanoseconds for (nanoseconds,) in rows if nanoseconds is not None)
    return total / 1e9 if total > 0 else None


def realised_rate(connection: sqlite3.Connection) -> float | None:
    """Conversations a second that were really due, of a run with a schedule of arrivals; None: fewer than two were.

    From the first to the last of each session, over all sessions: random gaps add up to another rate than was wanted.
    """
    begun = connection.execute(
        "SELECT count(*) - 1, max(due) - min(due) FROM (SELECT session, min(due_ns) AS due FROM attempt "
        "WHERE turn = 1 GROUP BY session, conversation, repeat) GROUP BY session"
    ).fetchall()
    gaps, span = sum(row[0] for row in begun), sum(row[1] for row in begun)
    return gaps / span * 1e9 if span else None
