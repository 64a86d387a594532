"""Checks of a run file's tables: it may come from a stranger, and a database can do more than hold rows.

Whenever a file is opened, its schema must be exactly that of its version. When turns are read, the numbers that size
arrays and loops must be in range, and no table may have more rows than fit into the file. Every value is checked in a
small file, and in a larger one after reading has failed, to name the value at fault.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from functools import cache
from typing import Any

from evalkit.runfile import migrations

MOST_TURNS = 100_000  # of one conversation
MOST_REPEATS = 1_000_000  # the number of a load-test step that only a time limit ends
_MOST_SKIPPED = 1_000_000  # conversations in progress while later ones have ended
_MOST_BYTES = 256 * 2**20  # of one value
_SMALL = 4 * 2**20  # bytes of a file in which every value is checked
_SUMMABLE = 2**62  # the sum of two must not overflow

# the minimal size of a row: its length, its key, and a byte for each column
_ROW_BYTES = {"session": 8, "conversation": 6, "attempt": 20, "score": 6, "scoring": 6, "corrected_row": 6}
_POSITIONS = [
    (table, column, which)
    for table, column in (("conversation", "position"), ("turn", "conversation"))
    for which in ("min", "max")
]
_EXTREME = "(SELECT {2}({1}) FROM {0})"
_EXTREMES = ", ".join(["SELECT (SELECT count(*) FROM conversation)", *(_EXTREME.format(*each) for each in _POSITIONS)])
_FAR_TURN = """
    SELECT repeat, turn FROM turn
    WHERE turn NOT BETWEEN 1 AND ? OR repeat NOT BETWEEN 1 AND ? OR typeof(turn) = 'real' LIMIT 1"""
_TURN = "'turn ' || turn || ' of conversation number ' || (conversation + 1) || ', repeat ' || repeat"
_PLACES = {
    "run": "'the run'",
    "session": "'session ' || id",
    "conversation": "'conversation number ' || (position + 1)",
    "turn": _TURN,
    "attempt": "'attempt ' || id",
    "score": f"'the score of ' || {_TURN}",
    "scoring": "'scoring ' || id",
    "corrected_row": "'the corrected row of conversation number ' || (conversation + 1)",
}
# SQL that is true for an invalid value of the right type
_RULES = {
    ("conversation", "turns"): f"turns NOT BETWEEN 1 AND {MOST_TURNS}",
    ("turn", "turn"): "turn < 1 "
    "OR coalesce(turn > (SELECT turns FROM conversation WHERE position = turn.conversation), 1)",
    ("turn", "status"): "status NOT IN ('answered', 'error') OR (status = 'error') <> (error_kind NOT NULL)",
    ("turn", "attempts"): "attempts < 0",
    ("attempt", "arrivals"): "length(arrivals) % 8 <> 0 OR length(arrivals) IS NOT 2 * length(arrival_events)",
    ("attempt", "connection_opened"): "connection_opened NOT IN (0, 1)",
    ("score", "value"): "value NOT BETWEEN 0 AND 1",
}


def guard(connection: sqlite3.Connection) -> None:
    """Restrict a database to holding rows with values of bounded size."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BYTES)
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")


def schema_fault(connection: sqlite3.Connection, version: int) -> str | None:
    """How the schema differs from that of its version; None: it is the same."""
    found = connection.execute("SELECT type, name, substr(sql, 1, 10000) FROM sqlite_schema LIMIT 100").fetchall()
    if found == _as_created(version):
        return None
    expected = {(kind, name): _normalised(sql) for kind, name, sql in _as_created(version)}
    for kind, name, sql in found:
        if (kind, name) not in expected:
            return f"it holds the {kind} {short(name)}, which no run file has"
        if _normalised(sql) != expected.pop((kind, name)):
            return f"its {kind} {name} differs from the one that evalkit creates"
    return f"it lacks the {' '.join(next(iter(expected)))}" if expected else None


@cache
def _as_created(version: int) -> list[tuple[str, str, str | None]]:
    """Type, name and SQL of each object in the schema of a version."""
    memory = sqlite3.connect(":memory:")
    migrations.migrate(memory, 0, to=version)
    found = memory.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()
    memory.close()
    return found


def _normalised(sql: Any) -> str:
    """SQL without differences in white space, which a tool may have changed."""
    return re.sub(r"\s*([(),])\s*", r"\1", " ".join(str(sql).split()))


def limits_fault(connection: sqlite3.Connection, size: int, version: int = migrations.VERSION) -> str | None:
    """Which table or number is too large for a file of ``size`` bytes; None: none is.

    It takes a twentieth of the time of a summary.
    """
    known = {name for _, name, _ in _as_created(version)}
    tables = [table for table in _ROW_BYTES if table in known]  # pages that refer to themselves make endless rows
    queries = (f"EXISTS (SELECT 1 FROM {table} LIMIT 1 OFFSET {size // _ROW_BYTES[table]})" for table in tables)  # noqa: S608
    for table, endless in zip(tables, connection.execute(f"SELECT {', '.join(queries)}").fetchone(), strict=True):
        if endless:
            return f"its table {table} has more rows than fit into it"
    started, *values = connection.execute(_EXTREMES).fetchone()
    for (table, column, _), value in zip(_POSITIONS, values, strict=True):
        if value is not None and not (type(value) is int and 0 <= value < started + _MOST_SKIPPED):
            return f"its table {table} has {column} {short(value)}, with {started:,} conversations in all"
    if far := connection.execute(_FAR_TURN, (MOST_TURNS, MOST_REPEATS)).fetchone():
        return (
            f"its table turn has repeat {short(far[0])} and turn {short(far[1])}: turns count from 1 to "
            f"{MOST_TURNS:,}, repeats from 1 to {MOST_REPEATS:,}"
        )
    return None


def values_fault(connection: sqlite3.Connection, size: int) -> str | None:
    """The first value that evalkit does not write, if the file is small; None: there is none, or the file is large."""
    return None if is_large(size) else first_value_fault(connection)


def is_large(size: int) -> bool:
    """Whether a file of ``size`` bytes is too large for a check of every value whenever it is opened."""
    return size > _SMALL


def first_value_fault(connection: sqlite3.Connection) -> str | None:
    """The first value that evalkit does not write; None: there is none."""
    for table, place in _PLACES.items():
        columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
        wrong = {column[1]: (column[0], _is_wrong(table, *column[1:4], key=column[5])) for column in columns}
        query = f"SELECT {place}, * FROM {table} WHERE {' OR '.join(sql for _, sql in wrong.values())} LIMIT 1"  # noqa: S608
        if (found := connection.execute(query).fetchone()) is None:
            continue
        for name, (number, sql) in wrong.items():
            query = f"SELECT {place} FROM {table} WHERE {sql} LIMIT 1"  # noqa: S608 - names of our own
            if (row := connection.execute(query).fetchone()) == found[:1]:
                return f"{row[0] or 'a row'} has {short(found[number + 1])} as its {name} in the table {table}"
        return f"a row of the table {table} holds an invalid value"
    return None


def _is_wrong(table: str, name: str, declared: str, required: int, *, key: int) -> str:
    """SQL for whether a value is invalid in its column."""
    wrong = f"typeof({name}) <> '{declared.lower()}'"
    if declared == "INTEGER":
        wrong += f" OR {name} NOT BETWEEN -{_SUMMABLE} AND {_SUMMABLE}"
    if (rule := _RULES.get((table, name))) is not None:
        wrong += f" OR {rule}"
    return f"({wrong})" if required or key else f"({name} NOT NULL AND ({wrong}))"


def short(value: Any) -> str:
    """A value for a message, shortened."""
    try:
        text = repr(value)
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:59]}…"
