"""The versions and the machine of a session, for its run file."""

from __future__ import annotations

import contextlib
import os
import platform
from importlib import metadata
from typing import Any

from evalkit import __version__


def versions_and_machine() -> dict[str, Any]:
    """Versions of what determines the times, and the machine."""
    versions = {"evalkit": __version__, "python": platform.python_version()}
    for package in ("httptools", "orjson", "uvloop", "xllamacpp"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    machine = {"system": platform.system(), "architecture": platform.machine(), "cores": os.cpu_count()}
    return {"versions": versions, "machine": machine}
