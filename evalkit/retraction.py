"""Before a run is gone on with: answers of its earlier sessions that may be half are taken back."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from evalkit import unconfirmed
from evalkit.settings import Settings
from evalkit.store import Key, RunFile

_ANSWERS = f"""
    SELECT session, conversation, repeat, turn, sent_ns, end_ns FROM turn
    WHERE status = 'answered' AND streamed AND instr(flags, '{unconfirmed.UNCONFIRMED}')
      AND sent_ns NOT NULL AND end_ns NOT NULL"""  # noqa: S608 - SQL of our own
_FAILURES = f"""
    SELECT session, end_ns FROM attempt
    WHERE error_kind IN ({", ".join("?" * len(unconfirmed.KINDS))}) AND end_ns NOT NULL
      AND coalesce(error_code, '') NOT IN ({", ".join("?" * len(unconfirmed.CHOSEN))})
      AND NOT instr(coalesce(flags, ''), '{unconfirmed.IN_DOUBT}')
      AND NOT instr(error_message, '{unconfirmed.LOST_ON_REUSE}') ORDER BY end_ns"""  # noqa: S608 - SQL of our own
# the attempt of each unconfirmed answer, and how often one of its turn was in doubt before
_ATTEMPTS = f"""
    SELECT a.conversation, a.repeat, a.turn, max(iif(a.sent_ns = t.sent_ns, a.id, NULL)),
      total(instr(a.flags, '{unconfirmed.IN_DOUBT}') > 0)
    FROM attempt a JOIN turn t USING (conversation, repeat, turn)
    WHERE instr(a.flags, '{unconfirmed.UNCONFIRMED}') GROUP BY 1, 2, 3"""  # noqa: S608 - SQL of our own


def take_back(runfile: RunFile, settings: Settings) -> int:
    """Take back the answers in doubt, by ``unconfirmed.in_doubt``; give their number.

    Of a turn at most as many as it may be retried, and one.
    """
    doubted = _in_doubt(runfile.connection)
    if not doubted:
        return 0
    most, last = max(settings.retries, 1), dict[Key, int]()
    for *key, number, before in runfile.connection.execute(_ATTEMPTS):
        if (turn := (key[0], key[1], key[2])) in doubted:
            last[turn] = number
            if before >= most:
                doubted.remove(turn)
    own = settings.history == "own"
    for (position, repeat), turns in _by_conversation(doubted).items():
        runfile.retract(position, repeat, [min(turns)] if own else turns, later=own, attempts=last)
    return len(doubted)


def _in_doubt(connection: sqlite3.Connection) -> set[Key]:
    answers = np.array(connection.execute(_ANSWERS).fetchall(), dtype=np.int64).reshape(-1, 6)
    if not len(answers):
        return set()
    kinds = (*unconfirmed.KINDS, *unconfirmed.CHOSEN)
    failures = np.array(connection.execute(_FAILURES, kinds).fetchall(), dtype=np.int64).reshape(-1, 2)
    found = set[Key]()
    for session in np.unique(failures[:, 0]):
        own = answers[answers[:, 0] == session]
        failed = failures[failures[:, 0] == session][:, 1]
        for _, position, repeat, turn, *_ in own[unconfirmed.in_doubt(own[:, 4], own[:, 5], failed)].tolist():
            found.add((position, repeat, turn))
    return found


def _by_conversation(keys: set[Key]) -> Mapping[tuple[int, int], list[int]]:
    found = defaultdict[tuple[int, int], list[int]](list)
    for position, repeat, turn in sorted(keys):
        found[position, repeat].append(turn)
    return found
