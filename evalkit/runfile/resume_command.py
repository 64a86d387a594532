"""The command line that resumes a run, as messages show it."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path

from evalkit.endpoint import Endpoint
from evalkit.errors import InputError
from evalkit.runfile.reader import open_to_read, run_info
from evalkit.runfile.trusted_endpoint import naming_flags, stored_endpoint, trusted


def command(path: Path | str) -> str:
    """The command that resumes a run, for a POSIX shell; with address and key variable where they must be named."""
    words = ["evalkit", "resume", str(path)]
    with contextlib.suppress(InputError, OSError), contextlib.closing(open_to_read(path)) as connection:
        stored = stored_endpoint(path, run_info(connection)["endpoint"])
        words += _flags(path, stored)
    return shlex.join(words)


def _flags(path: Path | str, stored: Endpoint) -> list[str]:
    if stored.source == "embedded":
        return []
    try:
        trusted(path, stored)
    except InputError:
        return naming_flags(stored)
    return []
