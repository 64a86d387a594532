"""What a terminal draws of a run: its latency and failures over time, how its times are spread, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evalkit.analysis.measures import Source, opened
from evalkit.runfile import query_arrays, store
from evalkit.stats.arrays import Floats, Whole

PARTS = 40
_NS_PER_MS, _NS_PER_S = 1e6, 1e9
_SESSIONS = """
    SELECT id, started_mono_ns,
      coalesce(ended_mono_ns, (SELECT max(end_ns) FROM turn WHERE session = session.id))
    FROM session ORDER BY id"""
_TURNS = """
    SELECT session, end_ns, ttft_ns, latency_ns, output_tokens IS NULL, error_kind NOT NULL
    FROM turn"""
_TYPES = ("i4", "f8", "f8", "f8", "?", "?")


@dataclass(frozen=True, slots=True)
class Spread:
    """How many times of answered turns lie in which part of their span, whose parts are equal on a log scale.

    Parameters
    ----------
    low, high : float
        The smallest and the largest, in ms.
    counts : ndarray of int, shape (parts,)
    """

    low: float
    high: float
    counts: Whole


@dataclass(frozen=True, slots=True)
class Sketch:
    """A run in a few small charts.

    Parameters
    ----------
    part_s : float or None
        Length of one part of the run's time, gaps between its sessions taken out. None: it has taken no time yet.
    latency_ms : ndarray of float, shape (parts,)
        Median latency of the answered turns that ended in each part; NaN: none did.
    failed : ndarray of int, shape (parts,)
        Turns that failed in each part.
    ttft, latency : Spread or None
        None: no answered turn tells it.
    missing : dict
        What answered turns do not tell, ``TTFT``, ``latency`` or ``output tokens``, to how many of them; TTFT is not
        missing where nothing was streamed.
    """

    part_s: float | None
    latency_ms: Floats
    failed: Whole
    ttft: Spread | None
    latency: Spread | None
    missing: dict[str, int]


def sketch(source: Source, parts: int = PARTS) -> Sketch:
    """Read a run once, for charts of so many parts.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    """
    with opened(source) as connection:
        streamed = bool(store.run_info(connection)["settings"].get("stream", True))
        sessions = connection.execute(_SESSIONS).fetchall()
        groups = list(query_arrays.groups(connection.execute(_TURNS), _TYPES))
    session, end, ttft, latency, untold, failed = (
        np.concatenate([group[place] for group in groups] or [np.zeros(0, dtype=kind)])
        for place, kind in enumerate(_TYPES)
    )
    since, whole_s = _since_begin(sessions, session, end)
    place = _places(since, whole_s, parts)
    good = ~failed
    lost = {"latency": np.isnan(latency), "output tokens": untold}
    if streamed:
        lost = {"TTFT": np.isnan(ttft), **lost}
    return Sketch(
        part_s=whole_s / parts if whole_s else None,
        latency_ms=_medians(place, np.where(good, latency, np.nan) / _NS_PER_MS, parts),
        failed=np.bincount(place[failed & (place >= 0)], minlength=parts),
        ttft=spread(ttft[good] / _NS_PER_MS, parts),
        latency=spread(latency[good] / _NS_PER_MS, parts),
        missing={name: int((good & gone).sum()) for name, gone in lost.items() if (good & gone).any()},
    )


def spread(values: Floats, parts: int) -> Spread | None:
    """Count times, in ms, in parts of their span; NaN and infinite ones are left out, and those of 0 stand first."""
    there = values[np.isfinite(values)]
    if not len(there):
        return None
    low, high = float(there.min()), float(there.max())
    above = there[there > 0]
    first = float(above.min()) if len(above) else 1.0
    logs = np.log(np.maximum(there, first))
    begin, end = float(logs.min()), float(logs.max())
    place = np.zeros(len(there), dtype=np.int64)
    if end > begin:
        place = np.minimum(((logs - begin) / (end - begin) * parts).astype(np.int64), parts - 1)
    return Spread(low, high, np.bincount(place, minlength=parts))


def _since_begin(sessions: list[tuple[int, int, int | None]], session: Whole, end: Floats) -> tuple[Floats, float]:
    """When each turn ended, in s of the run's own time, NaN where that is not known; and how long the run took."""
    since, before = np.full(len(end), np.nan), 0.0
    for number, begin, stop in sessions:
        if stop is None or stop <= begin:
            continue
        own = session == number
        since[own] = before + np.clip(end[own] - begin, 0, stop - begin) / _NS_PER_S
        before += (stop - begin) / _NS_PER_S
    return since, before


def _places(since: Floats, whole_s: float, parts: int) -> Whole:
    """In which part of the run each turn ended; −1: that is not known."""
    there = ~np.isnan(since)
    place = np.full(len(since), -1, dtype=np.int64)
    if whole_s:
        place[there] = np.minimum((since[there] / whole_s * parts).astype(np.int64), parts - 1)
    return place


def _medians(place: Whole, values: Floats, parts: int) -> Floats:
    told = np.full(parts, np.nan)
    known = np.isfinite(values) & (place >= 0)
    place, values = place[known], values[known]
    order = np.argsort(place, kind="stable")
    begins = np.searchsorted(place[order], np.arange(parts + 1))
    for part in range(parts):
        own = values[order[begins[part] : begins[part + 1]]]
        if len(own):
            told[part] = np.median(own)
    return told
