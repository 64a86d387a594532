"""When the turns of a run were sent and answered, as times of the wall clock."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from evalkit.runfile.transcripts import Transcript, transcripts

_TIMES = """
    SELECT t.sent_ns + s.started_wall_ns - s.started_mono_ns, t.end_ns + s.started_wall_ns - s.started_mono_ns,
      t.streamed
    FROM turn t LEFT JOIN session s ON s.id = t.session
    ORDER BY t.conversation, t.repeat, t.turn"""


class TurnTimes(NamedTuple):
    """When the last request of a turn was sent, and when its answer ended.

    Parameters
    ----------
    start_ns, end_ns : int or None
        Nanoseconds since 1970. None: nothing was sent, or the run has no times.
    streamed : bool
    """

    start_ns: int | None
    end_ns: int | None
    streamed: bool


def timed_transcripts(connection: sqlite3.Connection) -> Iterator[tuple[Transcript, list[TurnTimes]]]:
    """Every transcript with the times of its turns; one at a time is in memory."""
    times = connection.execute(_TIMES)  # in the same order
    for transcript in transcripts(connection):
        rows = islice(times, len(transcript.turns))
        yield transcript, [TurnTimes(start, end, bool(streamed)) for start, end, streamed in rows]
