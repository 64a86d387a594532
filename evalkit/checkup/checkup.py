"""The result of checking an endpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from evalkit import __version__
from evalkit.checkup.probes.all_probes import PROBES
from evalkit.checkup.probes.verdicts import VERDICTS
from evalkit.errors import RunFileError
from evalkit.runfile import kept_checkup, reader

FORMAT = "checkup"  # the first key of every object, and its number


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict of one probe.

    Parameters
    ----------
    name, subject, asks, why : str
        As in ``Probe``.
    verdict : str
        ``conforms``, ``differs``, ``unsupported``, ``ignored``, ``not_judged`` or ``failed``.
    came : str
        What came, in words; it may quote the endpoint.
    calls : tuple of str
        The names of the calls that it was judged by.
    """

    name: str
    subject: str
    asks: str
    why: str
    verdict: str
    came: str
    calls: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """One of ``probes`` of ``--json``."""
        return {
            "name": self.name, "subject": self.subject, "verdict": self.verdict, "asks": self.asks,
            "came": self.came, "why": self.why, "calls": list(self.calls),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What one call sent and what came, without secrets.

    Parameters
    ----------
    request : mapping or None
        The body sent; None: it was no JSON object.
    status : int or None
    headers : tuple of (str, str)
    body : str
        The beginning and the end of the body received.
    failure : str
        Why no complete answer came; empty: one came.
    headers_ms, end_ms : float or None
        Times after the request was sent; None: that did not happen.
    """

    EXCERPT: ClassVar[int] = 1_200

    request: Mapping[str, Any] | None
    status: int | None
    headers: tuple[tuple[str, str], ...]
    body: str
    failure: str
    headers_ms: float | None
    end_ms: float | None

    def to_json(self) -> dict[str, Any]:
        """One of ``calls`` of ``--json``."""
        return {
            "request": None if self.request is None else dict(self.request),
            "status": self.status,
            "headers": [list(pair) for pair in self.headers],
            "body": self.body,
            "failure": self.failure or None,
            "headers_ms": self.headers_ms,
            "end_ms": self.end_ms,
        }


@dataclass(frozen=True, slots=True)
class Checkup:
    """What an endpoint really does.

    Parameters
    ----------
    base_url, model : str
    checked_at : str
        ISO time, UTC.
    seconds : float
        How long the check took.
    calls_made : int
        Requests sent, second tries included.
    findings : tuple of Finding
    exchanged : mapping
        Name of a call to what it sent and what came. Empty for one that was kept in a run file.
    tokens : int or None
        Sent and received, as the endpoint counts them; None: it counts none.
    source : str
        ``Endpoint.source``: ``embedded`` for the embedded model, whose address is another one each time.
    evalkit : str
        The version that checked.
    """

    base_url: str
    model: str
    checked_at: str
    seconds: float
    calls_made: int
    findings: tuple[Finding, ...]
    exchanged: Mapping[str, Exchanged]
    tokens: int | None = None
    source: str = "code"
    evalkit: str = __version__

    def __getitem__(self, name: str) -> Finding:
        """The verdict of the probe with this name."""
        return next(finding for finding in self.findings if finding.name == name)

    def _repr_html_(self) -> str | None:
        from evalkit.console import notebook_cell

        return notebook_cell.of_checkup(self)

    @property
    def counts(self) -> dict[str, int]:
        """How many probes have each verdict."""
        counted = Counter(finding.verdict for finding in self.findings)
        return {verdict: counted[verdict] for verdict in VERDICTS}

    def to_json(self) -> dict[str, Any]:
        """The object that ``evalkit check --json`` prints."""
        return {
            FORMAT: 1, "base_url": self.base_url, "model": self.model, "source": self.source,
            "checked_at": self.checked_at, "evalkit": self.evalkit, "seconds": self.seconds,
            "calls_made": self.calls_made, "tokens": self.tokens,
            "counts": self.counts,
            "probes": [finding.to_json() for finding in self.findings],
            "calls": {name: each.to_json() for name, each in self.exchanged.items()},
        }  # fmt: skip


def kept_in(path: Path | str) -> Checkup:
    """The checkup that a run file keeps: what each probe found, without the calls.

    Raises
    ------
    RunFileError
        The file cannot be read as a run file, or the run was given no checkup.
    """
    with reader.reading(path) as connection:
        endpoint, kept = connection.info["endpoint"], kept_checkup.of_settings(connection.info["settings"])
    if kept is None:
        raise RunFileError(f"{path} keeps no checkup: one is kept in runs of 'evalkit run --checkup FILE'")
    found = {probe.name: (probe, kept.probes[probe.name]) for probe in PROBES if probe.name in kept.probes}
    findings = [Finding(name, probe.subject, probe.asks, probe.why, *each) for name, (probe, each) in found.items()]
    return Checkup(
        endpoint["base_url"], endpoint["model"], kept.checked_at, kept.seconds, kept.calls_made, tuple(findings), {},
        kept.tokens, endpoint["source"], kept.evalkit,
    )  # fmt: skip


def side_by_side(checks: Sequence[Checkup]) -> dict[str, Any]:
    """The object of ``--json`` for several endpoints; ``differing``: probes that have not the same verdict for all."""
    first, *others = checks
    names = [each.name for each in first.findings if any(other[each.name].verdict != each.verdict for other in others)]
    return {FORMAT: 1, "checks": [check.to_json() for check in checks], "differing": names}
