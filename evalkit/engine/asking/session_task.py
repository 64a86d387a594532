"""What the asking process needs to run a session; the parent sends it as the first message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evalkit.endpoint import Endpoint
from evalkit.engine.asking.dataset_fingerprint import Fingerprint
from evalkit.settings import Settings

GRACE_S = 5.0  # time that requests in flight have to end after a stop


@dataclass(frozen=True, slots=True)
class SessionTask:
    """What the asking process needs to run a session.

    Parameters
    ----------
    endpoint : Endpoint
    settings : Settings
    data : Path or None
        None: conversations arrive as messages.
    fingerprint : Fingerprint
        The dataset as it was when it was checked: no other conversation is sent.
    runfile : Path or None
        None: it is on another machine, so there is no spool next to it.
    resumed : bool
        Send only what the run file lacks.
    has_answers : bool
        The run file has answers of an earlier session.
    functions : tuple of str
        Names of the functions that the parent calls for the model.
    scores_all : bool
        The run's scorer also scores turns without a target.
    wait_ready : float or None
        How long to wait, in seconds, for an endpoint that is still loading its model.
    token_limit : int or None
        Lower limits of dataset rows are raised to this one.
    no_usage : bool
        Token counts of streams are never requested: the endpoint is known to refuse ``stream_options``.
    clock_offset_ns : int
        Added to stamps of this machine's clock, it makes them stamps of the clock of the machine with the run file.
    asked_from : mapping or None
        Stored with every attempt, as a part of its provenance.
    """

    endpoint: Endpoint
    settings: Settings
    data: Path | None
    fingerprint: Fingerprint
    runfile: Path | None
    resumed: bool = False
    has_answers: bool = False
    functions: tuple[str, ...] = ()
    scores_all: bool = False
    wait_ready: float | None = None
    token_limit: int | None = None
    no_usage: bool = False
    clock_offset_ns: int = 0
    asked_from: Mapping[str, str] | None = None
