"""What of a run has not been run yet, or need not be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evalkit.wording.numbers import counted
from evalkit.wording.run_results import accuracy_goal


def unfinished(result: Mapping[str, Any], total: int | None) -> Iterator[tuple[str, bool]]:
    """Yield what ended the run early and what is missing, each with whether it is a warning.

    Parameters
    ----------
    result : mapping
        The object of ``--json``.
    total : int or None
        Turns of the dataset times repeats; None: not known.
    """
    until, missing = result["until"], 0 if total is None else max(total - result["turns"], 0)
    if until is not None:
        text, warning = accuracy_goal(until)
        yield text + (f"; {counted(missing, 'turn')} need not be run" if missing and until["reached"] else ""), warning
    if missing and (until is None or not until["reached"]):
        verb = "has" if missing == 1 else "have"
        yield f"{counted(missing, 'turn')} {verb} not been run yet: these are the results so far", True
