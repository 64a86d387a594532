"""The dataset of a run: what was checked is what is sent, in every session and at every opening of the file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit.conversation import Conversation
from evalkit.datasets import reader as datasets_reader
from evalkit.errors import DatasetError, RunFileError, SettingsError
from evalkit.runfile import store
from evalkit.settings import Settings

LOOK_S = 0.001  # between two looks at the file while it is read

Fingerprint = Mapping[str, Any]  # what the run file keeps of its dataset


class CheckedDataset:
    """A dataset that is read while its conversations are sent.

    Before a file is read, and all the while, its size and its time of change are compared with what they were when it
    was checked, and where they differ, its content. No conversation is read that was not checked.

    Parameters
    ----------
    path : Path
    settings : Settings
    known : mapping
        What the run file keeps of it; empty: nothing to compare with.
    """

    def __init__(self, path: Path, settings: Settings, known: Fingerprint) -> None:
        self._path, self._settings = path, settings
        self._hash: str | None = known.get("hash")
        self._state = {name: known[name] for name in ("size", "changed_ns") if known.get(name) is not None}
        most = [count for count in (settings.limit, known.get("conversations")) if count is not None]
        self._limit = min(most, default=None)
        self._rows: list[bytes] | None = None

    def read(self, start: int) -> Iterator[tuple[int, Conversation]]:
        """Conversations with their places, from one on.

        Raises
        ------
        DatasetError
            The file is not what it was, or cannot be read.
        """
        settings = self._settings
        self._see_that_it_is_the_same()
        if self._rows is None and settings.repeats > 1:
            self._rows = datasets_reader.rows_of_list(
                self._path, self._limit
            )  # parsed once, and not while answers come
        conversations = datasets_reader.read(
            self._path,
            columns=settings.columns,
            limit=self._limit,
            history=settings.history,
            start=start,
            unique=False,
            rows=self._rows,
        )
        looked = time.perf_counter()
        for position, conversation in enumerate(conversations, start):
            if time.perf_counter() - looked > LOOK_S:
                self._see_that_it_is_the_same()
                looked = time.perf_counter()
            yield position, conversation
        self._see_that_it_is_the_same()

    def _see_that_it_is_the_same(self) -> None:
        if not self._state:
            return
        now = _state(self._path)
        if now == self._state:
            return
        if self._hash is not None and now["size"] is not None and self._hash == _checked(self._path, self._settings):
            self._state = now  # only written again
            return
        was, size = self._state["size"], now["size"]
        how = "is gone" if size is None else f"has changed: it had {was:,} bytes and now has {size:,}"
        if size == was:
            how = "has changed"
        raise DatasetError(
            f"{how} since it was checked for this run, which ends here. What was answered is kept: "
            "put the old file back and resume, or start a new run",
            path=self._path,
        )


def fingerprint(
    path: Path, settings: Settings, *, check: bool, check_turn: Any = None
) -> tuple[dict[str, Any], int | None]:
    """What the run file keeps of a dataset, and the number of turns to ask; None: not checked.

    Parameters
    ----------
    path : Path
    settings : Settings
    check : bool
        Read it as a whole.
    check_turn : callable, optional
        ``scorers.turn_checker``: what cannot be scored is refused.
    """
    known = {"path": str(path.resolve()), "hash": None, "conversations": None, "turns": None, **_state(path)}
    if not check:
        if settings.until_ci is not None:
            raise SettingsError("until_ci needs the dataset to be read first: leave it to be checked")
        return known, None
    summary = datasets_reader.check(
        path, columns=settings.columns, limit=settings.limit, history=settings.history, check_turn=check_turn
    )
    if settings.until_ci is not None and summary.grouped:
        raise SettingsError(
            f"until_ci takes conversations as unrelated, and some of {path} share a group: "
            "find out how many are needed with 'evalkit plan', and ask so many with a limit"
        )
    known |= {"hash": summary.hash, "conversations": summary.conversations, "turns": summary.turns}
    known |= {"most_turns": summary.most_turns}
    return known, summary.turns * settings.repeats


def check_unchanged(
    runfile: Path | str, reader: sqlite3.Connection, known: Fingerprint, settings: Settings
) -> dict[str, Any]:
    """See that a run's dataset is what it was; what is known of it, with its size and time of now.

    Parameters
    ----------
    runfile : path-like
        For messages.
    reader : Connection
        To it.
    known : mapping
        What the run file keeps of it.
    settings : Settings

    Raises
    ------
    RunFileError
        It is not.
    """
    path = Path(known["path"])
    if not path.is_file():  # what a stranger names may be a device that never ends
        raise RunFileError(f"{runfile} was made from {path}, which is not there any more: put it back to go on")
    state = _state(path)
    now = {**known, **state}
    if state == {name: known.get(name) for name in state}:
        return now
    if known["hash"] is not None:
        if _checked(path, settings) != known["hash"]:
            raise RunFileError(
                f"{path} has changed since {runfile} was begun: put the old dataset back, or start a new run"
            )
        return now
    conversations = enumerate(datasets_reader.read(path, columns=settings.columns, limit=settings.limit, unique=False))
    for begun, name, known_hash in store.hashes(reader):
        conversation = next((found for position, found in conversations if position == begun), None)
        if conversation is None or conversation.content_hash != known_hash:
            raise RunFileError(
                f"conversation {name!r} (number {begun + 1}) is not what it was when this run began: "
                "the dataset has changed. Start a new run for it"
            )
    return now


def planned_turns(known: Fingerprint, settings: Settings) -> int | None:
    """How many turns a run has; None: unknown."""
    return None if known["turns"] is None else int(known["turns"]) * settings.repeats


def _checked(path: Path, settings: Settings) -> str | None:
    """The hash of a dataset as it is now; None: it is none any more."""
    try:
        return datasets_reader.check(
            path, columns=settings.columns, limit=settings.limit, history=settings.history
        ).hash
    except DatasetError:
        return None


def _state(path: Path) -> dict[str, Any]:
    """Size and time of change: while both stay, nobody has to read the dataset to know that it is the same."""
    try:
        status = path.stat()
    except OSError:  # which reading it says better
        return {"size": None, "changed_ns": None}
    return {"size": status.st_size, "changed_ns": status.st_mtime_ns}
