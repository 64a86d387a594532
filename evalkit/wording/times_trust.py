"""Whether the times of a run are the endpoint's own, in plain sentences for readers who did not make the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evalkit.wording import run_results
from evalkit.wording.numbers import counted


def times_trust(trust: Mapping[str, Any], slots: int | str) -> Iterator[tuple[str, bool]]:
    """Yield sentences that begin in lower case and have no full stop, each with whether it is a warning.

    Parameters
    ----------
    trust : mapping
        ``trust`` of ``--json``.
    slots : int or str
        The concurrency of the run.
    """
    lag, medians, bound = trust["loop_lag_p99_ms"], trust["medians_ms"], trust["client_bound_metrics"]
    unknown = trust["sessions_not_known"]
    late = run_results.first_token_warnings(
        trust["streams"], trust["streams_at_once"], trust["streams_first_read_late"]
    )
    stalls = run_results.stalls(trust)
    stalled = bool(stalls) and trust["stalled_share"] > run_results.NOTABLE_SHARE
    if lag is not None and any(medians.values()):
        shown = bound or ["ttft" if medians["ttft"] is not None else "latency"]
        added = run_results.delay_added_by_client(lag, medians, shown)
        if bound:
            yield f"the times may be this client's own, not the endpoint's: it may have added {added}", True
        else:
            but = ", with the exceptions below" if late or stalled else ""
            yield f"the times are the endpoint's own{but}: this client may have added {added}", False
    elif not unknown:
        yield "whether this client added to the times was not measured: the run is too short", False
    if unknown:
        which = "which was killed or is" if unknown == 1 else "which were killed or are"
        sessions = f"{counted(unknown, 'session')}, {which} still running"
        yield f"whether this client added to the times is not known for {sessions}", False
    yield from ((line, True) for line in late)
    yield from ((line, stalled) for line in stalls)
    yield from ((line, False) for line in run_results.notable(trust, slots))
