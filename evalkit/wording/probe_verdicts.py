"""The verdicts of probes of an endpoint in words."""

from __future__ import annotations

from collections.abc import Mapping

IN_WORDS = {
    "conforms": "conforms",
    "differs": "differs",
    "unsupported": "unsupported",
    "ignored": "ignored silently",
    "not_judged": "not judged",
    "failed": "call failed",
}


def counts_in_words(counts: Mapping[str, int]) -> str:
    """How many probes have each verdict: "41 conform, 3 differ, …"; those that none has are left out."""
    plural = {**IN_WORDS, "conforms": "conform", "differs": "differ"}
    shown = [
        f"{count} {IN_WORDS[verdict] if count == 1 else plural[verdict]}" for verdict, count in counts.items() if count
    ]
    return f"{sum(counts.values())} probes: {', '.join(shown)}"
