"""Every error evalkit raises, as one tree.

    EvalkitError
    ├── InputError            something the user gave cannot be used      exit code 2
    │   ├── DatasetError      a dataset: file, line, field, what to do
    │   ├── SettingsError     a flag, a parameter or an environment variable
    │   ├── RunFileError      a run file: not one, too new, truncated, in use, or of another run
    │   ├── MissingExtra      an optional dependency is not installed
    │   └── WrongPlatform     evalkit does not run on this operating system
    └── EndpointError         the endpoint cannot be used                exit code 3
        └── LocalError        the embedded endpoint: model file or server

A failed call is not an exception: it is a ``Failure``, data that is stored with its turn. Messages say what happened,
where, what was expected and what to do.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

ERROR_KINDS = (
    "auth",
    "not_found",
    "bad_request",
    "rate_limited",
    "server",
    "connection",
    "timeout",
    "truncated",
    "empty",
    "protocol",
    "cancelled",
)
# a retry changes nothing
LASTING_CODES = frozenset(
    {"insufficient_quota", "length", "content_filter", "certificate", "proxy_credentials", "wrong_protocol"}
)
# what a failure that passes waits for
LOADING, AT_CAPACITY, DAILY_QUOTA = "loading", "capacity", "daily_quota"
REFUSED_PARAMETER, REFUSED_MESSAGE_KEY = (
    "parameter",
    "message_key",
)  # what a request was refused for; see client/refusals


class CheckupWarning(UserWarning):
    """What the checkup of an endpoint found touches a run."""


class EvalkitError(Exception):
    """Base of all errors that evalkit raises on purpose; ``exit_code`` is the exit code of the command line."""

    exit_code = 2


class InputError(EvalkitError):
    """Something the user gave cannot be used."""


class DatasetError(InputError):
    """A dataset cannot be read.

    Parameters
    ----------
    problem : str
        What is wrong and what to do about it.
    path : path-like, optional
        The file.
    line : int, optional
        Line number, counted from 1.
    field : str, optional
        The field, as a path into the row: ``turns[1].user``.
    """

    def __init__(
        self,
        problem: str,
        *,
        path: Path | str | None = None,
        line: int | None = None,
        field: str | None = None,
    ) -> None:
        self.problem = problem
        self.path = None if path is None else str(path)
        self.line = line
        self.field = field
        where = self.path or ""
        if line is not None:
            where = f"{where}, line {line}" if where else f"line {line}"
        if field:
            where = f"{where}, field {field}" if where else f"field {field}"
        super().__init__(f"{where}: {problem}" if where else problem)


class SettingsError(InputError):
    """A flag, a parameter or an environment variable cannot be used."""


class RunFileError(InputError):
    """A run file cannot be used for this purpose."""


class MissingExtra(InputError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs an optional part of evalkit. Install it with: pip install 'chat-evalkit[{extra}]', "
            f"or in a working copy: pip install -e '.[{extra}]'"
        )


class WrongPlatform(InputError):
    """Evalkit does not run on this operating system."""


def check_platform() -> None:
    """Raise on platforms where Python cannot lock files the way run files are locked."""
    try:
        import fcntl  # noqa: F401
    except ImportError:
        raise WrongPlatform(
            f"evalkit runs on Linux, macOS and WSL, and this is {sys.platform}: on Windows install and start it in WSL"
        ) from None


class EndpointError(EvalkitError):
    """The endpoint cannot be used."""

    exit_code = 3


class LocalError(EndpointError):
    """The embedded endpoint cannot be used: its model file or its server."""


_BEGIN, _END = "\x02", "\x03"  # mark text from the endpoint until the message is complete


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call failed: data, not an exception.

    Parameters
    ----------
    kind : str
        One of ``ERROR_KINDS``.
    message : str
        One or two plain sentences: what happened, what to try. Never holds the key.
    http_status : int or None
        As received.
    code : str or None
        The endpoint's own error code, as text.
    retry_after_s : float or None
        How long the endpoint asked to wait.
    sent : tuple of (int, int), optional
        Start and end of the parts of the message that the endpoint sent, and which may contain the key; set by
        the function ``sent``. None: unknown, so any part may.
    pending : str or None
        What the endpoint says that it waits for: ``LOADING`` (its model), ``AT_CAPACITY`` (fewer requests at a time) or
        ``DAILY_QUOTA`` (another day). Not stored.
    worded_wait : bool, optional
        The wait was found in words only, which may be about this request alone. Not stored.
    refused : str or None, optional
        What a ``bad_request`` was refused for, where its text says so: one of the causes in ``client/refusals``.
    """

    kind: str
    message: str
    http_status: int | None = None
    code: str | None = None
    retry_after_s: float | None = None
    sent: tuple[tuple[int, int], ...] | None = field(default=None, repr=False, compare=False)
    pending: str | None = field(default=None, repr=False, compare=False)
    refused: str | None = field(default=None, repr=False, compare=False)
    worded_wait: bool = field(default=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if _BEGIN not in self.message:
            return
        message, spans = "", []
        for part in re.split(f"({_BEGIN}[^{_END}]*{_END})", self.message):
            if part.startswith(_BEGIN):
                part = part[1:-1]
                spans.append((len(message), len(message) + len(part)))
            message += part
        object.__setattr__(self, "message", message)
        object.__setattr__(self, "sent", tuple(spans))


def sent(text: str) -> str:
    """Text from the endpoint, free of control characters, marked as such for the message of a ``Failure``."""
    text = text.replace(_BEGIN, "").replace(_END, "")
    return f"{_BEGIN}{text}{_END}" if text else ""


def shown_wait(seconds: float) -> str:
    """A wait in a message for people: ``0.25 s``, ``20 s``, ``12 min``, ``7 hours``, ``3 days``."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 180:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3_600:
        return f"{seconds / 60:.0f} min"
    if seconds < 2 * 86_400:
        return f"{seconds / 3_600:.0f} hours"
    return f"{seconds / 86_400:.0f} days"
