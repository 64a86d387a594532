"""The tables of a run file, how an older file becomes a newer one, and how records become rows."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

from evalkit.conversation import Conversation, Turn
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
)
VERSION = len(MIGRATIONS)


def join_score(scoring: str, alias: str = "s") -> str:
    """SQL that puts the scores of a scoring, a number or an expression, beside the turns ``t``."""
    place = ", ".join(f"{alias}.{column}" for column in ("conversation", "repeat", "turn", "scoring"))
    return f"LEFT JOIN score {alias} ON ({place}) = (t.conversation, t.repeat, t.turn, {scoring})"


def aimed(scoring: str) -> str:
    """SQL for whether a scoring has, or would have, a score of a turn ``t``."""
    return f"(t.has_target OR coalesce((SELECT scores_all FROM scoring WHERE id = {scoring}), 0))"  # noqa: S608 - SQL of our own


COUNTING = "(SELECT scoring FROM run)"
JOIN_SCORE = join_score(COUNTING)  # the scores that count
AIMED = aimed(COUNTING)

_ENDED = """
    SELECT t.conversation, c.turns,
      sum(CASE t.status WHEN 'error' THEN {failed} ELSE NOT t.has_target OR s.scorer IS NOT NULL END),
      total(s.value), count(s.value)
    FROM turn t JOIN conversation c ON c.position = t.conversation
      LEFT JOIN score s ON (s.conversation, s.repeat, s.turn, s.scoring) = (t.conversation, t.repeat, t.turn, {scoring})
    GROUP BY t.conversation ORDER BY t.conversation"""
# how far each conversation has come, as ``until.Until.note`` takes it, by the scores that count
ENDED = _ENDED.format(failed=1, scoring="(SELECT scoring FROM run)")
# the same by the run's own scores; and without failed turns, when these are asked again
ENDED_OWN = _ENDED.format(failed=1, scoring=0)
ANSWERED_OWN = _ENDED.format(failed=0, scoring=0)


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring a file of this version up to the newest."""
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")


_TURN_COLUMNS = (
    "conversation", "repeat", "turn", "session", "status", "has_target", "answer", "reasoning", "refusal", "tool_calls",
    "finish_reason", "exchange", "error_kind", "error_message", "http_status", "attempts", "streamed", "flags",
    "ttft_ns", "ttfv_ns", "latency_ns", "tpot_ns", "censored_ns", "queue_ns", "schedule_latency_ns", "turn_time_ns",
    "sent_ns", "end_ns", "prompt_tokens", "output_tokens", "reasoning_tokens", "token_source",
)  # fmt: skip
_ATTEMPT_COLUMNS = (
    "conversation", "repeat", "turn", "session", "number", "round", "due_ns", "slot_ns", "sent_ns", "headers_ns",
    "end_ns", "first_visible_ns", "arrivals", "arrival_events", "http_status", "error_kind", "error_message",
    "error_code", "retry_after_s", "flags", "streamed", "connection_opened", "prompt_tokens", "output_tokens",
    "partial",
)  # fmt: skip


def _insert(table: str, columns: Sequence[str]) -> str:
    values = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})"  # noqa: S608 - names of our own columns


INSERT_RUN = _insert("run", ("name", "created_ns", "settings", "dataset", "endpoint"))
INSERT_CONVERSATION = (
    _insert("conversation", ("position", "id", "hash", "row", "turns", "cluster", "tags"))
    + " ON CONFLICT (position) DO NOTHING"
)
INSERT_TURN = (
    f"{_insert('turn', _TURN_COLUMNS)} ON CONFLICT DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _TURN_COLUMNS)
    + " WHERE status = 'error'"
)
INSERT_ATTEMPT = _insert("attempt", _ATTEMPT_COLUMNS)
INSERT_SCORE = _insert(
    "score", ("conversation", "repeat", "turn", "scoring", "scorer", "value", "reason", "extracted", "parts")
).replace("INSERT", "INSERT OR REPLACE", 1)


def conversation_row(position: int, conversation: Conversation) -> tuple[Any, ...]:
    """The values of INSERT_CONVERSATION."""
    row = conversation.canonical
    return (
        position,
        conversation.id,
        hashlib.sha256(row).hexdigest(),
        row.decode(),
        len(conversation.turns),
        conversation.group,
        _json_or_none(list(conversation.tags) or None),
    )


def turn_row(position: int, turn: Turn, record: TurnRecord, session: int, *, scored: bool = False) -> tuple[Any, ...]:
    """The values of INSERT_TURN; ``scored``: the run's scorer wants no target."""
    answer, failure = record.answer, record.failure
    last = record.attempts[-1] if record.attempts else None
    timing = last.timing if last else None
    usage = last.usage if last else None
    calls = record.tool_calls
    return (
        position,
        record.repeat,
        record.turn,
        session,
        record.status,
        scored or turn.target is not None or turn.scorer is not None,  # has_target: whether there is a score to come
        answer.text if answer else None,
        (answer.reasoning or None) if answer else None,
        answer.refusal if answer else None,
        _json_or_none([call.to_json() for call in calls]) if calls else None,
        answer.finish_reason if answer else None,
        _json_or_none([message.to_json() for message in record.exchange]) if record.exchange else None,
        failure.kind if failure else None,
        failure.message if failure else None,
        last.http_status if last else None,
        len(record.attempts),
        last.streamed if last else None,
        " ".join(last.flags) if last else None,
        last.ttft_ns if last else None,
        last.ttfv_ns if last else None,
        last.latency_ns if last else None,
        last.tpot_ns if last else None,
        last.censored_ns if last else None,
        last.queue_delay_ns if last else None,
        record.schedule_latency_ns,
        record.turn_time_ns,
        timing.sent if timing else None,
        timing.end if timing else None,
        usage.prompt_tokens if usage else None,
        usage.output_tokens if usage else None,
        usage.reasoning_tokens if usage else None,
        "usage" if usage and usage.output_tokens is not None else "none",
    )


def attempt_row(position: int, record: TurnRecord, attempt: Attempt, session: int) -> tuple[Any, ...]:
    """The values of INSERT_ATTEMPT."""
    timing, failure, usage = attempt.timing, attempt.failure, attempt.usage
    sent = timing.sent
    return (
        position,
        record.repeat,
        record.turn,
        session,
        attempt.number,
        attempt.round,
        timing.due,
        timing.slot,
        sent,
        timing.headers,
        timing.end,
        timing.first_visible,
        _packed("q", [stamp - sent for stamp in timing.arrivals]) if timing.arrivals else b"",
        _packed("i", timing.arrival_events) if timing.arrivals else b"",
        attempt.http_status,
        failure.kind if failure else None,
        failure.message if failure else None,
        failure.code if failure else None,
        failure.retry_after_s if failure else None,
        " ".join(attempt.flags),
        attempt.streamed,
        attempt.connection_opened,
        usage.prompt_tokens if usage else None,
        usage.output_tokens if usage else None,
        attempt.answer.text if failure and attempt.answer else None,
    )


def score_row(position: int, repeat: int, turn: int, score: Score, scoring: int = 0) -> tuple[Any, ...]:
    """The values of INSERT_SCORE; scoring 0 is the run's own."""
    extracted, parts = _json_or_none(score.extracted), _json_or_none(score.parts)
    return position, repeat, turn, scoring, score.scorer, score.value, score.reason, extracted, parts


def _packed(typecode: str, numbers: Iterable[int]) -> bytes:
    packed = array(typecode, numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _json_or_none(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)
