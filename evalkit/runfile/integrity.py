"""Whether a file is a run file and no more: it may come from a stranger, and a database can do more than hold rows.

At each opening the schema must be exactly that of its version. When turns are read, the numbers that arrays and loops
are made of must be in range, and no table may have more rows than fit into the file. Every single value is looked at in
a small file, and in a larger one when reading it has failed: then this names the value that is at fault.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from functools import cache
from typing import Any

from evalkit.runfile import schema

MOST_TURNS = 100_000  # of one conversation
MOST_REPEATS = 1_000_000  # as many has a step of a load test that time alone ends
_MOST_SKIPPED = 1_000_000  # conversations in flight while later ones have ended
_MOST_BYTES = 256 * 2**20  # of one value
_SMALL = 4 * 2**20  # bytes of a file in which every value is looked at
_SUMMABLE = 2**62  # the sum of two must not overflow

# the least that a row takes: its length, its key, and a byte for each column
_ROW_BYTES = {"session": 8, "conversation": 6, "attempt": 20, "score": 6, "scoring": 6}
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
}
# SQL for what a value of the right type must not be
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
    """Let a database do no more than hold rows, whose values are bounded."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BYTES)
    if sys.version_info >= (3, 12):
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")


def schema_fault(connection: sqlite3.Connection, version: int) -> str | None:
    """How the schema differs from that of its version; None: it does not."""
    expected = dict(_objects(version))
    found = connection.execute("SELECT type, name, substr(sql, 1, 10000) FROM sqlite_schema LIMIT 100").fetchall()
    for kind, name, sql in found:
        if (kind, name) not in expected:
            return f"it holds the {kind} {short(name)}, which no run file has"
        if _plain(sql) != expected.pop((kind, name)):
            return f"its {kind} {name} is not as evalkit makes it"
    return f"it lacks the {' '.join(next(iter(expected)))}" if expected else None


@cache
def _objects(version: int) -> tuple[tuple[tuple[str, str], str], ...]:
    """(type, name) and SQL of what the schema of this version holds."""
    memory = sqlite3.connect(":memory:")
    schema.migrate(memory, 0, to=version)
    found = memory.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()
    memory.close()
    return tuple(((kind, name), _plain(sql)) for kind, name, sql in found)


def _plain(sql: Any) -> str:
    """SQL without the blanks that a tool may have changed."""
    return re.sub(r"\s*([(),])\s*", r"\1", " ".join(str(sql).split()))


def limits_fault(connection: sqlite3.Connection, size: int) -> str | None:
    """Which table or number is too large for a file of so many bytes; None: none is.

    It takes a twentieth of the time that a summary takes.
    """
    known = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    for table in sorted(_ROW_BYTES.keys() & known):  # pages that lead back to themselves make rows without end
        query = f"SELECT 1 FROM {table} LIMIT 1 OFFSET ?"  # noqa: S608 - names of our own
        if connection.execute(query, (size // _ROW_BYTES[table],)).fetchone():
            return f"its table {table} has more rows than fit into it"
    (begun,) = connection.execute("SELECT count(*) FROM conversation").fetchone()
    for table, column in (("conversation", "position"), ("turn", "conversation")):
        for which in ("min", "max"):
            query = f"SELECT {which}({column}) FROM {table}"  # noqa: S608 - names of our own
            (value,) = connection.execute(query).fetchone()
            if value is not None and not (type(value) is int and 0 <= value < begun + _MOST_SKIPPED):
                return f"its table {table} has {column} {short(value)}, with {begun:,} conversations in all"
    if far := connection.execute(_FAR_TURN, (MOST_TURNS, MOST_REPEATS)).fetchone():
        return f"its table turn has repeat {short(far[0])} and turn {short(far[1])}, and both count from 1 to 100,000"
    return None


def values_fault(connection: sqlite3.Connection, size: int) -> str | None:
    """Which single value is none that evalkit writes, if the file is small; None: none is, or it is large."""
    return first_value_fault(connection) if size <= _SMALL else None


def first_value_fault(connection: sqlite3.Connection) -> str | None:
    """Which single value is none that evalkit writes; None: none is."""
    for table, place in _PLACES.items():
        columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
        wrong = {column[1]: (column[0], _wrong(table, *column[1:4], key=column[5])) for column in columns}
        query = f"SELECT {place}, * FROM {table} WHERE {' OR '.join(sql for _, sql in wrong.values())} LIMIT 1"  # noqa: S608
        if (found := connection.execute(query).fetchone()) is None:
            continue
        for name, (number, sql) in wrong.items():
            query = f"SELECT {place} FROM {table} WHERE {sql} LIMIT 1"  # noqa: S608 - names of our own
            if (there := connection.execute(query).fetchone()) == found[:1]:
                return f"{there[0] or 'a row'} has {short(found[number + 1])} as its {name} in the table {table}"
        return f"a row of the table {table} holds what it cannot"
    return None


def _wrong(table: str, name: str, declared: str, required: int, *, key: int) -> str:
    """SQL for whether a value is none of its column's."""
    wrong = f"typeof({name}) <> '{declared.lower()}'"
    if declared == "INTEGER":
        wrong += f" OR {name} NOT BETWEEN -{_SUMMABLE} AND {_SUMMABLE}"
    if (rule := _RULES.get((table, name))) is not None:
        wrong += f" OR {rule}"
    return f"({wrong})" if required or key else f"({name} NOT NULL AND ({wrong}))"


def short(value: Any) -> str:
    """A value in a message, cut."""
    try:
        text = repr(value)
    except RecursionError:
        return f"a {type(value).__name__} in itself many times"
    return text if len(text) <= 60 else f"{text[:59]}…"
