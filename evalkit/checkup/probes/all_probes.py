"""All probes, in the order in which they are shown."""

from __future__ import annotations

from evalkit.checkup.probes import answers, connection, errors, parameters, streams, tools
from evalkit.checkup.probes.call import Call
from evalkit.checkup.probes.probe import Probe

PROBES: tuple[Probe, ...] = (
    *answers.PROBES, *streams.PROBES, *parameters.PROBES, *tools.PROBES, *errors.PROBES, *connection.PROBES,
)  # fmt: skip


def calls() -> list[Call]:
    """The calls of all probes, each once, after those that it needs."""
    found: dict[Call, None] = {}

    def add(call: Call) -> None:
        for earlier in call.after:
            add(earlier)
        found.setdefault(call)

    for probe in PROBES:
        for call in (*probe.calls, *probe.optional):
            add(call)
    return list(found)
