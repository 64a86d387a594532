"""Run files to compare, made from turns that a test writes down."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from runfiles import S, T, talk, write


def run(path: Path, turns, conversations=(), **about) -> Path:
    """A run file of these turns; ``dataset``, ``settings`` and ``endpoint`` change what it says of itself."""
    write(path, [S(turns)], conversations)
    return said(path, **about)


def said(path: Path, **about) -> Path:
    """Change what a run file says of itself."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for column, changes in about.items():
            (text,) = connection.execute(f"SELECT {column} FROM run").fetchone()
            connection.execute(f"UPDATE run SET {column} = ?", (json.dumps({**json.loads(text), **changes}),))
    return path


def answers(scores, turns=1, **more):
    """A conversation c0, c1, … for every ``turns`` scores."""
    return [T(f"c{n // turns:03}", n % turns + 1, score=score, **more) for n, score in enumerate(scores)]


def timed(scores, latency_ms):
    """Conversations of one turn whose latencies vary by a few percent."""
    return [
        T(f"c{n:03}", 1, score=score, latency_ms=latency_ms + (n + latency_ms // 100) * 7 % 11)
        for n, score in enumerate(scores)
    ]


def two(folder: Path, first, second, turns=1, **more) -> tuple[Path, Path]:
    """Two runs with these scores."""
    return (
        run(folder / "a.evalkit", answers(first, turns), **more),
        run(folder / "b.evalkit", answers(second, turns), **more),
    )


def tagged(count: int, tags: int):
    """Conversations of one turn, each with a tag."""
    return [talk(f"c{n:03}", targets=(1,), tags=(f"t{n % tags:03}",)) for n in range(count)]
