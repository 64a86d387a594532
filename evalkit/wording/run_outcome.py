"""How a run ended, in a few words."""

from __future__ import annotations

_ENDS = {
    "done": "done",
    "stopped": "stopped",
    "unusable": "gave up on the endpoint",
    "failed": "ended by an error",
    "max_time_s": "time limit reached",
    "max_tokens_total": "token limit reached",
    "max_cost": "cost limit reached",
    "until_ci": "accuracy known",
}


def run_outcome(outcome: str | None, *, turns: int, answered: int, planned: int | None) -> str:
    """Say how the last session of a run ended, which turns are missing, and how many have no answer.

    Parameters
    ----------
    outcome : str or None
        A ``SessionOutcome``; None: the session has no end: it is in progress, or was killed.
    turns, answered : int
        Turns that have ended, and those with an answer.
    planned : int or None
        Turns of the complete run; None: not known.
    """
    parts = ["not ended" if outcome is None else _ENDS.get(outcome, outcome)]
    if planned is not None and turns < planned and outcome != "until_ci":
        parts.append(f"{turns:,} of {planned:,} turns")
    if answered < turns:
        parts.append(f"{turns - answered:,} unanswered")
    return ", ".join(parts)
