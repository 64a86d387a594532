"""All probes, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from evalkit.checkup.probes import answers, connection, errors, parameters, streams, tools
from evalkit.checkup.probes.call import PLAIN, Call
from evalkit.checkup.probes.probe import Probe
from evalkit.errors import SettingsError
from evalkit.inputs.suggestions import nearest_name

PROBES: tuple[Probe, ...] = (
    *answers.PROBES, *streams.PROBES, *parameters.PROBES, *tools.PROBES, *errors.PROBES, *connection.PROBES,
)  # fmt: skip


def named(names: Collection[str] | None) -> tuple[Probe, ...]:
    """The probes with these names; None: all.

    Raises
    ------
    SettingsError
        There is no probe of a name.
    """
    known = [probe.name for probe in PROBES]
    if names is not None and (unknown := next((name for name in names if name not in known), None)) is not None:
        near = nearest_name(unknown, known)
        hint = f"did you mean {near!r}?" if near else f"there are {', '.join(known)}"
        raise SettingsError(f"there is no probe {unknown!r}: {hint}")
    return tuple(probe for probe in PROBES if names is None or probe.name in names)


def calls(probes: Iterable[Probe] = PROBES) -> list[Call]:
    """The calls of probes, each once, after those that it needs; the first is the plainest."""
    found: dict[Call, None] = {PLAIN: None}

    def add(call: Call) -> None:
        for earlier in call.after:
            add(earlier)
        found.setdefault(call)

    for probe in probes:
        for call in (*probe.calls, *probe.optional):
            add(call)
    return list(found)
