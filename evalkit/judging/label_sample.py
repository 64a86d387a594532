"""Which conversations of a run people label: a random sample, or one with more in which judge and scorer differ."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import NamedTuple

from evalkit.errors import SettingsError
from evalkit.inputs.suggestions import nearest_name
from evalkit.runfile import scorings
from evalkit.runfile.schema import JOIN_CORRECTED, ROW, join_score

WAYS = ("random", "differ")
RANDOM, DIFFER, OTHER = "random", "differ", "other"  # strata
_KEY = "'$.turns[' || (t.turn - 1) || '].{}'"
_RIGHT_ANSWER = " OR ".join(f"json_type({ROW}, {_KEY.format(key)}) NOT NULL" for key in ("target", "assistant"))
_NO_SCORES = "no turn of this run has both a judge's and a scorer's score: {}, or choose='random'"


class Transcript(NamedTuple):
    """A conversation in one repeat, chosen to be labelled.

    Parameters
    ----------
    position : int
        Of the conversation in the run.
    conversation : str
    repeat : int
    stratum : str
        ``random``; or ``differ`` if judge and scorer differ in one of its turns, else ``other``.
    stratum_answers : int
        Answers of the run in this stratum that can be labelled.
    """

    position: int
    conversation: str
    repeat: int
    stratum: str
    stratum_answers: int


def has_right_answers(connection: sqlite3.Connection) -> bool:
    """Whether any answered turn has a target or a golden answer; then only those turns are labelled."""
    query = f"SELECT 1 {_answered(_RIGHT_ANSWER)} LIMIT 1"
    return connection.execute(query).fetchone() is not None


def choose(connection: sqlite3.Connection, conversations: int, way: str, seed: int) -> list[Transcript]:
    """Choose what is labelled, in the order in which it is shown.

    A conversation in one repeat is chosen as a whole, by a hash of its id, its repeat and the seed. So a larger sample
    contains the smaller one, a run that has grown keeps its sample, and runs of one dataset have the same one.
    ``differ`` takes half of the sample from the conversations in which a judge's scoring and a scorer's disagree
    whether an answer is right, more if the others are too few, and the rest from all others.

    Parameters
    ----------
    connection : sqlite3.Connection
        A run file opened for reading.
    conversations : int
        The size of the sample.
    way : str
        ``random`` or ``differ``.
    seed : int

    Raises
    ------
    SettingsError
        An argument cannot be used, there is nothing to label, or judge and scorer never differ.
    """
    _check(conversations, way)
    rows = connection.execute(_transcripts(connection, way)).fetchall()
    if not rows:
        raise SettingsError("this run has no answered turn: there is nothing to label")
    strata = {RANDOM: rows} if way == "random" else {stratum: [] for stratum in (DIFFER, OTHER)}
    if way == "differ":
        for row in rows:
            strata[DIFFER if row[-1] else OTHER].append(row)
        if not strata[DIFFER]:
            raise SettingsError("judge and scorer agree on every answer of this run: use choose='random'")
    chosen: list[tuple[bytes, Transcript]] = []
    for stratum, size in _sizes(conversations, {name: len(found) for name, found in strata.items()}).items():
        answers = sum(row[3] for row in strata[stratum])
        keyed = [
            (_key(seed, name, repeat), Transcript(position, name, repeat, stratum, answers))
            for position, name, repeat, *_ in strata[stratum]
        ]
        chosen += sorted(keyed)[:size]
    return [transcript for _, transcript in sorted(chosen)]


def _check(conversations: int, way: str) -> None:
    if way not in WAYS:
        suggestion = nearest_name(str(way), WAYS)
        hint = f"did you mean {suggestion!r}?" if suggestion else f"it is one of {', '.join(WAYS)}"
        raise SettingsError(f"choose is {way!r}: {hint}")
    if type(conversations) is not int or conversations < 1:
        raise SettingsError(f"conversations is {conversations!r}: it must be a whole number, 1 or more")


def _sizes(total: int, available: dict[str, int]) -> dict[str, int]:
    if len(available) == 1:
        return dict.fromkeys(available, total)
    differ = min(available[DIFFER], max((total + 1) // 2, total - available[OTHER]))
    return {DIFFER: differ, OTHER: total - differ}


def _key(seed: int, conversation: str, repeat: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{conversation}\0{repeat}".encode()).digest()


def _answered(also: str, joins: str = "") -> str:
    return (
        f"FROM turn t JOIN conversation c ON c.position = t.conversation {JOIN_CORRECTED} {joins} "
        f"WHERE t.status = 'answered' AND ({also})"
    )


def _transcripts(connection: sqlite3.Connection, way: str) -> str:
    """SQL for position, id and repeat of every conversation, its answers to label, and whether the verdicts differ."""
    which = _RIGHT_ANSWER if has_right_answers(connection) else "1"
    differ, joins = "0", ""
    if way == "differ":
        judge, scorer = _scorings(connection)
        differ = "total((s.value >= 1) <> (j.value >= 1))"
        joins = f"{join_score(str(scorer))} {join_score(str(judge), 'j')}"
        both = f"SELECT 1 {_answered(f'({which}) AND s.value NOT NULL AND j.value NOT NULL', joins)} LIMIT 1"
        if connection.execute(both).fetchone() is None:
            raise SettingsError(_NO_SCORES.format("score it with 'evalkit score' and judge it with 'evalkit judge'"))
    return (
        f"SELECT t.conversation, c.id, t.repeat, count(*), {differ} {_answered(which, joins)} "
        "GROUP BY t.conversation, t.repeat ORDER BY t.conversation, t.repeat"
    )


def _scorings(connection: sqlite3.Connection) -> tuple[int, int]:
    """The newest scorings by a judge and by scorers."""
    judged = [scoring.id for scoring in scorings.judgings(connection)]
    if not judged:
        raise SettingsError(_NO_SCORES.format("judge it first with 'evalkit judge'"))
    return judged[-1], [number for number in scorings.complete(connection) if number not in judged][-1]
