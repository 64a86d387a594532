"""What a reader must know about a run that was imported from another tool: it has no times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_FORMS = {
    "answers": "a file of answers",
    "inspect": "a log of inspect",
    "lm-eval": "samples of the lm-evaluation-harness",
    "openai-batch": "an output file of the OpenAI batch API",
}


def imported(about: Mapping[str, Any] | None, quoted: Callable[[str], str] = str) -> str | None:
    """Say that a run was imported, and what it lacks; None: it was not imported.

    Parameters
    ----------
    about : mapping or None
        ``imported`` of a run's settings or of ``--json``.
    quoted : callable
        Makes an untrusted name safe.
    """
    if not about:
        return None
    scores = f"; the scores of the file are those of {quoted(str(about['scorer']))}" if about.get("scorer") else ""
    return f"imported from {quoted(str(about.get('file')))}, {form_of(about)}: no time was measured{scores}"


def form_of(about: Mapping[str, Any]) -> str:
    """The form of the file that a run was imported from; none of its words are from that file."""
    return _FORMS.get(str(about.get("form")), "another tool's file")
