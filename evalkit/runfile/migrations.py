"""The migrations of a run file: numbered and append-only, from an empty file to the tables of this version."""

from __future__ import annotations

import sqlite3

# One entry per version of the file; an older file is migrated by the entries it lacks.
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
    # what a table of a million turns needs from their conversations, so that no dataset row has to be parsed
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
    # turns can be scored again, next to the old scores: scoring 0 is the run's own, run.scoring is the current one
    """
    CREATE TABLE scoring (id INTEGER PRIMARY KEY, started_wall_ns INTEGER NOT NULL, ended_wall_ns INTEGER,
      scorer TEXT NOT NULL, versions TEXT NOT NULL, judge TEXT);
    ALTER TABLE run ADD COLUMN scoring INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE score ADD COLUMN parts TEXT;
    """,
    # a scoring may also score turns without a target; failed turns without a target then count as well
    "ALTER TABLE scoring ADD COLUMN scores_all INTEGER NOT NULL DEFAULT 0;",
    # which model, gateway or cache an answer came from, where that differs from what was requested
    "ALTER TABLE attempt ADD COLUMN provenance TEXT;",
    # log probabilities of the answer's tokens, of runs that ask for them
    "ALTER TABLE turn ADD COLUMN logprobs TEXT;",
    # prompt tokens that the endpoint read from its cache or wrote to it, which have prices of their own
    """
    ALTER TABLE turn ADD COLUMN cached_tokens INTEGER;
    ALTER TABLE turn ADD COLUMN cache_write_tokens INTEGER;
    ALTER TABLE attempt ADD COLUMN cached_tokens INTEGER;
    ALTER TABLE attempt ADD COLUMN cache_write_tokens INTEGER;
    """,
    # a scoring may have the targets and scorers of a corrected dataset: its path, and the rows that differ
    """
    ALTER TABLE scoring ADD COLUMN targets TEXT;
    CREATE TABLE corrected_row (scoring INTEGER NOT NULL, conversation INTEGER NOT NULL, row TEXT NOT NULL,
      PRIMARY KEY (scoring, conversation)) WITHOUT ROWID;
    """,
)
VERSION = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection, version: int, to: int | None = None) -> None:
    """Migrate a file of ``version`` to the version ``to``; None: the newest."""
    for number, script in enumerate(MIGRATIONS[version:to], start=version + 1):
        connection.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")
