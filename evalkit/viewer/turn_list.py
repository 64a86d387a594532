"""The turns of a run as the page lists them: filtered, searched and sorted here, and fetched in pieces.

The keys of the turns that match are kept in memory, 24 bytes a turn, for the last few selections; a piece is read by
its keys. All turns in their own order need no such keys: the file has them in this order.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from evalkit.comparing import pairing, shared_conversations
from evalkit.runfile import query_arrays, reader
from evalkit.runfile.schema import JOIN_CORRECTED, JOIN_SCORE, ROW
from evalkit.runfile.turn_columns import OUTCOME, model_texts
from evalkit.stats.arrays import Whole

STATUSES = "rpweu"  # right, partly right, wrong, failed, unscored: as in a report
_REMEMBERED = 4  # selections
_MOST_SEARCHED = 1_000  # characters of a search
_BRIEF = 200  # characters of a text in the list
_STATUS = """CASE WHEN t.status = 'error' THEN 'e' WHEN s.value IS NULL THEN 'u' WHEN s.value >= 1 THEN 'r'
    WHEN s.value <= 0 THEN 'w' ELSE 'p' END"""
_USER = f"json_extract({ROW}, '$.turns[' || (t.turn - 1) || '].user')"
_SEARCHED = ("c.id", _USER, "t.answer", "t.refusal", "t.reasoning", "t.error_message", "s.reason")
_SORTS = {"order": "", "latency": "t.latency_ns", "ttft": "t.ttft_ns", "score": "s.value"}
_FROM = f"FROM turn t JOIN conversation c ON c.position = t.conversation {JOIN_SCORE} {JOIN_CORRECTED}"
_PIECE = f"""
    SELECT c.id, t.repeat, t.turn, {_STATUS}, s.value, t.latency_ns, t.ttft_ns, {_USER}, t.answer, t.refusal,
      t.reasoning, t.error_kind || ': ' || t.error_message, {OUTCOME}
    FROM json_each(?) key CROSS JOIN turn t
        ON (t.conversation, t.repeat, t.turn) = (key.value ->> 0, key.value ->> 1, key.value ->> 2)
      JOIN conversation c ON c.position = t.conversation {JOIN_SCORE} {JOIN_CORRECTED}
    ORDER BY key.key"""  # noqa: S608 - SQL of our own
_ALL = "SELECT count(*) FROM turn"
_IN_ORDER = """
    SELECT conversation, repeat, turn FROM turn
    ORDER BY conversation {0}, repeat {0}, turn {0} LIMIT ? OFFSET ?"""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which turns are listed, and in which order.

    Parameters
    ----------
    statuses : str
        Letters of ``STATUSES``; empty: all.
    tag : str
        Of their conversations; empty: any.
    turn : int
        The turn index; 0: any.
    search : str
        What the id, the question, the answer, the error or the scorer's reason contains, in any case.
    sort : str
        ``order`` (of the dataset), ``latency``, ``ttft`` or ``score``; missing values are last.
    descending : bool
    other : Path or None
        Another run: only turns that both have scored, differently.

    Raises
    ------
    ValueError
        There is no such status or order, or the search is too long.
    """

    statuses: str = ""
    tag: str = ""
    turn: int = 0
    search: str = ""
    sort: str = "order"
    descending: bool = False
    other: Path | None = None

    def __post_init__(self) -> None:
        if unknown := set(self.statuses) - set(STATUSES):
            raise ValueError(f"there is no status {min(unknown)!r}")
        if self.sort not in _SORTS:
            raise ValueError(f"there is no order {self.sort!r}")
        if len(self.search) > _MOST_SEARCHED:
            raise ValueError(f"a search has at most {_MOST_SEARCHED:,} characters")


def state(path: Path) -> tuple[int, ...]:
    """What changes when a run file does: sizes and times of the file and its log."""
    found = []
    for part in (path, Path(f"{path}-wal")):
        try:
            status = part.stat()
        except OSError:
            found += [0, 0]
        else:
            found += [status.st_size, status.st_mtime_ns]
    return tuple(found)


def piece(path: Path, selection: Selection, begin: int, count: int) -> dict[str, Any]:
    """The rows from ``begin`` on of the turns that are selected.

    Returns
    -------
    dict
        ``all``, the turns of the run; ``total``, those selected; ``rows``, with times in ms and the beginnings of
        question and answer.

    Raises
    ------
    RunFileError
        A file cannot be read as a run file, or the two share no conversation.
    """
    other = () if selection.other is None else state(selection.other)
    own, keys = state(path), None
    if selection == Selection(descending=selection.descending):
        total = turns = _count(path, own)
    else:
        keys, turns = _keys(path, selection, own, other)
        total = len(keys)
    with reader.reading(path) as connection:
        if keys is not None:
            piece_keys = keys[begin : begin + count].tolist()
        else:
            in_order = _IN_ORDER.format("DESC" if selection.descending else "ASC")
            piece_keys = connection.execute(in_order, (count, begin)).fetchall()
        rows = [_row(*row) for row in connection.execute(_PIECE, (orjson.dumps(piece_keys).decode(),))]
    return {"all": turns, "total": total, "from": begin, "rows": rows}


@lru_cache(_REMEMBERED)
def _count(path: Path, own: tuple[int, ...]) -> int:
    """The number of all turns."""
    with reader.reading(path) as connection:
        return int(connection.execute(_ALL).fetchone()[0])


@lru_cache(_REMEMBERED)
def _keys(path: Path, selection: Selection, own: tuple[int, ...], other: tuple[int, ...]) -> tuple[Whole, int]:
    """Conversation, repeat and turn of each selected turn, shape (n, 3), and the number of all turns."""
    with reader.reading(path) as connection:
        where, values = _conditions(connection, selection)
        order, direction = _SORTS[selection.sort], "DESC" if selection.descending else "ASC"
        ordered = f"{order} IS NULL, {order} {direction}, " if order else ""
        places = ", ".join(f"t.{name} {'ASC' if order else direction}" for name in ("conversation", "repeat", "turn"))
        query = f"SELECT t.conversation, t.repeat, t.turn {_FROM} {where} ORDER BY {ordered}{places}"
        parts = list(query_arrays.groups(connection.execute(query, values), ("i8", "i8", "i8")))
        columns = [np.concatenate([part[n] for part in parts] or [np.empty(0, np.int64)]) for n in range(3)]
        keys = np.stack(columns, axis=1)
        if selection.other is not None:
            keys = keys[_scored_differently(connection, selection.other, keys)]
    return keys, _count(path, own)


def _conditions(connection: sqlite3.Connection, selection: Selection) -> tuple[str, list[Any]]:
    """SQL for the selected turns, and its values."""
    conditions, values = [], list[Any]()
    if selection.statuses:
        conditions.append(f"instr(?, {_STATUS})")
        values.append(selection.statuses)
    if selection.turn:
        conditions.append("t.turn = ?")
        values.append(selection.turn)
    if selection.tag:
        conditions.append("EXISTS (SELECT 1 FROM json_each(c.tags) WHERE value = ?)")
        values.append(selection.tag)
    if needle := selection.search.strip().casefold():
        connection.create_function(
            "is_found", -1, lambda *texts: any(type(text) is str and needle in text.casefold() for text in texts)
        )
        conditions.append(f"is_found({', '.join(_SEARCHED)})")
    return (f"WHERE {' AND '.join(conditions)}" if conditions else ""), values


def _scored_differently(first: sqlite3.Connection, path: Path, keys: Whole) -> Any:
    """Which of these turns the two runs have scored differently."""
    with reader.reading(path) as second:
        about = reader.run_info(first), reader.run_info(second)
        shared = shared_conversations.shared_conversations(first, second, about, common=True)
        single = pairing.pair_turns(first, second, shared, averaged=False).single
    differ = ~(np.isnan(single.first) | np.isnan(single.second)) & (single.first != single.second)
    found = np.stack([shared.first[single.conversation], single.repeat, single.turn], axis=1)[differ]
    most = np.max(np.concatenate([keys, found, np.zeros((1, 3), np.int64)]), axis=0) + 1
    return np.isin(*((part[:, 0] * most[1] + part[:, 1]) * most[2] + part[:, 2] for part in (keys, found)))


def _row(
    conversation: str, repeat: int, turn: int, status: str, score: float | None, latency: int | None,
    ttft: int | None, user: str | None, answer: str | None, refusal: str | None, reasoning: str | None,
    error: str | None, outcome: str,
) -> dict[str, Any]:  # fmt: skip
    texts = dict(model_texts(outcome, answer, refusal, reasoning))
    shown = next((texts[name] for name in ("answer", "refusal", "reasoning") if texts.get(name)), "")
    return {
        "id": conversation,
        "repeat": repeat,
        "turn": turn,
        "status": status,
        "score": score,
        "latency": None if latency is None else latency / 1e6,
        "ttft": None if ttft is None else ttft / 1e6,
        "user": (user or "")[:_BRIEF],
        "output": (error or shown)[:_BRIEF],
    }
