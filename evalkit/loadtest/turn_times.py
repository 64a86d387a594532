"""Every turn of a step with its place in time: when it was due, sent and over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.runfile import store

if TYPE_CHECKING:
    import pandas as pd

_TURNS = """
    SELECT c.id AS conversation, t.repeat, t.turn, a.due_ns AS due, t.sent_ns AS sent, t.end_ns AS "end",
      t.ttft_ns AS ttft, t.latency_ns AS latency, t.schedule_latency_ns AS schedule_latency, t.output_tokens,
      t.error_kind
    FROM turn t JOIN conversation c ON c.position = t.conversation
      LEFT JOIN (SELECT conversation, repeat, turn, min(due_ns) AS due_ns FROM attempt GROUP BY 1, 2, 3) a
        USING (conversation, repeat, turn)
    ORDER BY a.due_ns, t.conversation, t.repeat, t.turn"""
_SECONDS = ("due", "sent", "end")
_MS = ("ttft", "latency", "schedule_latency")


def turn_times(path: Path) -> pd.DataFrame:
    """One row per turn of a run, in the order in which they were due; the columns are those of ``Sweep.turns``.

    Raises
    ------
    RunFileError
        The file is not a readable run file.
    """
    import pandas as pd

    with store.reading(path) as connection:
        found = connection.execute(_TURNS)
        frame = pd.DataFrame(found.fetchall(), columns=[name for name, *_ in found.description])
    numbers = [*_SECONDS, *_MS, "output_tokens"]
    frame = frame.astype(dict.fromkeys(numbers, "float64"))
    start = frame["due"].min()
    for name in _SECONDS:
        frame[name] = (frame[name] - start) / 1e9
    frame[list(_MS)] /= 1e6
    return frame.rename(columns={name: f"{name}_s" for name in _SECONDS} | {name: f"{name}_ms" for name in _MS})
