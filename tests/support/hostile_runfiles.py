"""Run files as a stranger might send them, each made from a good one; what is tried against evalkit's readers."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"
_TURN2 = "ALTER TABLE turn RENAME TO turn2;"
Change = Callable[[sqlite3.Connection], object]


def _script(sql: str) -> Change:
    return lambda connection: connection.executescript(sql)


def _view(sql: str) -> Change:
    """A view in place of the turns, of which ``{columns}`` are the names."""

    def change(connection: sqlite3.Connection) -> None:
        names = [row[1] for row in connection.execute("PRAGMA table_info(turn)")]
        big = ", ".join("hex(zeroblob(200000000)) AS answer" if name == "answer" else name for name in names)
        connection.executescript(_TURN2 + sql.format(columns=", ".join(names), big=big))

    return change


def _schema(old: str, new: str) -> Change:
    """The SQL of the schema written over, which no statement would do."""

    def change(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = replace(sql, ?, ?)", (old, new))
        (version,) = connection.execute("PRAGMA schema_version").fetchone()
        connection.execute(f"PRAGMA schema_version = {version + 1}")

    return change


def _nested(column: str, table: str, levels: int = 50_000) -> Change:
    return _script(f"UPDATE {table} SET {column} = replace(hex(zeroblob({levels})), '00', '[')")


def _trust(**parts: str) -> Change:
    """Parts of what the client records about itself, as JSON."""

    def change(connection: sqlite3.Connection) -> None:
        for name, value in parts.items():
            connection.execute("UPDATE session SET trust = json_set(trust, ?, json(?))", (f"$.{name}", value))

    return change


# more or other than tables of evalkit's
SCHEMAS: dict[str, Change] = {
    "a view without end": _view(f"CREATE VIEW turn AS {ENDLESS} SELECT {{columns}} FROM turn2, c WHERE x > 0"),
    "a view of huge answers": _view("CREATE VIEW turn AS SELECT {big} FROM turn2"),
    "a run without end": _script(
        "ALTER TABLE run RENAME TO run2; CREATE VIEW run AS "
        f"{ENDLESS} SELECT name, created_ns, settings, dataset, endpoint, scoring FROM run2, (SELECT max(x) FROM c)"
    ),
    "a trigger that names another host": _script(
        "CREATE TRIGGER t AFTER INSERT ON turn BEGIN "
        "UPDATE run SET endpoint = json_set(endpoint, '$.base_url', 'http://127.0.0.1:9/v1'); END"
    ),
    "a trigger without end": _script(
        "CREATE TRIGGER t AFTER INSERT ON session BEGIN "
        f"DELETE FROM turn WHERE attempts IN ({ENDLESS} SELECT x FROM c); END"
    ),
    "an index without end": _script("CREATE INDEX i ON turn (hex(zeroblob(1000)))"),
    "a partial index": _script("CREATE INDEX i ON turn (answer) WHERE status = 'answered'"),
    "a virtual table": _script("CREATE VIRTUAL TABLE words USING fts5 (text)"),
    "a generated column": _script("ALTER TABLE run ADD COLUMN later TEXT AS (hex(zeroblob(1000)))"),
    "a table more": _script("CREATE TABLE more (x)"),
    "a table less": _script("DROP TABLE attempt"),
    "a column more": _script("ALTER TABLE turn ADD COLUMN x"),
    "a column less": _script("ALTER TABLE score DROP COLUMN parts"),
    "a turn with a rowid": _schema("PRIMARY KEY (conversation, repeat, turn)) WITHOUT ROWID", "x UNIQUE)"),
    "a check without end": _schema("token_source TEXT NOT NULL", "token_source TEXT NOT NULL CHECK (1)"),
    "a column of another type": _schema("answer TEXT", "answer BLOB"),
    "a schema that is none": _schema("CREATE TABLE turn", "CREATE TABEL turn"),
    "version -1": _script("PRAGMA user_version = -1"),
    "version -2147483648": _script("PRAGMA user_version = -2147483648"),
    "version 2147483647": _script("PRAGMA user_version = 2147483647"),
    "an older version that it is not": _script("PRAGMA user_version = 1"),
}
# the tables are evalkit's, and what they hold is not
VALUES: dict[str, Change] = {
    "no run": _script("DELETE FROM run"),
    "two runs": _script("INSERT INTO run SELECT * FROM run"),
    "settings of brackets": _nested("settings", "run"),
    "an endpoint of brackets": _nested("endpoint", "run"),
    "settings that are a list": _script("UPDATE run SET settings = '[]'"),
    "a dataset that is a number": _script("UPDATE run SET dataset = '7'"),
    "turns that are text": _script("UPDATE run SET dataset = json_set(dataset, '$.turns', 'AAAAAAAAAA')"),
    "two billion repeats": _script("UPDATE run SET settings = json_set(settings, '$.repeats', 2000000000)"),
    "1e300 repeats": _script("UPDATE run SET settings = json_set(settings, '$.repeats', 1e300)"),
    "a billion at once": _script("UPDATE run SET settings = json_set(settings, '$.concurrency', 1000000000)"),
    "a price that is text": _script("UPDATE run SET settings = json_set(settings, '$.price', json('[\"a\", 1]'))"),
    "an infinite price": _script(
        "UPDATE run SET settings = replace(settings, '\"price\": null', '\"price\": [1e999, 0]')"
    ),
    "a time limit that is text": _script("UPDATE run SET endpoint = json_set(endpoint, '$.timeout_s', 'long')"),
    "parameters that are a list": _script("UPDATE run SET endpoint = json_set(endpoint, '$.params', json('[1]'))"),
    "half a character": _script("UPDATE run SET endpoint = json_set(endpoint, '$.model', json('\"\\ud800\"'))"),
    "a NUL in the path": _script("UPDATE run SET dataset = json_set(dataset, '$.path', 'a' || char(0) || 'b')"),
    "a name of bytes": _script("UPDATE run SET name = x'ff00'"),
    "turn a billion": _script("UPDATE turn SET turn = 1000000000 WHERE turn = 2"),
    "turn 1.5": _script("UPDATE turn SET turn = 1.5 WHERE turn = 2"),
    "turn -1": _script("UPDATE turn SET turn = -1 WHERE turn = 1"),
    "turn 3 of 2": _script("UPDATE turn SET turn = 3 WHERE turn = 2"),
    "repeat 2**62": _script("UPDATE turn SET repeat = 4611686018427387904"),
    "position 2**62": _script("UPDATE conversation SET position = 4611686018427387904 WHERE position = 1"),
    "a conversation of a billion turns": _script("UPDATE conversation SET turns = 1000000000"),
    "text for a time": _script("UPDATE turn SET latency_ns = 'late'"),
    "a latency without end": _script("UPDATE turn SET latency_ns = 9e999"),
    "a first token that never was": _script("UPDATE turn SET ttft_ns = -9e999"),
    "bytes for an answer": _script("UPDATE turn SET answer = x'00ff'"),
    "text that is no UTF-8": _script("UPDATE turn SET answer = CAST(x'ff80ff' AS TEXT)"),
    "tokens without end": _script("UPDATE turn SET prompt_tokens = 9223372036854775807"),
    "a status of its own": _script("UPDATE turn SET status = 'fine' WHERE turn = 1"),
    "arrivals too short": _script("UPDATE attempt SET arrivals = x'0102'"),
    "arrivals too long": _script("UPDATE attempt SET arrivals = zeroblob(1000000) WHERE id = 1"),
    "calls that are numbers": _script("UPDATE turn SET tool_calls = '[7]'"),
    "calls of brackets": _nested("tool_calls", "turn"),
    "an exchange that is an object": _script("UPDATE turn SET exchange = '{\"a\": 1}'"),
    "a row that is no JSON": _script("UPDATE conversation SET row = '{'"),
    "half a character in a row": _script(
        'UPDATE conversation SET row = replace(row, \'"user":"\', \'"user":"\\ud800\')'
    ),
    "a target that is no number": _script(
        'UPDATE conversation SET row = replace(row, \'"target":\', \'"target":NaN,"target":\')'
    ),
    "a row of brackets": _nested("row", "conversation"),
    "a row without turns": _script('UPDATE conversation SET row = \'{"id": "x", "turns": []}\''),
    "a row deep in itself": _script(
        "UPDATE conversation SET row = json_set(row, '$.tags', "
        "json(replace(hex(zeroblob(900)), '00', '[') || replace(hex(zeroblob(900)), '00', ']')))"
    ),
    "tags that are none": _script("UPDATE conversation SET tags = '7'"),
    "a score of 1e308": _script("UPDATE score SET value = 1e308"),
    "a score of text": _script("UPDATE score SET value = 'good'"),
    "what a score extracted in brackets": _nested("extracted", "score"),
    "half a character that a score extracted": _script("UPDATE score SET extracted = '\"\\ud800\"'"),
    "a session of text": _script("UPDATE session SET started_mono_ns = 'now'"),
    "a session that knows nothing of itself": _script("UPDATE session SET about = '[]', trust = '[]'"),
    "clocks of another age": _script("UPDATE session SET started_wall_ns = -9000000000000000000, ended_mono_ns = 9e18"),
    "trust that is text": _script("UPDATE session SET trust = json_set(trust, '$.loop_lag_p99_ms', 'low')"),
    "a scoring that is not there": _script("UPDATE run SET scoring = 77"),
    "a scoring of text": _script("UPDATE run SET scoring = 'best'"),
    "a judge that is a list": _script(
        "INSERT INTO scoring VALUES (1, 1, 2, 'null', '{}', '[]', 0, NULL); UPDATE run SET scoring = 1"
    ),
}
_TRUST = {
    "cluster": ("{}", "5", "[]", '{"workers":"x","workers_lost":null,"turns_sent_again":1}'),
    "function_calls": ("{}", "[1]", '{"calls":1,"wait_ms":{}}', '{"calls":null,"wait_ms":{"max":1}}'),
    "stalls": ("[5]", "[[1]]", "[[1,2,3]]", "7", '{"a":[1,2]}', "[[1,null]]"),
    "loop_lag_p99_ms": ("[]", "{}"),
    "gc_pauses": ("[1]", "{}"),
    "cpu_share": ("[]",),
}
# what the client records about itself is numbers, but not as it records them
TRUST: dict[str, Change] = {
    f"trust with {name} {number}": _trust(**{name: value})
    for name, values in _TRUST.items()
    for number, value in enumerate(values)
}
# nothing is wrong with them but what they would do
HARMLESS: dict[str, Change] = {
    "a name that leads elsewhere": _script("UPDATE run SET name = '../../../../elsewhere/NAME'"),
    "a name with a NUL": _script("UPDATE run SET name = 'a' || char(0, 27) || '[2Jb'"),
    "trust of a cluster with functions": _trust(
        cluster='{"workers":2,"turns_by_worker":[3,4],"clock_error_max_ms":null,"workers_lost":0,"turns_sent_again":0}',
        function_calls='{"calls":3,"at_once":64,"wait_ms":{"p50":0.1,"p99":0.2,"max":0.2}}',
        stalls="[[-5,9000000000000000000]]",
    ),
    "an answer with NULs": _script("UPDATE turn SET answer = 'a' || char(0) || 'b'"),
}


def make(good: Path, where: Path, changes: dict[str, Change]) -> Iterator[Path]:
    """A file for each change, called by it."""
    for name, change in changes.items():
        path = where / f"{name.replace(' ', '-').replace('*', '')}.evalkit"
        shutil.copy(good, path)
        connection = sqlite3.connect(path)
        change(connection)
        connection.commit()
        connection.close()
        yield path
