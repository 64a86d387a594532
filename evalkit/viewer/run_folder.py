"""What the page asks of a folder of runs: its files, a line of each, their turns in pieces, and conversations.

Only run files that lie in the folder itself are read: a name with a path, or a link that leads out of it, is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from evalkit.analysis import run_list
from evalkit.errors import RunFileError
from evalkit.report import transcript_data
from evalkit.runfile import reader
from evalkit.viewer import turn_list
from evalkit.viewer.turn_list import Selection
from evalkit.wording.numbers import share_with_interval
from evalkit.wording.run_outcome import run_outcome

MOST_LINES = 50  # of one answer
MOST_ROWS = 500
_MOST_TAGS = 1_000
_REMEMBERED = 2_000  # lines of runs
_TAGS = (
    f"SELECT DISTINCT value FROM conversation, json_each(tags) WHERE tags NOT NULL ORDER BY value LIMIT {_MOST_TAGS}"  # noqa: S608
)
_MOST_TURNS = 1_000
_TURNS = "SELECT max(turns) FROM conversation"
_POSITION = "SELECT position FROM conversation WHERE id = ?"

Query = Mapping[str, Sequence[str]]


class NotThere(Exception):
    """The page asks for something that the folder does not have."""


class RunFolder:
    """A folder of runs, read again for every answer, since runs may be in progress.

    Raises
    ------
    SettingsError
        There is no such folder.
    """

    def __init__(self, folder: Path | str) -> None:
        self.path = Path(folder)
        run_list.run_files(self.path)  # raises for what is no folder
        self._resolved = self.path.resolve()
        self._answers: dict[str, Callable[[Query], object]] = {
            "files": self._files,
            "lines": self._lines,
            "labels": self._labels,
            "turns": self._turns,
            "conversation": self._conversation,
        }

    def answer(self, name: str, query: Query) -> object:
        """The answer to a request of the page, as JSON values.

        Raises
        ------
        NotThere
            There is no such request, run or conversation.
        InputError, ValueError
            A value of the query, or a run file, cannot be used.
        """
        if (found := self._answers.get(name)) is None:
            raise NotThere(f"there is no {name!r}")
        return found(query)

    def _files(self, query: Query) -> object:
        """The names of the run files, the newest first, and of the newest that can be read."""
        paths = [path for path in run_list.run_files(self.path) if self._is_inside(path)]
        paths.sort(key=lambda path: turn_list.state(path)[1], reverse=True)
        names = [_utf8(path.name) for path in paths]
        return {"folder": str(self.path), "files": names, "newest": next(filter(self._is_readable, names), None)}

    def _is_readable(self, name: str) -> bool:
        try:
            with reader.reading(self._path(name)):
                return True
        except (RunFileError, NotThere):
            return False

    def _lines(self, query: Query) -> object:
        names = query.get("run", ())
        if len(names) > MOST_LINES:
            raise ValueError(f"{len(names)} lines are asked for, and one answer has at most {MOST_LINES}")
        return [self._line(name) for name in names]

    def _line(self, name: str) -> dict[str, Any]:
        try:
            path = self._path(name)
            return {"name": name, **_line(path, turn_list.state(path))}
        except (RunFileError, NotThere) as error:
            return {"name": name, "error": str(error)}

    def _labels(self, query: Query) -> object:
        with reader.reading(self._path(_one(query, "run"))) as connection:
            return {
                "tags": [str(tag) for (tag,) in connection.execute(_TAGS)],
                "turns": list(range(1, min(connection.execute(_TURNS).fetchone()[0] or 0, _MOST_TURNS) + 1)),
            }

    def _turns(self, query: Query) -> object:
        path, other = self._path(_one(query, "run")), _one(query, "other", "")
        selection = Selection(
            statuses="".join(sorted(set(_one(query, "status", "")))),
            tag=_one(query, "tag", ""),
            turn=_number(query, "turn", 0),
            search=_one(query, "search", ""),
            sort=_one(query, "sort", "order"),
            descending=_one(query, "descending", "") == "1",
            other=self._path(other) if other else None,
        )
        begin, count = _number(query, "from", 0), min(_number(query, "count", MOST_ROWS), MOST_ROWS)
        return turn_list.piece(path, selection, begin, count)

    def _conversation(self, query: Query) -> object:
        name, conversation = _one(query, "run"), _one(query, "id")
        with reader.reading(self._path(name)) as connection:
            found = connection.execute(_POSITION, (conversation,)).fetchone()
            return transcript_data.conversation(connection, None if found is None else found[0])

    def _path(self, name: str) -> Path:
        path = self.path / name
        if Path(name).name != name or "\0" in name or not self._is_inside(path):
            why = ": its name is not UTF-8, rename it" if "\ufffd" in name else ""
            raise NotThere(f"the folder has no run file {name!r}{why}")
        return path

    def _is_inside(self, path: Path) -> bool:
        return run_list.is_listed(path) and path.resolve().parent == self._resolved


@lru_cache(_REMEMBERED)
def _line(path: Path, state: tuple[int, ...]) -> dict[str, Any]:
    """A run in one line, with texts for its numbers; ``state`` changes when the file does."""
    run = run_list.read_line(path)
    mean = run.accuracy.mean
    outcome = run_outcome(run.outcome, turns=run.turns, answered=run.answered, planned=run.planned)
    return {
        **run.to_json(),
        "shown_accuracy": share_with_interval(mean.value, mean.low, mean.high),
        "shown_outcome": outcome,
    }


def _utf8(name: str) -> str:
    """A file's name as a browser can send it back; bytes that are not UTF-8 are replaced."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


def _one(query: Query, name: str, default: str | None = None) -> str:
    values = query.get(name, ())
    if len(values) == 1:
        return values[0]
    if values or default is None:
        raise ValueError(f"{name} must be given once")
    return default


def _number(query: Query, name: str, default: int) -> int:
    text = _one(query, name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise ValueError(f"{name} must be a whole number of 0 or more")
    return int(text)
