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

A failed call is not an exception: it is a ``record.Failure`` stored with its turn. Messages say what happened,
where, what was expected and what to do.
"""

from __future__ import annotations

import sys
from pathlib import Path


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
