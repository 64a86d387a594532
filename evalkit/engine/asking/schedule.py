"""The conversations still to send, read as they are needed: all of a dataset, or what a run file lacks."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import orjson

from evalkit.conversation import Conversation
from evalkit.datasets import reader as datasets_reader
from evalkit.engine.asking.dataset_fingerprint import CheckedDataset, Fingerprint
from evalkit.record import TurnRecord
from evalkit.runfile import store
from evalkit.settings import Settings

_UNFINISHED = """
    SELECT position FROM conversation
    WHERE (SELECT count(*) FROM turn WHERE conversation = position AND status = 'answered') < turns * ?
    ORDER BY position"""
_GAPS = """
    SELECT before + 1, position FROM (SELECT position, lag(position, 1, -1) OVER (ORDER BY position) AS before
    FROM conversation) WHERE position > before + 1"""

_SKIPPED_AT_A_TIME = 100  # rows parsed and skipped before others may run: under a millisecond


class ScheduledConversation(NamedTuple):
    """One repeat of a conversation to send: its position in the dataset, and its turns that are answered already."""

    position: int
    conversation: Conversation
    repeat: int
    answered: Mapping[int, TurnRecord] | None


@dataclass(frozen=True, slots=True)
class Schedule:
    """The conversations still to send.

    A new run goes through all conversations once, then through all of them again for each further repeat. In a resumed
    run, conversations started in an earlier session come first, read from the run file, which has their rows; those not
    started follow, read from the dataset. Neither is ever held in memory as a whole.

    Parameters
    ----------
    data : Path
        The dataset file.
    settings : Settings
    runfile : Path or None
        The run to resume; None: all of the dataset.
    fingerprint : mapping
        What the run file stores about the dataset.
    """

    data: Path
    settings: Settings
    runfile: Path | None = None
    fingerprint: Fingerprint = field(default_factory=dict)

    def __iter__(self) -> Iterator[ScheduledConversation | None]:
        """Yield what to send; None: finished rows were skipped, let other tasks run."""
        dataset = CheckedDataset(self.data, self.settings, self.fingerprint)
        if self.runfile is None:
            for repeat in range(1, self.settings.repeats + 1):
                for position, conversation in dataset.read(0):
                    yield ScheduledConversation(position, conversation, repeat, None)
            return
        with closing(store.open_to_read(self.runfile)) as reader:
            unfinished = array("q", (row[0] for row in reader.execute(_UNFINISHED, (self.settings.repeats,))))
            missing = self._not_started(dataset, *_started_positions(reader))
            # skip to the first missing row of the file now, and not while answers are arriving
            first = next(missing, None)
            yield from self._started(reader, unfinished)
        if first is not None:
            yield first
            yield from missing

    def _not_started(
        self, dataset: CheckedDataset, end: int, gaps: list[tuple[int, int]]
    ) -> Iterator[ScheduledConversation | None]:
        skipped = 0
        low, high = gaps.pop(0) if gaps else (end, end)
        for position, conversation in dataset.read(low):
            while high <= position < end:
                low, high = gaps.pop(0) if gaps else (end, end)
            if position >= end or low <= position:
                for repeat in range(1, self.settings.repeats + 1):
                    yield ScheduledConversation(position, conversation, repeat, None)
            else:
                skipped += 1
                if skipped % _SKIPPED_AT_A_TIME == 0:
                    yield None

    def _started(self, reader: sqlite3.Connection, positions: array[int]) -> Iterator[ScheduledConversation]:
        # one query per position: an open cursor would keep SQLite from checkpointing the write-ahead log
        for position in positions:
            row = reader.execute("SELECT row FROM conversation WHERE position = ?", (position,)).fetchone()[0]
            conversation = datasets_reader.parse_row(orjson.loads(row))
            for repeat in range(1, self.settings.repeats + 1):
                answered = store.answered_turns(reader, conversation, position, repeat)
                if len(answered) < len(conversation.turns):
                    yield ScheduledConversation(position, conversation, repeat, answered)


def _started_positions(reader: sqlite3.Connection) -> tuple[int, list[tuple[int, int]]]:
    """The position after the last conversation that was started, and the ranges before it that were not."""
    count, last = reader.execute("SELECT count(*), max(position) FROM conversation").fetchone()
    if last is None:
        return 0, []
    gaps = [] if count == last + 1 else reader.execute(_GAPS).fetchall()
    return last + 1, gaps
