"""The targets and scorers of a corrected dataset for the conversations of a run, if their questions are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from evalkit.conversation import Conversation, Turn, canonical
from evalkit.datasets import reader
from evalkit.datasets.content_parts import shown
from evalkit.datasets.dataset_file import form_suffix
from evalkit.errors import DatasetError
from evalkit.runfile.store import RunFile

_SHOWN = 80  # characters of a question that a message shows
_ADVICE = "only targets and scorers may differ. Restore the questions, or start a new run"
_PARTS = {
    "system": "system prompt",
    "context": "context",
    "tools": "tools",
    "tool_results": "tool results",
    "params": "parameters",
}


class CorrectedTargets(NamedTuple):
    """A corrected dataset: its path, and position and row of each conversation whose targets or scorers differ.

    A row is that of the run with other targets and scorers.
    """

    path: Path
    rows: Iterator[tuple[int, str]]


def read(runfile: RunFile, path: Path | str, check_turn: Callable[[Turn], None] | None) -> CorrectedTargets:
    """Read a corrected dataset, in whose order and number of other conversations a run may differ.

    Parameters
    ----------
    runfile : RunFile
    path : path-like
        Conversations are found by their ids. The run's ``columns`` apply to a file of the type of its dataset.
    check_turn : callable, optional
        As for ``datasets.reader.read``.

    Returns
    -------
    CorrectedTargets
        Its rows are read one at a time, and raise ``DatasetError`` for the first conversation of the run whose
        questions differ, and if one is missing.
    """
    return CorrectedTargets(Path(path), _rows(runfile, Path(path), check_turn))


def _rows(runfile: RunFile, path: Path, check_turn: Callable[[Turn], None] | None) -> Iterator[tuple[int, str]]:
    info = runfile.info()
    settings, dataset = info["settings"], info["dataset"]
    system, golden = settings.get("system"), settings.get("history") == "golden"
    same_type = form_suffix(path.name) == form_suffix(Path(dataset.get("path") or "").name)
    (missing,) = runfile.connection.execute("SELECT count(*) FROM conversation").fetchone()
    found = bytearray()  # by position
    for conversation in reader.read(
        path,
        columns=settings.get("columns") if same_type else None,
        own_system=system is not None,
        check_turn=check_turn,
    ):
        if missing == 0:
            return
        query = "SELECT position, row FROM conversation WHERE id = ?"
        if (stored := runfile.connection.execute(query, (conversation.id,)).fetchone()) is None:
            continue  # the run has not started it
        position, row = stored
        missing -= 1
        found.extend(bytes(max(position + 1 - len(found), 0)))
        found[position] = True
        if (corrected := _corrected(path, orjson.loads(row), _as_sent(conversation, system), golden)) is not None:
            yield position, corrected
    if missing:
        raise DatasetError(_missing(runfile, found), path=path)


def _as_sent(conversation: Conversation, system: str | None) -> Mapping[str, Any]:
    sent = conversation if system is None else conversation.with_system(system)
    row: Mapping[str, Any] = orjson.loads(sent.canonical)
    return row


def _corrected(path: Path, row: dict[str, Any], given: Mapping[str, Any], golden: bool) -> str | None:
    """The row of the run with the targets and scorers of another; None: it has them already."""
    for name, words in _PARTS.items():
        if row.get(name) != given.get(name):
            raise DatasetError(
                f"conversation {row['id']!r} differs from the run's in its {words}: {_ADVICE}", path=path
            )
    turns = []
    for number, (was, now) in enumerate(zip_longest(row["turns"], given["turns"]), 1):
        if (difference := _difference(was, now, golden and number < len(row["turns"]))) is not None:
            raise DatasetError(
                f"conversation {row['id']!r} differs from the run's in turn {number}: {difference}; {_ADVICE}",
                path=path,
            )
        kept = {key: value for key, value in was.items() if key not in ("target", "scorer")}
        turns.append(kept | {key: now[key] for key in ("target", "scorer") if key in now})
    return None if turns == row["turns"] else canonical({**row, "turns": turns}).decode()


def _difference(was: Mapping[str, Any] | None, now: Mapping[str, Any] | None, golden: bool) -> str | None:
    """How what was sent for a turn differs; ``golden``: later turns saw its golden answer."""
    if was is None:
        return "the run has no such turn"
    if now is None:
        return "the turn is missing"
    if was["user"] != now["user"]:
        asked, question = shown(was["user"]), shown(now["user"])
        if asked == question:
            return "its images or other parts are others"
        return "the question is {}, and was {}".format(*_where_they_part(question, asked))
    if golden and was.get("assistant") != now.get("assistant"):
        return "its golden answer, which later turns saw, is another"
    return None


def _where_they_part(*texts: str) -> Iterator[str]:
    """Both texts as a message shows them, with the first place at which they differ."""
    at = next((n for n, pair in enumerate(zip_longest(*texts)) if len(set(pair)) > 1), 0)
    begin = max(at - _SHOWN // 2, 0) if max(map(len, texts)) > _SHOWN else 0
    for text in texts:
        cut = text[begin : begin + _SHOWN]
        yield repr(f"{'…' if begin else ''}{cut}{'…' if begin + _SHOWN < len(text) else ''}")


def _missing(runfile: RunFile, found: bytearray) -> str:
    positions = runfile.connection.execute("SELECT position, id FROM conversation ORDER BY position")
    name = next(name for position, name in positions if not found[position : position + 1].strip(b"\0"))
    return f"has no conversation {name!r}, which the run has: {_ADVICE}"
