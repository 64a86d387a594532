"""The command that makes a scoring of a run again, by scorers or by a judge."""

from __future__ import annotations

import shlex
import sqlite3
from pathlib import Path
from typing import Any

import orjson

from evalkit.judging.rubric import BUILT_IN


def command_of(connection: sqlite3.Connection, number: int, path: Path) -> str:
    """The command that makes a scoring again, other than the run's own; it does only that, whatever the file holds."""
    query = "SELECT scorer, judge, targets FROM scoring WHERE id = ?"
    scorer, judge, targets = connection.execute(query, (number,)).fetchone()
    if judge is not None:
        return shlex.join(["evalkit", "judge", str(path), *_flags_of_judge(orjson.loads(judge))])
    named = orjson.loads(scorer)
    flags = [_flag_of(part) for part in (named if isinstance(named, list) else [named] if named else [])]
    if None in flags:  # only Python can pass options
        corrected = f", targets={targets!r}" if targets else ""
        return f"evalkit.Run({str(path)!r}).score(scorer=…{corrected}), in Python"
    words = [word for flag in flags for word in ("--scorer", str(flag))] + (["--targets", targets] if targets else [])
    return shlex.join(["evalkit", "score", str(path), *words])


def _flags_of_judge(judge: dict[str, Any]) -> list[str]:
    rubric = judge["rubric"] if judge["rubric"] in BUILT_IN else "FILE.toml"
    where = ["--base-url", judge["base_url"], "--model", judge["model"]] if judge["base_url"] else []
    return ["--rubric", rubric, *where]


def _flag_of(scorer: Any) -> str | None:
    """A scorer as ``--scorer`` accepts it; None if it has options, which only Python can pass."""
    if isinstance(scorer, str):
        return scorer
    return f"{scorer['name']}={scorer['weight']:g}" if scorer.keys() == {"name", "weight"} else None
