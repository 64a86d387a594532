"""The dataset of a run: what the run file keeps of it, and whether it is still the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit import datasets, scorers
from evalkit.errors import RunFileError, SettingsError
from evalkit.settings import Settings
from evalkit.store import RunFile


def of(path: Path, settings: Settings, *, check: bool) -> tuple[dict[str, Any], int | None]:
    """What the run file keeps of a dataset, and the number of turns to ask; None: not checked."""
    known = {"path": str(path.resolve()), "hash": None, "conversations": None, "turns": None, **_state(path)}
    if not check:
        if settings.until_ci is not None:
            raise SettingsError("until_ci needs the dataset to be read first: leave it to be checked")
        return known, None
    summary = datasets.check(
        path,
        columns=settings.columns,
        limit=settings.limit,
        history=settings.history,
        check_turn=scorers.turn_checker(settings.default_scorer),
    )
    if settings.until_ci is not None and summary.grouped:
        raise SettingsError(
            f"until_ci takes conversations as unrelated, and some of {path} share a group: "
            "find out how many are needed with 'evalkit plan', and ask so many with a limit"
        )
    known |= {"hash": summary.hash, "conversations": summary.conversations, "turns": summary.turns}
    known |= {"most_turns": summary.most_turns}
    return known, summary.turns * settings.repeats


def _state(path: Path) -> dict[str, Any]:
    """Size and time of change: while both stay, nobody has to read the dataset to know that it is the same."""
    try:
        status = path.stat()
    except OSError:  # which reading it says better
        return {"size": None, "changed_ns": None}
    return {"size": status.st_size, "changed_ns": status.st_mtime_ns}


def same(runfile: RunFile, known: Mapping[str, Any], settings: Settings) -> int | None:
    """See that a run's dataset is what it was; the number of turns to ask, None: unknown."""
    path = Path(known["path"])
    if not path.is_file():  # what a stranger names may be a device that never ends
        raise RunFileError(f"{runfile.path} was made from {path}, which is not there any more: put it back to go on")
    total = None if known["turns"] is None else known["turns"] * settings.repeats
    state = _state(path)
    if state == {name: known.get(name) for name in state}:
        return total
    if known["hash"] is not None:
        dataset, total = of(path, settings, check=True)
        if dataset["hash"] != known["hash"]:
            raise RunFileError(
                f"{path} has changed since {runfile.path} was begun: put the old dataset back, or start a new run"
            )
        return total
    conversations = enumerate(datasets.read(path, columns=settings.columns, limit=settings.limit, unique=False))
    for begun, name, known_hash in runfile.hashes():
        conversation = next((found for position, found in conversations if position == begun), None)
        if conversation is None or conversation.content_hash != known_hash:
            raise RunFileError(
                f"conversation {name!r} (number {begun + 1}) is not what it was when this run began: "
                "the dataset has changed. Start a new run for it"
            )
    return total
