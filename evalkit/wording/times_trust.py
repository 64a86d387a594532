"""Whether the times of a run are the endpoint's own, in plain sentences for readers who did not make the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evalkit.wording import run_results
from evalkit.wording.numbers import counted


def times_trust(trust: Mapping[str, Any], slots: int | str) -> Iterator[tuple[str, bool]]:
    """Yield sentences, each with whether it is a warning. See ``run_results.trust`` for the parameters."""
    lag, medians, bound = trust["loop_lag_p99_ms"], trust["medians_ms"], trust["client_bound_metrics"]
    unknown = trust["sessions_not_known"]
    if lag is not None and any(medians.values()):
        if bound:
            added = run_results.delay_added_by_client(lag, medians, bound)
            yield f"The times may be this client's own, not the endpoint's: it may have added {added}.", True
        else:
            shown = ["ttft" if medians["ttft"] is not None else "latency"]
            added = run_results.delay_added_by_client(lag, medians, shown)
            yield f"The times are the endpoint's own: this client may have added {added}.", False
    elif not unknown:
        yield "Whether this client added to the times was not measured: the run is too short.", False
    if unknown:
        which = "which was" if unknown == 1 else "which were"
        yield f"For {counted(unknown, 'session')}, {which} killed or still running, this is not known.", False
    late = run_results.first_token_warnings(
        trust["streams"], trust["streams_at_once"], trust["streams_first_read_late"]
    )
    yield from ((run_results.sentence(line), True) for line in late)
    stalled = (trust["stalled_share"] or 0) > run_results.NOTABLE_SHARE
    yield from ((run_results.sentence(line), stalled) for line in run_results.stalls(trust))
    yield from ((run_results.sentence(line), False) for line in run_results.notable(trust, slots))
