"""What several asking processes report about themselves, as one record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evalkit.engine.asking.loop_lag import MOST_STALLS

_SUMS = ("gc_pauses", "connections_opened", "reads", "reads_with_several_events")
_WORST = ("loop_lag_p50_ms", "loop_lag_p99_ms", "gc_pause_max_ms", "cpu_share", "loop_stall_max_ms")


def merged(records: Sequence[Mapping[str, Any]], offsets_ns: Iterable[int]) -> dict[str, Any]:
    """One record for a session: sums of counts, the worst worker's lags, the longest stalls on one clock.

    Parameters
    ----------
    records : sequence of mapping
        ``End.trust`` of each.
    offsets_ns : iterable of int
        Added to the stamps of each.
    """
    found: dict[str, Any] = {}
    for names, join in ((_SUMS, sum), (_WORST, max)):
        for name in names:
            values = [record[name] for record in records if record.get(name) is not None]
            found[name] = join(values) if values else None
    stalls = [
        [start + offset, end + offset]
        for record, offset in zip(records, offsets_ns, strict=True)
        for start, end in record.get("stalls", ())
    ]
    longest = sorted(stalls, key=lambda stall: stall[0] - stall[1])[:MOST_STALLS]
    return {**found, "stalls": sorted(longest)}
