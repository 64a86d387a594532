"""What is still to be asked, read as it is needed: a dataset from its beginning, or what a run file lacks of it."""

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

_STRETCH = 100  # rows parsed and passed over at a time, under a millisecond


class ScheduledConversation(NamedTuple):
    """One conversation to ask, once: its place in the dataset, and its turns that are answered already."""

    position: int
    conversation: Conversation
    repeat: int
    answered: Mapping[int, TurnRecord] | None


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is still to be asked.

    A new run goes round: all conversations once, then all of them again. Of a run that is gone on with, those begun in
    an earlier session come first, from the run file, which keeps their rows; then, from the dataset, those that were
    not. Neither is ever held as a whole.

    Parameters
    ----------
    data : Path
        The dataset file.
    settings : Settings
    runfile : Path or None
        The run to go on with; None: all of the dataset.
    known : mapping
        What the run file keeps of the dataset.
    """

    data: Path
    settings: Settings
    runfile: Path | None = None
    known: Fingerprint = field(default_factory=dict)

    def __iter__(self) -> Iterator[ScheduledConversation | None]:
        """Yield what to ask; None: a stretch that is finished was passed over, let others run."""
        source = CheckedDataset(self.data, self.settings, self.known)
        if self.runfile is None:
            for repeat in range(1, self.settings.repeats + 1):
                for position, conversation in source.read(0):
                    yield ScheduledConversation(position, conversation, repeat, None)
            return
        with closing(store.open_to_read(self.runfile)) as reader:
            unfinished = array("q", (row[0] for row in reader.execute(_UNFINISHED, (self.settings.repeats,))))
            missing = self._not_begun(source, *_begun_positions(reader))
            # a file is passed over to its first missing row now, and not while answers are on their way
            first = next(missing, None)
            yield from self._begun(reader, unfinished)
        if first is not None:
            yield first
            yield from missing

    def _not_begun(
        self, source: CheckedDataset, begun: int, gaps: list[tuple[int, int]]
    ) -> Iterator[ScheduledConversation | None]:
        passed = 0
        low, high = gaps.pop(0) if gaps else (begun, begun)
        for position, conversation in source.read(low):
            while high <= position < begun:
                low, high = gaps.pop(0) if gaps else (begun, begun)
            if position >= begun or low <= position:
                for repeat in range(1, self.settings.repeats + 1):
                    yield ScheduledConversation(position, conversation, repeat, None)
            else:
                passed += 1
                if passed % _STRETCH == 0:
                    yield None

    def _begun(self, reader: sqlite3.Connection, positions: array[int]) -> Iterator[ScheduledConversation]:
        # by their positions: a cursor left open would keep the writer's log from being folded into the file
        for position in positions:
            row = reader.execute("SELECT row FROM conversation WHERE position = ?", (position,)).fetchone()[0]
            conversation = datasets_reader.parse_row(orjson.loads(row))
            for repeat in range(1, self.settings.repeats + 1):
                answered = store.answered_turns(reader, conversation, position, repeat)
                if len(answered) < len(conversation.turns):
                    yield ScheduledConversation(position, conversation, repeat, answered)


def _begun_positions(reader: sqlite3.Connection) -> tuple[int, list[tuple[int, int]]]:
    """The position behind the last conversation that was begun, and the ranges before it that were not."""
    count, last = reader.execute("SELECT count(*), max(position) FROM conversation").fetchone()
    if last is None:
        return 0, []
    gaps = [] if count == last + 1 else reader.execute(_GAPS).fetchall()
    return last + 1, gaps
