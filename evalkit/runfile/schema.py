"""The tables of a run file, how an older file becomes a newer one, and how records become rows."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
from array import array
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from typing import Any

from evalkit.conversation import Turn, canonical
from evalkit.record import Attempt, Score, TurnRecord

APPLICATION_ID = 0x65766B74  # "evkt"

# One entry a version of the file; an older file is brought up by the entries it lacks.
MIGRATIONS = (
    """
    CREATE TABLE run (name TEXT NOT NULL, created_ns INTEGER NOT NULL, settings TEXT NOT NULL, dataset TEXT NOT NULL,
      endpoint TEXT NOT NULL);
    CREATE TABLE session (id INTEGER PRIMARY KEY, started_wall_ns INTEGER NOT NULL, started_mono_ns INTEGER NOT NULL,
      ended_mono_ns INTEGER, outcome TEXT, trust TEXT, about TEXT NOT NULL);
    CREATE TABLE conversation (position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, hash TEXT NOT NULL,
      row TEXT NOT NULL);
    CREATE TABLE turn (conversation INTEGER NOT NULL REFERENCES conversation, repeat INTEGER NOT NULL,
      turn INTEGER NOT NULL, status TEXT NOT NULL, answer TEXT, reasoning TEXT, refusal TEXT, tool_calls TEXT,
      finish_reason TEXT, exchange TEXT, error_kind TEXT, error_message TEXT, http_status INTEGER,
      attempts INTEGER NOT NULL, streamed INTEGER, flags TEXT, ttft_ns INTEGER, ttfv_ns INTEGER, latency_ns INTEGER,
      tpot_ns REAL, censored_ns INTEGER, queue_ns INTEGER, turn_time_ns INTEGER, sent_ns INTEGER, end_ns INTEGER,
      prompt_tokens INTEGER, output_tokens INTEGER, reasoning_tokens INTEGER, token_source TEXT NOT NULL,
      session INTEGER NOT NULL REFERENCES session, PRIMARY KEY (conversation, repeat, turn)) WITHOUT ROWID;
    CREATE TABLE attempt (id INTEGER PRIMARY KEY, conversation INTEGER NOT NULL, repeat INTEGER NOT NULL,
      turn INTEGER NOT NULL, number INTEGER NOT NULL, round INTEGER NOT NULL, session INTEGER NOT NULL,
      due_ns INTEGER NOT NULL, slot_ns INTEGER NOT NULL, sent_ns INTEGER NOT NULL, headers_ns INTEGER, end_ns INTEGER,
      arrivals BLOB, arrival_events BLOB, http_status INTEGER, error_kind TEXT, error_message TEXT,
      error_code TEXT, retry_after_s REAL, flags TEXT, first_visible_ns INTEGER,
      streamed INTEGER NOT NULL, connection_opened INTEGER NOT NULL,
      prompt_tokens INTEGER, output_tokens INTEGER, partial TEXT);
    CREATE TABLE score (conversation INTEGER NOT NULL, repeat INTEGER NOT NULL, turn INTEGER NOT NULL,
      scoring INTEGER NOT NULL DEFAULT 0, scorer TEXT NOT NULL, value REAL, reason TEXT, extracted TEXT,
      PRIMARY KEY (conversation, repeat, turn, scoring)) WITHOUT ROWID;
    """,
    # what a table of a million turns needs of their conversations, so that no row of the dataset is parsed for it
    """
    ALTER TABLE conversation ADD COLUMN turns INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE conversation ADD COLUMN cluster TEXT;
    ALTER TABLE conversation ADD COLUMN tags TEXT;
    ALTER TABLE turn ADD COLUMN has_target INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE turn ADD COLUMN schedule_latency_ns INTEGER;
    UPDATE conversation SET turns = json_array_length(row, '$.turns'), cluster = json_extract(row, '$.group'),
      tags = json_extract(row, '$.tags');
    UPDATE turn SET has_target = (SELECT json_type(row, '$.turns[' || (turn.turn - 1) || '].target') IS NOT NULL
      FROM conversation WHERE position = turn.conversation);
    """,
    # scores are made anew beside the old ones: scoring 0 is the run's own, and run.scoring the one that counts
    """
    CREATE TABLE scoring (id INTEGER PRIMARY KEY, started_wall_ns INTEGER NOT NULL, ended_wall_ns INTEGER,
      scorer TEXT NOT NULL, versions TEXT NOT NULL, judge TEXT);
    ALTER TABLE run ADD COLUMN scoring INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE score ADD COLUMN parts TEXT;
    """,
    # a scoring may score turns without a target too, and then the failed ones among these count as well
    "ALTER TABLE scoring ADD COLUMN scores_all INTEGER NOT NULL DEFAULT 0;",
    # which model, gateway or cache an answer came from, where that is not as it was asked for
    "ALTER TABLE attempt ADD COLUMN provenance TEXT;",
)
VERSION = len(MIGRATIONS)


def join_score(scoring: str, alias: str = "s") -> str:
    """SQL that puts the scores of a scoring, a number or an expression, beside the turns ``t``."""
    place = ", ".join(f"{alias}.{column}" for column in ("conversation", "repeat", "turn", "scoring"))
    return f"LEFT JOIN score {alias} ON ({place}) = (t.conversation, t.repeat, t.turn, {scoring})"


def aimed(scoring: str) -> str:
    """SQL for whether a scoring has, or would have, a score of a turn ``t``."""
    return f"(t.has_target OR coalesce((SELECT scores_all FROM scoring WHERE id = {scoring}), 0))"  # noqa: S608 - SQL of our own


# a turn that was being asked when its session ended: no failure of the endpoint, and to be asked again
INTERRUPTED = "(t.error_kind IS 'cancelled' AND t.attempts > 0)"
COUNTING = "(SELECT scoring FROM run)"
JOIN_SCORE = join_score(COUNTING)  # the scores that count
AIMED = aimed(COUNTING)

_ENDED = """
    SELECT t.conversation, c.turns,
      sum(CASE t.status WHEN 'error' THEN {failed} AND NOT (t.error_kind IS 'cancelled' AND t.attempts > 0)
        ELSE NOT t.has_target OR s.scorer IS NOT NULL END),
      total(s.value), count(s.value)
    FROM turn t JOIN conversation c ON c.position = t.conversation
      LEFT JOIN score s ON (s.conversation, s.repeat, s.turn, s.scoring) = (t.conversation, t.repeat, t.turn, {scoring})
    GROUP BY t.conversation ORDER BY t.conversation"""
# how far each conversation has come, as ``until.Until.note`` takes it, by the scores that count
ENDED = _ENDED.format(failed=1, scoring="(SELECT scoring FROM run)")
# the same by the run's own scores; and without failed turns, when these are asked again
ENDED_OWN = _ENDED.format(failed=1, scoring=0)
ANSWERED_OWN = _ENDED.format(failed=0, scoring=0)


def migrate(connection: sqlite3.Connection, version: int, to: int | None = None) -> None:
    """Bring a file of this version up to a newer one; None: the newest."""
    for number, script in enumerate(MIGRATIONS[version:to], start=version + 1):
        connection.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")


# Columns in the groups they come in: NULL is several times dearer to bind than a value, and most of a row is NULL.
# A row has its key, and those of the other groups that have something to say.
_TABLES: dict[str, dict[str, tuple[str, ...]]] = {
    "conversation": {"key": ("position", "id", "hash", "row", "turns"), "labels": ("cluster", "tags")},
    "turn": {
        "key": ("conversation", "repeat", "turn", "status", "has_target", "attempts", "token_source"),
        "asked": (
            "streamed", "http_status", "flags", "answer", "finish_reason", "queue_ns", "sent_ns", "end_ns",
            "latency_ns", "turn_time_ns",
        ),
        "usage": ("prompt_tokens", "output_tokens"),
        "tokens": ("ttft_ns", "ttfv_ns", "tpot_ns"),
        "reasoning": ("reasoning", "reasoning_tokens"),
        "more": (
            "refusal", "tool_calls", "exchange", "error_kind", "error_message", "censored_ns", "schedule_latency_ns",
        ),
    },
    "attempt": {
        "key": (
            "conversation", "repeat", "turn", "number", "round", "due_ns", "slot_ns", "sent_ns", "headers_ns",
            "end_ns", "http_status", "flags", "streamed", "connection_opened",
        ),
        "usage": ("prompt_tokens", "output_tokens"),
        "error": ("error_kind", "error_message", "error_code", "retry_after_s", "partial"),
        "provenance": ("provenance",),
        "tokens": ("first_visible_ns", "arrivals", "arrival_events"),
    },
}  # fmt: skip
_TURN_COLUMNS = [name for group in _TABLES["turn"].values() for name in group] + ["session"]
_CONFLICTS = {
    "conversation": "ON CONFLICT (position) DO NOTHING",
    "turn": "ON CONFLICT DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _TURN_COLUMNS)
    + " WHERE status = 'error'",
    "attempt": "",
}


_TO_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode  # made once: dumps would make one a call
_NOTHING_SAID = (None, None, None, (), None)
_NOTHING_COUNTED = (None, None, None)


# a row on its way into a table: the groups of columns it has, in their order and with spaces between, and their values
Row = tuple[str, list[Any]]


def columns(table: str, groups: str) -> list[str]:
    """The columns of a row with these groups.

    Raises
    ------
    KeyError
        There is no such group.
    """
    return [name for group in groups.split(" ") for name in _TABLES[table][group]]


def value(table: str, row: Row, name: str) -> Any:
    """The value of a column; None: the row has none there."""
    place = _place(table, row[0], name)
    return None if place is None else row[1][place]


def check(table: str, row: Row) -> None:
    """Refuse a row that comes from a file and is none of ours.

    Raises
    ------
    KeyError, TypeError, ValueError
    """
    groups, values = row
    if len(columns(table, groups)) != len(values):
        raise ValueError(f"a row for the table {table} has {len(values)} values")
    packed = table == "attempt" and groups.endswith("tokens")
    for found in values[:-2] if packed else values:
        if not isinstance(found, str | int | float | None):
            raise TypeError(f"a row for the table {table} holds {type(found).__name__}")


@cache
def _place(table: str, groups: str, name: str) -> int | None:
    names = columns(table, groups)
    return names.index(name) if name in names else None


@cache
def insert(table: str, groups: str, session: int) -> str:
    """The statement for rows with these groups that were made in this session."""
    names = columns(table, groups)
    values = ", ".join("?" * len(names))
    if table != "conversation":
        names.append("session")
        values += f", {session:d}"
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values}) {_CONFLICTS[table]}"  # noqa: S608 - our own


INSERT_RUN = "INSERT INTO run (name, created_ns, settings, dataset, endpoint) VALUES (?, ?, ?, ?, ?)"
INSERT_SCORE = (
    "INSERT OR REPLACE INTO score (conversation, repeat, turn, scoring, scorer, value, reason, extracted, parts) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def conversation_row(position: int, row: Mapping[str, Any]) -> Row:
    """What the table of conversations takes of one, given as ``Conversation.to_json`` has it."""
    text = canonical(row)
    groups = "key"
    values: list[Any] = [position, row["id"], hashlib.sha256(text).hexdigest(), text.decode(), len(row["turns"])]
    group, tags = row.get("group"), row.get("tags")
    if group is not None or tags:
        groups += " labels"
        values += group, _json_or_none(tags or None)
    return groups, values


def turn_row(position: int, turn: Turn, record: TurnRecord, *, scored: bool = False) -> Row:
    """What the table of turns takes of one; ``scored``: the run's scorer wants no target."""
    _, repeat, number, attempts, exchange, failure, scheduled = record
    last = attempts[-1] if attempts else None
    answer, usage = (last.answer, last.usage) if last else (None, None)
    text, reasoning, refusal, tool_calls, finish_reason = answer or _NOTHING_SAID
    prompt_tokens, output_tokens, reasoning_tokens = usage or _NOTHING_COUNTED
    source = "none" if output_tokens is None else "usage"
    to_come = scored or turn.target is not None or turn.scorer is not None  # has_target: whether a score is to come
    groups = "key"
    values: list[Any] = [position, repeat, number, record.status, int(to_come), len(attempts), source]
    if last:
        groups += " asked"
        values += (
            int(last.streamed),
            last.http_status,
            " ".join(last.flags),
            text,
            finish_reason,
            last.queue_delay_ns,
            last.timing.sent,
            last.timing.end,
            None if failure else last.latency_ns,  # an answer between two tool rounds may be the last that came
            record.turn_time_ns,
        )
    if usage:
        groups += " usage"
        values += prompt_tokens, output_tokens
    if last and last.timing.arrivals:
        groups += " tokens"
        values += last.ttft_ns, last.ttfv_ns, None if failure else last.tpot_ns
    if reasoning or reasoning_tokens is not None:
        groups += " reasoning"
        values += reasoning or None, reasoning_tokens
    if failure or exchange or scheduled or tool_calls or refusal is not None:
        groups += " more"
        calls = record.tool_calls
        values += (
            refusal,
            _json_or_none([call.to_json() for call in calls]) if calls else None,
            _json_or_none([message.to_json() for message in exchange]) if exchange else None,
            failure.kind if failure else None,
            failure.message if failure else None,
            last.censored_ns if last else None,
            record.schedule_latency_ns,
        )
    return groups, values


def attempt_row(position: int, record: TurnRecord, attempt: Attempt) -> Row:
    """What the table of attempts takes of one; arrivals as numbers, see ``storable``."""
    timing, failure, usage = attempt.timing, attempt.failure, attempt.usage
    sent = timing.sent
    groups = "key"
    values: list[Any] = [
        position,
        record.repeat,
        record.turn,
        attempt.number,
        attempt.round,
        timing.due,
        timing.slot,
        sent,
        timing.headers,
        timing.end,
        attempt.http_status,
        " ".join(attempt.flags),
        int(attempt.streamed),
        int(attempt.connection_opened),
    ]
    if usage:
        groups += " usage"
        values += usage.prompt_tokens, usage.output_tokens
    if failure:
        groups += " error"
        partial = attempt.answer.text if attempt.answer else None
        values += failure.kind, failure.message, failure.code, failure.retry_after_s, partial
    if attempt.provenance:
        groups += " provenance"
        values.append(_as_json(tuple(attempt.provenance.items())))
    if timing.arrivals:
        groups += " tokens"
        values += timing.first_visible, [stamp - sent for stamp in timing.arrivals], timing.arrival_events
    return groups, values


def storable(attempt: Row) -> Row:
    """The row of an attempt with its arrivals packed, as the file keeps them."""
    groups, values = attempt
    if not groups.endswith("tokens"):
        return attempt
    *values, arrivals, events = values
    return groups, [*values, _packed("q", arrivals), _packed("i", events)]


def score_row(position: int, repeat: int, turn: int, score: Score, scoring: int = 0) -> tuple[Any, ...]:
    """The values of INSERT_SCORE; scoring 0 is the run's own."""
    extracted, parts = (_storable_text(_json_or_none(value)) for value in (score.extracted, score.parts))
    return position, repeat, turn, scoring, score.scorer, score.value, _storable_text(score.reason), extracted, parts


def _storable_text(text: str | None) -> str | None:
    """A text without half surrogate pairs, which a scorer of the user's own may give."""
    return text if text is None or text.isascii() else text.encode("utf-8", "replace").decode()


@lru_cache(maxsize=256)
def _as_json(told: tuple[tuple[str, str], ...]) -> str:
    """An object as JSON; what is kept of where answers came from is mostly the same."""
    return _TO_JSON(dict(told))


def _packed(typecode: str, numbers: Iterable[int]) -> bytes:
    packed = array(typecode, numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _json_or_none(value: Any) -> str | None:
    if value is None:
        return None
    try:
        return _TO_JSON(value)
    except ValueError:  # a number that JSON has no word for
        return _TO_JSON(repr(value))
