"""What several asking processes report about themselves, as one record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SUMS = ("gc_pauses", "connections_opened", "reads", "reads_with_several_events")
_WORST = ("loop_lag_p50_ms", "loop_lag_p99_ms", "gc_pause_max_ms", "cpu_share", "loop_stall_max_ms")


def merged(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One record for a session: sums of counts, and the worst worker's lags.

    The stalls themselves are left out: one of a worker concerns its own turns only.

    Parameters
    ----------
    records : sequence of mapping
        ``End.trust`` of each.
    """
    found: dict[str, Any] = {}
    for names, join in ((_SUMS, sum), (_WORST, max)):
        for name in names:
            values = [record[name] for record in records if record.get(name) is not None]
            found[name] = join(values) if values else None
    return found
