"""What a dataset asks: its conversations, how they are scored, what is not sent, and which ask the same twice.

Rows are read one at a time. Only names are kept, and a hash of each conversation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from evalkit.conversation import Conversation, ScorerSpec
from evalkit.datasets import reader
from evalkit.datasets.id_set import IdSet
from evalkit.errors import DatasetError
from evalkit.scorers import scoring

MOST_NAMES = 1_000  # of a kind, such as tags
MOST_DUPLICATES = 10  # that are named
_NOT_SENT = ("id", "turns", "tags", "group", "meta")


class Duplicate(NamedTuple):
    """A conversation that asks what an earlier one asks; numbers count the conversations of the file from 1."""

    number: int
    id: str
    first_number: int
    first_id: str


@dataclass(slots=True)
class DatasetContents:
    """What a dataset asks.

    Parameters
    ----------
    path : str
    shape : str
        The row format, as ``reader.DatasetSummary.shape``.
    conversations, turns, most_turns : int
        ``most_turns``: of one conversation.
    targets, golden : int
        Turns with a target, and with a golden answer.
    scorers : Counter
        Scorer to number of turns; ``unscored`` turns have none.
    unscored : int
    system, context, tools, parts, groups : int
        Conversations with a system prompt, messages before the first turn, tools, images or other parts, a group.
    params, tags, ignored : Counter
        Request parameters that rows set, tags, and keys in ``meta``, which are not sent, to number of conversations.
    unnamed : Counter
        Of ``scorers``, ``params``, ``tags`` and ``ignored``: what is counted under none of the first 1,000 names.
    duplicated : int
        Conversations of which all that is sent is the same as in an earlier one.
    duplicates : list of Duplicate
        The first 10 of them.
    first : Conversation or None
        As it would be sent.
    """

    path: str
    shape: str
    conversations: int = 0
    turns: int = 0
    most_turns: int = 0
    targets: int = 0
    golden: int = 0
    scorers: Counter[str] = field(default_factory=Counter)
    unscored: int = 0
    system: int = 0
    context: int = 0
    tools: int = 0
    parts: int = 0
    groups: int = 0
    params: Counter[str] = field(default_factory=Counter)
    tags: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    unnamed: Counter[str] = field(default_factory=Counter)
    duplicated: int = 0
    duplicates: list[Duplicate] = field(default_factory=list)
    first: Conversation | None = None

    def to_json(self) -> dict[str, Any]:
        """As ``evalkit data --json`` prints it; the counts of names most frequent first."""
        values = {name: getattr(self, name) for name in self.__slots__}
        counts = {name: dict(value.most_common()) for name, value in values.items() if isinstance(value, Counter)}
        duplicates = [duplicate._asdict() for duplicate in self.duplicates]
        return values | counts | {"duplicates": duplicates, "first": self.first and self.first.to_json()}

    def add(self, conversation: Conversation, default: ScorerSpec | None) -> None:
        """Count one conversation; ``default`` is the scorer of turns that name none."""
        self.first = self.first or conversation
        self.conversations += 1
        self.turns += len(conversation.turns)
        self.most_turns = max(self.most_turns, len(conversation.turns))
        for turn in conversation.turns:
            self.targets += turn.target is not None
            self.golden += turn.assistant is not None
            if (scorer := scoring.scorer_of(turn, default)) is None:
                self.unscored += 1
            else:
                self._count("scorers", scorer.name)
        self.system += conversation.system is not None
        self.context += bool(conversation.context)
        self.tools += bool(conversation.tools)
        self.parts += conversation.has_parts
        self.groups += conversation.group is not None
        for name, found in (
            ("params", conversation.params), ("tags", dict.fromkeys(conversation.tags)), ("ignored", conversation.meta),
        ):  # fmt: skip
            for key in found:
                self._count(name, key)

    def _count(self, name: str, key: str) -> None:
        counter: Counter[str] = getattr(self, name)
        if key in counter or len(counter) < MOST_NAMES:
            counter[key] += 1
        else:
            self.unnamed[name] += 1


def contents(
    path: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    history: str = "own",
    system: str | None = None,
    scorer: ScorerSpec | None = None,
) -> DatasetContents:
    """Read a dataset, and sum up what a run with these settings would ask.

    Parameters
    ----------
    path, columns, limit, history
        As for ``reader.read``.
    system : str, optional
        System prompt of every conversation, in place of the dataset's; empty: none.
    scorer : ScorerSpec, optional
        For turns that name none.

    Returns
    -------
    DatasetContents

    Raises
    ------
    DatasetError
        Lists up to 10 problems, each with line and field.
    SettingsError
        ``columns`` or ``history`` cannot be used.
    """
    settings: dict[str, Any] = {"columns": columns, "limit": limit, "history": history}
    settings |= {"own_system": system is not None, "check_turn": scoring.turn_checker(scorer)}
    notes: list[str] = []
    try:
        found = DatasetContents(str(path), reader.check(path, **{**settings, "limit": 1}, notes=[]).shape)
        hashes, repeated = IdSet(), []
        for conversation in _read(path, settings | {"notes": notes}, system):
            found.add(conversation, scorer)
            sent = what_is_sent(conversation, golden=history == "golden")
            if not hashes.add(sent):
                found.duplicated += 1
                if found.duplicated <= MOST_DUPLICATES:
                    repeated.append((found.conversations, conversation.id, hash(sent)))
    except DatasetError:
        reader.check(path, **settings)  # lists the others too
        raise
    reader.report_notes(path, notes)
    if repeated:
        firsts = _firsts({key for _, _, key in repeated}, _read(path, settings, system), golden=history == "golden")
        found.duplicates = [Duplicate(number, name, *firsts[key]) for number, name, key in repeated]
    return found


def what_is_sent(conversation: Conversation, *, golden: bool) -> str:
    """All of a conversation that changes its requests, as text; ``golden``: later turns see the golden answers."""
    row = conversation.to_json()
    sent = {key: value for key, value in row.items() if key not in _NOT_SENT}
    sent["asked"] = [turn["user"] for turn in row["turns"]]
    if golden:
        sent["golden"] = [turn.get("assistant") for turn in row["turns"][:-1]]
    return orjson.dumps(sent, option=orjson.OPT_SORT_KEYS).decode()


def _read(path: Path | str, settings: Mapping[str, Any], system: str | None) -> Iterator[Conversation]:
    for conversation in reader.read(path, **settings):
        yield conversation if system is None else conversation.with_system(system)


def _firsts(keys: set[int], conversations: Iterator[Conversation], *, golden: bool) -> dict[int, tuple[int, str]]:
    """Number and id of the first conversation of each hash."""
    firsts: dict[int, tuple[int, str]] = {}
    for number, conversation in enumerate(conversations, 1):
        key = hash(what_is_sent(conversation, golden=golden))
        if key in keys and key not in firsts:
            firsts[key] = (number, conversation.id)
            if len(firsts) == len(keys):
                break
    return firsts
