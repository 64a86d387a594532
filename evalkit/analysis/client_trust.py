"""What the sessions of a run recorded about the client: how long they took, and how far their times can be trusted."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from evalkit.runfile import query_arrays

CLIENT_BOUND_SHARE = 0.05

# over all turns: answered streams, those that arrived nearly at once, those whose first read may have been late
STREAMS = """
    count(iif(error_kind IS NULL, ttft_ns, NULL)), total(error_kind IS NULL AND instr(flags, 'buffered')),
    total(error_kind IS NULL AND instr(flags, 'first_read_late'))"""
METRICS = ("ttft", "latency", "tpot")
_STALLABLE = "SELECT session, sent_ns, end_ns FROM turn WHERE sent_ns NOT NULL AND end_ns NOT NULL"
# such as killed sessions; a session whose turns were all run again does not count
_SESSIONS_NOT_KNOWN = """
    SELECT count(*) FROM session
    WHERE trust IS NULL AND EXISTS (SELECT 1 FROM turn WHERE turn.session = session.id AND turn.sent_ns NOT NULL)"""


@dataclass(frozen=True, slots=True)
class Trust:
    """What the client may have added to the times of a run, over its sessions; None: no session recorded it.

    Parameters
    ----------
    loop_lag_p99_ms : float or None
        What the client may have added to a time, in the worst session.
    client_bound : bool or None
        More than a twentieth of the median TTFT or latency may be due to the client: see ``client_bound``. None: it is
        not known for every session, and no known session is client-bound.
    gc_pauses : int or None
        Sum over sessions.
    gc_pause_max_ms : float or None
        The longest.
    cpu_share : float or None
        Of the busiest session; 1 is one core.
    connections_opened : int or None
        Sum over sessions.
    attempts, attempts_on_new_connections : int
        Number of requests, and of those that opened a connection.
    reads, reads_with_several_events : int or None
        Number of reads with tokens, and of those with several token-bearing events; sums over sessions.
    client_bound_metrics : list of str or None
        Those of ``ttft``, ``latency`` and ``tpot`` of which more than a twentieth may be due to the client. None: the
        lag is not known.
    medians_ms : dict
        By metric, what the lag is compared with: the medians of TTFT and latency; for TPOT latency minus TTFT, since
        the lag is spread over all tokens of an answer.
    loop_stall_max_ms : float or None
        The longest time for which the event loop was blocked.
    stalled_share : float or None
        Share of turns that were in progress while it was blocked for 20 ms or more. Sessions on a cluster do not count.
    sessions_not_known : int
        Sessions with turns but without this record: they were killed or are still running.
    function_calls : int or None
        How often the user's own functions were called for the model; sum over sessions.
    function_wait_max_ms : float or None
        The longest time for which a call waited for one of the threads that run functions.
    streams, streams_at_once, streams_first_read_late : int
        Answers that were streamed; those that arrived nearly at once, so that their first-token time is that of the
        whole answer; and those whose first read had several tokens, so that it may be late: ``client/buffering``.
    workers, workers_lost, turns_sent_again : int or None
        Of sessions on a cluster: the most workers that sent requests in one of them; how many were lost; and turns
        that a lost worker had and others sent again, so that the endpoint may have seen them twice.
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
    client_bound_metrics: list[str] | None
    medians_ms: dict[str, float | None]
    loop_stall_max_ms: float | None
    stalled_share: float | None
    sessions_not_known: int
    function_calls: int | None
    function_wait_max_ms: float | None
    streams: int
    streams_at_once: int
    streams_first_read_late: int
    workers: int | None = None
    workers_lost: int | None = None
    turns_sent_again: int | None = None


def trust(connection: sqlite3.Connection, streams: Sequence[float], medians: dict[str, float | None]) -> Trust:
    """The trust record of a run from its sessions, its ``STREAMS`` and its ``medians_ms``."""
    rows = connection.execute("SELECT id, trust FROM session WHERE trust IS NOT NULL").fetchall()
    by_session = {session: orjson.loads(text) for session, text in rows}

    def known(name: str) -> list[Any]:
        return [record[name] for record in by_session.values() if record.get(name) is not None]

    def worst(name: str) -> float | None:
        return max(map(float, known(name)), default=None)

    def total(name: str) -> int | None:
        return sum(known(name)) if known(name) else None

    function_calls, clusters = known("function_calls"), known("cluster")
    lag = client_lag(connection)
    attempts, opened = connection.execute(
        "SELECT count(*), coalesce(sum(connection_opened), 0) FROM attempt"
    ).fetchone()
    return Trust(
        loop_lag_p99_ms=lag.lag_ms,
        client_bound=lag.client_bound(medians),
        gc_pauses=total("gc_pauses"),
        gc_pause_max_ms=worst("gc_pause_max_ms"),
        cpu_share=worst("cpu_share"),
        connections_opened=total("connections_opened"),
        attempts=attempts,
        attempts_on_new_connections=opened,
        reads=total("reads"),
        reads_with_several_events=total("reads_with_several_events"),
        client_bound_metrics=None if lag.lag_ms is None else lag.client_bound_metrics(medians),
        medians_ms=medians,
        loop_stall_max_ms=worst("loop_stall_max_ms"),
        stalled_share=_stalled_share(connection, by_session),
        sessions_not_known=lag.sessions_not_known,
        function_calls=sum(calls["calls"] for calls in function_calls) if function_calls else None,
        workers=max((cluster["workers"] for cluster in clusters), default=None),
        workers_lost=sum(cluster["workers_lost"] for cluster in clusters) if clusters else None,
        turns_sent_again=sum(cluster["turns_sent_again"] for cluster in clusters) if clusters else None,
        function_wait_max_ms=max((calls["wait_ms"]["max"] for calls in function_calls), default=None),
        **dict(zip(("streams", "streams_at_once", "streams_first_read_late"), map(int, streams), strict=True)),
    )


@dataclass(frozen=True, slots=True)
class ClientLag:
    """What the client may have added to the times of a run.

    Parameters
    ----------
    lag_ms : float or None
        99th percentile of the event loop's lag, of the worst session; None: no session recorded it.
    sessions_not_known : int
        See ``Trust.sessions_not_known``.
    """

    lag_ms: float | None
    sessions_not_known: int

    def client_bound_metrics(self, medians: Mapping[str, float | None]) -> list[str]:
        """The metrics with these medians of which more than a twentieth may be due to the client."""
        return [metric for metric, median in medians.items() if client_bound(self.lag_ms, median)]

    def client_bound(self, medians: Mapping[str, float | None]) -> bool | None:
        """Whether TTFT or latency is among these metrics; None: not known."""
        bound = [client_bound(self.lag_ms, medians[metric]) for metric in ("ttft", "latency")]
        if True in bound:
            return True
        return None if self.sessions_not_known or False not in bound else False


def client_lag(connection: sqlite3.Connection) -> ClientLag:
    """The lag of the sessions of a run."""
    (lag,) = connection.execute("SELECT max(json_extract(trust, '$.loop_lag_p99_ms')) FROM session").fetchone()
    return ClientLag(lag, connection.execute(_SESSIONS_NOT_KNOWN).fetchone()[0])


def streams(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """``Trust.streams``, ``streams_at_once`` and ``streams_first_read_late``."""
    count, at_once, first_read_late = map(int, connection.execute(f"SELECT {STREAMS} FROM turn").fetchone())  # noqa: S608 - our own
    return count, at_once, first_read_late


def medians_ms(ttft: float | None, latency: float | None, tpot: float | None = None) -> dict[str, float | None]:
    """What the lag is compared with, by metric: see ``Trust.medians_ms``."""
    streaming = None if ttft is None or latency is None or tpot is None else latency - ttft
    return dict(zip(METRICS, (ttft, latency, streaming or None), strict=True))


def _stalled_share(connection: sqlite3.Connection, by_session: Mapping[int, Mapping[str, Any]]) -> float | None:
    """Share of turns in progress during a stall, over sessions that recorded stalls; None: no session did."""
    stalls = {session: record["stalls"] for session, record in by_session.items() if record.get("stalls") is not None}
    if not any(stalls.values()):
        return 0.0 if stalls else None
    stalled = turns = 0
    for session, sent, end in query_arrays.groups(connection.execute(_STALLABLE), ("i8", "i8", "i8")):
        for number in stalls.keys() & np.unique(session).tolist():
            own = session == number
            stalled += _overlapping_stalls(sent[own], end[own], stalls[number])
            turns += int(own.sum())
    return stalled / turns if turns else None


def _overlapping_stalls(sent: Any, end: Any, stalls: Sequence[tuple[int, int]]) -> int:
    """How many of these time spans overlap a stall; stalls are in order and do not overlap."""
    if not stalls:
        return 0
    begins, ends = np.array(stalls, dtype=np.int64).T
    following = np.minimum(np.searchsorted(ends, sent, side="right"), len(ends) - 1)
    return int(((begins[following] < end) & (ends[following] > sent)).sum())


def wall_s(connection: sqlite3.Connection) -> float | None:
    """Sum over sessions of end − start, in s; a session without an end counts up to its last turn. None: none did."""
    rows = connection.execute(
        "SELECT coalesce(ended_mono_ns, (SELECT max(end_ns) FROM turn WHERE session = session.id)) - started_mono_ns "
        "FROM session"
    )
    total = sum(nanoseconds for (nanoseconds,) in rows if nanoseconds is not None)
    return total / 1e9 if total > 0 else None


def realised_rate(connection: sqlite3.Connection) -> float | None:
    """The rate of conversations that were actually due, per second, in open loop; None: fewer than two were due.

    It is taken from the first to the last of each session, over all sessions: random gaps give another rate than the
    requested one.
    """
    rows = connection.execute(
        "SELECT count(*) - 1, max(due) - min(due) FROM (SELECT session, min(due_ns) AS due FROM attempt "
        "WHERE turn = 1 GROUP BY session, conversation, repeat) GROUP BY session"
    ).fetchall()
    gaps, span = sum(row[0] for row in rows), sum(row[1] for row in rows)
    return gaps / span * 1e9 if span else None


def client_bound(lag_ms: float | None, time_ms: float | None) -> bool | None:
    """Whether more than a twentieth of a time may be due to the client rather than the endpoint.

    Parameters
    ----------
    lag_ms : float or None
        What the client may have added: the 99th percentile of its event loop's lag. None: not measured.
    time_ms : float or None
        The time it is compared with, such as the median TTFT.

    Returns
    -------
    bool or None
        None: one of them is not known.
    """
    if lag_ms is None or time_ms is None:
        return None
    return lag_ms > CLIENT_BOUND_SHARE * time_ms
