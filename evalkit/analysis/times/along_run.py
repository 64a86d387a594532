"""A run over time: when its turns ended, and which failed, without the gaps between its sessions."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import numpy as np

from evalkit.stats.arrays import Floats, Whole

NS_PER_S = 1e9
BINS = 60
_WIDTHS_S = (1, 2, 5)  # and 10, 100, … times these
_SESSIONS = """
    SELECT id, started_wall_ns, started_mono_ns,
      coalesce(ended_mono_ns, (SELECT max(end_ns) FROM turn WHERE session = session.id))
    FROM session ORDER BY id"""
_ENDED = """
    SELECT CAST((end_ns - ?) / ? AS INTEGER), error_kind NOT NULL, count(*) FROM turn
    WHERE session = ? AND end_ns NOT NULL GROUP BY 1, 2"""


@dataclass(frozen=True, slots=True)
class SessionTimeline:
    """The turns of one session over time.

    Parameters
    ----------
    edges : ndarray of float, shape (m + 1,)
        Edges of the time bins, in s since the start of the run, without gaps between sessions. The last bin may be
        shorter.
    answered, failed : ndarray of int, shape (m,)
        Turns that ended in each bin.
    paused_s : float or None
        Time by the wall clock since the previous session ended; None: it is the first session.
    """

    edges: Floats
    answered: Whole
    failed: Whole
    paused_s: float | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """The sessions of a run one after another.

    Parameters
    ----------
    stretches : tuple of SessionTimeline
        Sessions in which a turn ended.
    width_s : float
        Width of a bin.
    untimed : int
        Finished turns without an end time, because they were never sent.
    """

    stretches: tuple[SessionTimeline, ...]
    width_s: float
    untimed: int


def timeline(connection: sqlite3.Connection) -> Timeline:
    """Count the turns of a run by their end time, in at most 60 bins and one more per session."""
    sessions = [row for row in connection.execute(_SESSIONS).fetchall() if row[3] is not None and row[3] > row[2]]
    (untimed,) = connection.execute("SELECT count(*) FROM turn WHERE end_ns IS NULL").fetchone()
    width_s = bin_width_s(sum(end - begin for _, _, begin, end in sessions) / NS_PER_S)
    stretches: list[SessionTimeline] = []
    start_s, previous_end_ns = 0.0, None
    for number, wall_ns, begin, end in sessions:
        seconds = (end - begin) / NS_PER_S
        count = max(int(np.ceil(seconds / width_s - 1e-9)), 1)
        counts = np.zeros((2, count), dtype=np.int64)
        for index, failed, turns in connection.execute(_ENDED, (begin, width_s * NS_PER_S, number)):
            counts[failed, min(max(index, 0), count - 1)] += turns
        if counts.any():
            edges = start_s + np.append(np.arange(count) * width_s, seconds)
            paused_s = None if previous_end_ns is None else max(wall_ns - previous_end_ns, 0) / NS_PER_S
            stretches.append(SessionTimeline(edges, counts[0], counts[1], paused_s))
            start_s += seconds
            previous_end_ns = wall_ns + end - begin
    return Timeline(tuple(stretches), width_s, untimed)


def bin_width_s(seconds: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, … (or 0.5, 0.2, …) seconds that divides the time into at most 60 bins."""
    if seconds <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(seconds / BINS))
    return float(next(width * power for width in (*_WIDTHS_S, 10) if seconds <= BINS * width * power * (1 + 1e-9)))
