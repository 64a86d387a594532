"""The columns of a run file's tables, the statements that insert rows, and SQL that several queries share."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any

APPLICATION_ID = 0x65766B74  # "evkt"
SQLITE_HEADER = b"SQLite format 3\0"  # the beginning of every database


def join_score(scoring: str, alias: str = "s") -> str:
    """SQL that joins the scores of a scoring, given as a number or an expression, to the turns ``t``."""
    place = ", ".join(f"{alias}.{column}" for column in ("conversation", "repeat", "turn", "scoring"))
    return f"LEFT JOIN score {alias} ON ({place}) = (t.conversation, t.repeat, t.turn, {scoring})"


def join_corrected(scoring: str) -> str:
    """SQL that joins the corrected rows of a scoring to the conversations ``c``: see ``ROW``."""
    return f"LEFT JOIN corrected_row k ON (k.scoring, k.conversation) = ({scoring}, c.position)"


# the row of a conversation joined by ``join_corrected``, with the targets and scorers that the scoring compared with
ROW = "coalesce(k.row, c.row)"


def scorable(scoring: str) -> str:
    """SQL for whether a scoring has, or would have, a score of the turn ``t``."""
    scores_all = f"coalesce((SELECT scores_all FROM scoring WHERE id = {scoring}), 0)"  # noqa: S608 - SQL of our own
    return f"({has_target(scoring)} OR {scores_all})"


def has_target(scoring: str) -> str:
    """SQL for whether the turn ``t`` has a target, or a scorer that may need none, in a scoring."""
    place = "'$.turns[' || (t.turn - 1) || '].{}'"
    named = " OR ".join(f"json_type(row, {place.format(name)}) NOT NULL" for name in ("target", "scorer"))
    corrected = f"SELECT {named} FROM corrected_row WHERE (scoring, conversation) = ({scoring}, t.conversation)"  # noqa: S608
    return f"coalesce(({corrected}), t.has_target)"


# a turn in progress when its session ended: not a failure of the endpoint, and sent again by resume
INTERRUPTED = "(t.error_kind IS 'cancelled' AND t.attempts > 0)"
# error kind, one of the messages, and number of turns that failed in one way
FAILURES = """
    SELECT error_kind, min(error_message), count(*) FROM turn WHERE status = 'error'
    GROUP BY error_kind, http_status ORDER BY 3 DESC LIMIT ?"""
CURRENT_SCORING = "(SELECT scoring FROM run)"
JOIN_SCORE = join_score(CURRENT_SCORING)
JOIN_CORRECTED = join_corrected(CURRENT_SCORING)
SCORABLE = scorable(CURRENT_SCORING)

_PROGRESS = """
    SELECT t.conversation, c.turns,
      sum(CASE t.status WHEN 'error' THEN {failed} AND NOT (t.error_kind IS 'cancelled' AND t.attempts > 0)
        ELSE NOT t.has_target OR s.scorer IS NOT NULL END),
      total(s.value), count(s.value)
    FROM turn t JOIN conversation c ON c.position = t.conversation
      LEFT JOIN score s ON (s.conversation, s.repeat, s.turn, s.scoring) = (t.conversation, t.repeat, t.turn, {scoring})
    GROUP BY t.conversation ORDER BY t.conversation"""
# per conversation: turns, finished turns, sum and number of scores of the current scoring, as ``Until.note`` needs them
PROGRESS = _PROGRESS.format(failed=1, scoring="(SELECT scoring FROM run)")
# the same for the run's own scores; and without failed turns, for a session that sends these again
PROGRESS_OWN_SCORES = _PROGRESS.format(failed=1, scoring=0)
ANSWERED_PROGRESS_OWN_SCORES = _PROGRESS.format(failed=0, scoring=0)


# The columns of each table in groups. Most of a row is NULL, and binding NULL takes several times as long as binding a
# value, so a row has its key and only those groups that hold a value.
_TABLES: dict[str, dict[str, tuple[str, ...]]] = {
    "conversation": {"key": ("position", "id", "hash", "row", "turns"), "labels": ("cluster", "tags")},
    "turn": {
        "key": ("conversation", "repeat", "turn", "status", "has_target", "attempts", "token_source"),
        "asked": (
            "streamed", "http_status", "flags", "answer", "finish_reason", "queue_ns", "sent_ns", "end_ns",
            "latency_ns", "turn_time_ns",
        ),
        "usage": ("prompt_tokens", "output_tokens"),
        "cache": ("cached_tokens", "cache_write_tokens"),
        "tokens": ("ttft_ns", "ttfv_ns", "tpot_ns"),
        "reasoning": ("reasoning", "reasoning_tokens"),
        "more": (
            "refusal", "tool_calls", "exchange", "error_kind", "error_message", "censored_ns", "schedule_latency_ns",
        ),
        "logprobs": ("logprobs",),
    },
    "attempt": {
        "key": (
            "conversation", "repeat", "turn", "number", "round", "due_ns", "slot_ns", "sent_ns", "headers_ns",
            "end_ns", "http_status", "flags", "streamed", "connection_opened",
        ),
        "usage": ("prompt_tokens", "output_tokens"),
        "cache": ("cached_tokens", "cache_write_tokens"),
        "error": ("error_kind", "error_message", "error_code", "retry_after_s", "partial"),
        "provenance": ("provenance",),
        "tokens": ("first_visible_ns", "arrivals", "arrival_events"),
    },
    "score": {
        "key": ("conversation", "repeat", "turn", "scoring", "scorer"),
        "value": ("value",),
        "reason": ("reason",),
        "extracted": ("extracted",),
        "parts": ("parts",),
    },
}  # fmt: skip
_TURN_COLUMNS = [name for group in _TABLES["turn"].values() for name in group] + ["session"]
_CONFLICTS = {
    "conversation": "ON CONFLICT (position) DO NOTHING",
    "turn": "ON CONFLICT DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _TURN_COLUMNS)
    + " WHERE status = 'error'",
    "attempt": "",
    "score": "",
}


# a row to be inserted: its groups of columns, in order and separated by spaces, and their values
Row = tuple[str, list[Any]]
GROUPS_OF = itemgetter(0)


def columns(table: str, groups: str) -> list[str]:
    """The columns of a row with these groups.

    Raises
    ------
    KeyError
        The table has no such group.
    """
    return [name for group in groups.split(" ") for name in _TABLES[table][group]]


def value(table: str, row: Row, name: str) -> Any:
    """The value of a column; None: the row does not have the column."""
    place = _place(table, row[0], name)
    return None if place is None else row[1][place]


def check(table: str, row: Row) -> None:
    """Refuse a row from a file that evalkit does not write.

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


def insert(connection: sqlite3.Connection, table: str, rows: Iterable[Row], session: int = 0) -> None:
    """Insert rows, those with the same groups that follow each other with one statement; a score replaces another."""
    for groups, alike in groupby(rows, GROUPS_OF):
        connection.executemany(_statement(table, groups, session), [row[1] for row in alike])


@cache
def _statement(table: str, groups: str, session: int) -> str:
    """The statement that inserts rows with these groups in a session."""
    names = columns(table, groups)
    values = ", ".join("?" * len(names))
    if table in ("turn", "attempt"):
        names.append("session")
        values += f", {session:d}"
    verb = "INSERT OR REPLACE" if table == "score" else "INSERT"
    return f"{verb} INTO {table} ({', '.join(names)}) VALUES ({values}) {_CONFLICTS[table]}"


INSERT_RUN = "INSERT INTO run (name, created_ns, settings, dataset, endpoint) VALUES (?, ?, ?, ?, ?)"
