"""Makes sure that the conversations sent are those of the dataset that was checked, in every session of a run."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from evalkit.conversation import Conversation
from evalkit.datasets import reader as datasets_reader
from evalkit.errors import DatasetError, RunFileError, SettingsError
from evalkit.runfile import store
from evalkit.settings import Settings

CHECK_EVERY_S = 0.001  # between two checks of the file while it is read
MOST_BYTES_OF_FILES = 12_000_000  # of what the run file stores about files that a dataset names, as JSON: 80,000 files

Fingerprint = Mapping[str, Any]  # what the run file stores about its dataset: path, hash, size, counts


class CheckedDataset:
    """A dataset that is read while its conversations are sent, and that must not change meanwhile.

    Before and during reading, the file's size and modification time are compared with those at the time of the check
    and, where they differ, its content. No conversation is read that was not checked.

    Parameters
    ----------
    path : Path
    settings : Settings
    fingerprint : Fingerprint
        What the run file stores about the dataset; empty: there is nothing to compare with.
    """

    def __init__(self, path: Path, settings: Settings, fingerprint: Fingerprint) -> None:
        self._path, self._settings = path, settings
        self._hash: str | None = fingerprint.get("hash")
        self._files = fingerprint.get("files")
        states = {name: fingerprint.get(name) for name in ("size", "changed_ns")}
        self._state = {name: value for name, value in states.items() if value is not None}
        limits = [count for count in (settings.limit, fingerprint.get("conversations")) if count is not None]
        self._limit = min(limits, default=None)

    def read(self, start: int) -> Iterator[tuple[int, Conversation]]:
        """Conversations with their positions, starting at one of them, as they are sent.

        Raises
        ------
        DatasetError
            The file has changed, or cannot be read.
        """
        settings = self._settings
        self._check_unchanged()
        conversations = datasets_reader.read(
            self._path,
            columns=settings.columns,
            limit=self._limit,
            history=settings.history,
            own_system=settings.system is not None,
            start=start,
            unique=False,
            files=self._files,
        )
        if settings.system is not None:
            conversations = (_with_system(conversation, settings) for conversation in conversations)
        checked = time.perf_counter()
        for position, conversation in enumerate(conversations, start):
            if time.perf_counter() - checked > CHECK_EVERY_S:
                self._check_unchanged()
                checked = time.perf_counter()
            yield position, conversation
        self._check_unchanged()

    def _check_unchanged(self) -> None:
        if not self._state:
            return
        now = _state(self._path)
        if now == self._state:
            return
        if self._hash is not None and now["size"] is not None and self._hash == _hash(self._path, self._settings):
            self._state = now  # the same content, written again
            return
        was, size = self._state["size"], now["size"]
        what = "is gone" if size is None else f"has changed: it had {was:,} bytes and now has {size:,}"
        if size == was:
            what = "has changed"
        raise DatasetError(
            f"{what} since it was checked for this run, so the run stops here. Its answers are kept: "
            "restore the old file and resume, or start a new run",
            path=self._path,
        )


def take(path: Path, settings: Settings, *, check: bool, check_turn: Any = None) -> tuple[dict[str, Any], int | None]:
    """Take the fingerprint of a dataset; return it with the number of turns of the run, or None if not checked.

    Parameters
    ----------
    path : Path
    settings : Settings
    check : bool
        Read all of it first.
    check_turn : callable, optional
        ``scoring.turn_checker``: refuses turns that cannot be scored.
    """
    stored = {"path": str(path.resolve()), "hash": None, "conversations": None, "turns": None, **_state(path)}
    if not check:
        if settings.until_ci is not None:
            raise SettingsError("until_ci needs a check of the dataset first: do not turn the check off")
        return stored, None
    summary = datasets_reader.check(
        path,
        columns=settings.columns,
        limit=settings.limit,
        history=settings.history,
        own_system=settings.system is not None,
        check_turn=check_turn,
    )
    if settings.until_ci is not None and summary.grouped:
        raise SettingsError(
            f"until_ci needs independent conversations, and some of {path} share a group: "
            "find out how many you need with 'evalkit plan', and set that number as the limit"
        )
    stored |= {"hash": summary.hash, "conversations": summary.conversations, "turns": summary.turns}
    stored |= {"most_turns": summary.most_turns}
    if summary.files:
        if len(orjson.dumps(summary.files)) > MOST_BYTES_OF_FILES:
            raise DatasetError(
                f"names {len(summary.files):,} files, which is too many for one run: split it", path=path
            )
        stored["files"] = summary.files
    return stored, summary.turns * settings.repeats


def check_unchanged(
    runfile: Path | str, reader: sqlite3.Connection, fingerprint: Fingerprint, settings: Settings
) -> dict[str, Any]:
    """Check that a run's dataset has not changed; return its fingerprint with the file's current size and time.

    Parameters
    ----------
    runfile : path-like
        Its path, for messages.
    reader : Connection
        To the run file.
    fingerprint : Fingerprint
        What the run file stores about the dataset.
    settings : Settings

    Raises
    ------
    RunFileError
        It has changed.
    """
    path = Path(fingerprint["path"])
    if not path.is_file():  # the path in a stranger's file may be a device that never ends
        raise RunFileError(f"{runfile} was made from {path}, which no longer exists: restore it to resume")
    state = _state(path)
    now = {**fingerprint, **state}
    if state == {name: fingerprint.get(name) for name in state}:
        return now
    if fingerprint["hash"] is not None:
        if _hash(path, settings) != fingerprint["hash"]:
            raise RunFileError(
                f"{path} has changed since {runfile} was started: restore the old dataset, or start a new run"
            )
        return now
    conversations = enumerate(datasets_reader.read(path, columns=settings.columns, limit=settings.limit, unique=False))
    for started, name, stored_hash in store.hashes(reader):
        conversation = next((found for position, found in conversations if position == started), None)
        if conversation is None or _with_system(conversation, settings).content_hash != stored_hash:
            raise RunFileError(
                f"conversation {name!r} (number {started + 1}) of {path} has changed since {runfile} was started: "
                "restore the old dataset, or start a new run"
            )
    return now


def planned_turns(fingerprint: Fingerprint, settings: Settings) -> int | None:
    """How many turns the run has in all; None: unknown."""
    return None if fingerprint["turns"] is None else int(fingerprint["turns"]) * settings.repeats


def _with_system(conversation: Conversation, settings: Settings) -> Conversation:
    """The conversation with the system prompt of the run, if the run has one."""
    return conversation if settings.system is None else conversation.with_system(settings.system)


def _hash(path: Path, settings: Settings) -> str | None:
    """The hash of the dataset as it is now; None: it is no longer valid."""
    try:
        return datasets_reader.check(
            path, columns=settings.columns, limit=settings.limit, history=settings.history
        ).hash
    except DatasetError:
        return None


def _state(path: Path) -> dict[str, Any]:
    """Size and modification time: while both stay, the dataset need not be read to know that it is unchanged."""
    try:
        status = path.stat()
    except OSError:  # reading it later raises the better error
        return {"size": None, "changed_ns": None}
    return {"size": status.st_size, "changed_ns": status.st_mtime_ns}
