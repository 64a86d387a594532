"""When ``evalkit resume`` can go on with a run, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evalkit.run import Run

# what is mended by another model, address or parameter, which makes another run, unless it is mended at the endpoint
_BY_SETTINGS = frozenset({"not_found", "bad_request"})


def can_resume(path: Path) -> bool:
    """Whether the run file is there and sound, and its dataset is what it was."""
    from evalkit.errors import EvalkitError
    from evalkit.run import Run

    try:
        dataset = Run(path).info["dataset"]
        now = Path(dataset["path"]).stat()
    except (EvalkitError, OSError):
        return False
    return dataset.get("size") in (None, now.st_size) and dataset.get("changed_ns") in (None, now.st_mtime_ns)


def command(path: Path) -> str:
    """The command that goes on, with what has to be named."""
    from evalkit.runfile import resume_command

    return resume_command.command(path)


def answered(path: Path) -> int:
    """How many turns are answered."""
    from evalkit.analysis.measures import opened

    with opened(path) as connection:
        return int(connection.execute("SELECT count(*) FROM turn WHERE status = 'answered'").fetchone()[0])


def after_stop(path: Path) -> str:
    """What to say of a run that was stopped."""
    from evalkit.errors import EvalkitError

    try:
        kept = f"What was answered is in {path}" if answered(path) else "Nothing was answered yet"
    except EvalkitError:  # it was stopped while the file was made
        return "stopped"
    return f"stopped. {kept}" + (f"; go on with: {command(path)}" if can_resume(path) else "")


def after_endpoint_error(path: Path) -> str:
    """What to say of a run whose endpoint cannot be used, on a line of its own; "": it cannot be gone on with."""
    from evalkit.run import Run

    if not can_resume(path):
        return ""
    if {kind for kind, *_ in Run(path).failures()} <= _BY_SETTINGS and not answered(path):
        return (
            f"\nIf that is mended at the endpoint, go on with: {command(path)}\n"
            "With another model, address or parameters start a new run."
        )
    return f"\nWhen that is mended, go on with: {command(path)}"


def after_budget(run: Run) -> str:
    """What to say of a run whose budget is used up; "": nothing is missing."""
    missing = run.planned is None or answered(run.path) < run.planned
    return f" What is missing is asked by: {command(run.path)}" if missing and can_resume(run.path) else ""
