"""The state of a run in progress, read so seldom that it does not slow down the run."""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from evalkit.analysis.accuracy import by_turn
from evalkit.engine.saving.progress import Progress
from evalkit.errors import RunFileError
from evalkit.runfile import store
from evalkit.wording import numbers, run_results

LATEST = 300  # turns whose latencies are shown
_INTERVAL_S = 0.5
_PAUSE_FACTOR = 20  # after each read of the run file, a pause this many times as long follows
_LATEST = """
    SELECT t.conversation, t.repeat, t.turn, t.latency_ns
    FROM (SELECT conversation, repeat, turn FROM attempt ORDER BY id DESC LIMIT ?) a
      JOIN turn t ON (t.conversation, t.repeat, t.turn) = (a.conversation, a.repeat, a.turn)"""


class LiveState:
    """The state of a run in progress.

    Counts come from its ``Progress``; accuracy and latencies are read from the run file, on the thread of the display.

    Parameters
    ----------
    path : Path
        The run file, which is being written.
    progress : Progress
    """

    def __init__(self, path: Path, progress: Progress) -> None:
        self._path = path
        self._progress = progress
        self._connection: sqlite3.Connection | None = None
        self._next_s = 0.0
        self._state: dict[str, Any] = {"accuracy": None, "latencies": []}

    def close(self) -> None:
        """Close the run file."""
        if self._connection is not None:
            self._connection.close()

    def now(self, outcome: str | None = None) -> dict[str, Any]:
        """Return the state as JSON.

        Parameters
        ----------
        outcome : str, optional
            How the session ended; if given, everything is read again.

        Returns
        -------
        dict
            ``state`` (running, stopping, ended), ``outcome``, ``name``, ``done``, ``total`` (None: unknown), ``errors``
            (kind to count), ``per_s``, ``left_s`` (None: unknown), ``dashboard`` (None: there is none, or it has ended
            with the session), ``accuracy`` (as in ``--json``, over all sessions; None: no scored turn yet) and
            ``latencies``, pairs of turn index and ms of the latest turns, oldest first.
        """
        progress = self._progress
        if outcome is not None or time.monotonic() >= self._next_s:
            self._read_run_file()
        return {
            "state": "ended" if outcome is not None else "stopping" if progress.stopping else "running",
            "outcome": outcome,
            "name": self._path.stem,
            "done": progress.kept + progress.done,
            "total": progress.total,
            "errors": dict(progress.errors_by_kind),
            "per_s": progress.turns_per_s if progress.done else None,
            "left_s": progress.left_s,
            "dashboard": progress.dashboard if outcome is None else None,
            **self._state,
        }

    def _read_run_file(self) -> None:
        began = time.monotonic()
        with suppress(sqlite3.Error, RunFileError):  # a display must not end the run: the last state stays
            self._state = self._latest()
        ended = time.monotonic()
        self._next_s = ended + max(_INTERVAL_S, _PAUSE_FACTOR * (ended - began))

    def _latest(self) -> dict[str, Any]:
        if self._connection is None:
            self._connection = store.open_to_read(self._path)
        accuracy = by_turn.accuracy(self._connection, 0)
        latest = {tuple(key): ns for *key, ns in self._connection.execute(_LATEST, (LATEST,))}
        return {
            "accuracy": accuracy.to_json() if accuracy.mean.n else None,
            "latencies": [[key[2], round(ns / 1e6, 1)] for key, ns in reversed(latest.items()) if ns is not None],
        }


def status_line(state: dict[str, Any]) -> str:
    """Return the state as one line of plain text."""
    total = "?" if state["total"] is None else f"{state['total']:,}"
    kinds = ", ".join(f"{count} {kind}" for kind, count in state["errors"].items())
    parts = [f"{state['name']}: {state['done']:,} of {total} turns", f"{sum(state['errors'].values())} errors"]
    if kinds:
        parts[-1] += f" ({kinds})"
    if state["per_s"] is not None:
        parts.append(f"{numbers.number(state['per_s'])}/s")
    if state["accuracy"] is not None:
        parts.append(f"accuracy so far {run_results.accuracy_with_interval(state['accuracy'])}")
    if state["state"] == "ended":
        parts.append(str(state["outcome"]))
    elif state["state"] == "stopping":
        parts.append("stopping: waiting for answers in flight")
    elif state["left_s"] is not None:
        parts.append(f"{numbers.duration(state['left_s'])} left")
    return " · ".join(parts)
