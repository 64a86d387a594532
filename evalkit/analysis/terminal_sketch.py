"""The data of the small charts in a terminal: latency and failures over time, histograms of times, missing values."""

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
class LogHistogram:
    """Histogram of times of answered turns, with bins of equal width on a log scale.

    Parameters
    ----------
    low, high : float
        The smallest and the largest time, in ms.
    counts : ndarray of int, shape (parts,)
    """

    low: float
    high: float
    counts: Whole


@dataclass(frozen=True, slots=True)
class Sketch:
    """The data of a few small charts of a run.

    Parameters
    ----------
    part_s : float or None
        Length of one part of the run's time, without the gaps between sessions. None: no time has passed yet.
    latency_ms : ndarray of float, shape (parts,)
        Median latency of the answered turns that ended in each part; NaN: there are none.
    failed : ndarray of int, shape (parts,)
        Turns that failed in each part.
    ttft, latency : LogHistogram or None
        None: no answered turn has such a time.
    missing : dict
        ``TTFT``, ``latency`` or ``output tokens`` to the number of answered turns without it; TTFT is not missing where
        nothing was streamed.
    """

    part_s: float | None
    latency_ms: Floats
    failed: Whole
    ttft: LogHistogram | None
    latency: LogHistogram | None
    missing: dict[str, int]


def sketch(source: Source, parts: int = PARTS) -> Sketch:
    """Read a run once, for charts with this number of parts.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    """
    with opened(source) as connection:
        streamed = bool(store.run_info(connection)["settings"].get("stream", True))
        sessions = connection.execute(_SESSIONS).fetchall()
        groups = list(query_arrays.groups(connection.execute(_TURNS), _TYPES))
    session, end, ttft, latency, no_tokens, failed = (
        np.concatenate([group[index] for group in groups] or [np.zeros(0, dtype=kind)])
        for index, kind in enumerate(_TYPES)
    )
    since, whole_s = _since_begin(sessions, session, end)
    part_of = _parts(since, whole_s, parts)
    answered = ~failed
    missing = {"latency": np.isnan(latency), "output tokens": no_tokens}
    if streamed:
        missing = {"TTFT": np.isnan(ttft), **missing}
    return Sketch(
        part_s=whole_s / parts if whole_s else None,
        latency_ms=_medians(part_of, np.where(answered, latency, np.nan) / _NS_PER_MS, parts),
        failed=np.bincount(part_of[failed & (part_of >= 0)], minlength=parts),
        ttft=log_histogram(ttft[answered] / _NS_PER_MS, parts),
        latency=log_histogram(latency[answered] / _NS_PER_MS, parts),
        missing={name: int((answered & absent).sum()) for name, absent in missing.items() if (answered & absent).any()},
    )


def log_histogram(values: Floats, parts: int) -> LogHistogram | None:
    """Count times, in ms, in bins of their span, without NaN and infinite times; those of 0 are in the first bin."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    low, high = float(known.min()), float(known.max())
    positive = known[known > 0]
    first = float(positive.min()) if len(positive) else 1.0
    logs = np.log(np.maximum(known, first))
    begin, end = float(logs.min()), float(logs.max())
    part_of = np.zeros(len(known), dtype=np.int64)
    if end > begin:
        part_of = np.minimum(((logs - begin) / (end - begin) * parts).astype(np.int64), parts - 1)
    return LogHistogram(low, high, np.bincount(part_of, minlength=parts))


def _since_begin(sessions: list[tuple[int, int, int | None]], session: Whole, end: Floats) -> tuple[Floats, float]:
    """When each turn ended, in s of the run's time without gaps, NaN where not known; and the length of the run."""
    since, before = np.full(len(end), np.nan), 0.0
    for number, begin, stop in sessions:
        if stop is None or stop <= begin:
            continue
        own = session == number
        since[own] = before + np.clip(end[own] - begin, 0, stop - begin) / _NS_PER_S
        before += (stop - begin) / _NS_PER_S
    return since, before


def _parts(since: Floats, whole_s: float, parts: int) -> Whole:
    """The part of the run in which each turn ended; −1: not known."""
    known = ~np.isnan(since)
    part_of = np.full(len(since), -1, dtype=np.int64)
    if whole_s:
        part_of[known] = np.minimum((since[known] / whole_s * parts).astype(np.int64), parts - 1)
    return part_of


def _medians(part_of: Whole, values: Floats, parts: int) -> Floats:
    medians = np.full(parts, np.nan)
    known = np.isfinite(values) & (part_of >= 0)
    part_of, values = part_of[known], values[known]
    order = np.argsort(part_of, kind="stable")
    begins = np.searchsorted(part_of[order], np.arange(parts + 1))
    for part in range(parts):
        own = values[order[begins[part] : begins[part + 1]]]
        if len(own):
            medians[part] = np.median(own)
    return medians
