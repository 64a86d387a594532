"""The command that continues a run that ended early, offered only where ``evalkit resume`` can continue it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evalkit.run import Run

# fixed by another model, address or parameter, which makes another run, unless the endpoint itself is fixed
_FIXED_BY_SETTINGS = frozenset({"not_found", "bad_request"})


def can_resume(path: Path) -> bool:
    """Whether the run file exists and is intact, and its dataset has not changed."""
    from evalkit.errors import EvalkitError
    from evalkit.run import Run

    try:
        dataset = Run(path).info["dataset"]
        now = Path(dataset["path"]).stat()
    except (EvalkitError, OSError):
        return False
    return dataset.get("size") in (None, now.st_size) and dataset.get("changed_ns") in (None, now.st_mtime_ns)


def command(path: Path) -> str:
    """The command that continues a run, with everything that has to be named."""
    from evalkit.runfile import resume_command

    return resume_command.command(path)


def _answered(path: Path) -> int:
    """The number of answered turns."""
    from evalkit.analysis.measures import opened

    with opened(path) as connection:
        return int(connection.execute("SELECT count(*) FROM turn WHERE status = 'answered'").fetchone()[0])


def attempts(path: Path) -> int:
    """The number of requests whose end is stored."""
    from evalkit.analysis.measures import opened

    with opened(path) as connection:
        return int(connection.execute("SELECT count(*) FROM attempt").fetchone()[0])


def after_stop(path: Path) -> str:
    """The message after a run was stopped."""
    from evalkit.errors import EvalkitError

    try:
        stored = f"The answers so far are in {path}" if _answered(path) else "Nothing was answered yet"
    except EvalkitError:  # it was stopped while the file was being made
        return "stopped"
    return f"stopped. {stored}" + (f"; continue with: {command(path)}" if can_resume(path) else "")


def after_endpoint_error(path: Path) -> str:
    """The line after the error of an endpoint that cannot be used; "" when the run cannot be resumed."""
    from evalkit.run import Run

    if not can_resume(path):
        return ""
    if {kind for kind, *_ in Run(path).failures()} <= _FIXED_BY_SETTINGS and not _answered(path):
        return (
            f"\nWhen the endpoint is fixed, continue with: {command(path)}\n"
            "To use another model, address or parameter, start a new run."
        )
    return f"\nWhen that is fixed, continue with: {command(path)}"


def after_budget(run: Run) -> str:
    """The message after a budget is used up; "" when no turn is missing."""
    missing = run.planned is None or _answered(run.path) < run.planned
    return f" Continue with: {command(run.path)}" if missing and can_resume(run.path) else ""
