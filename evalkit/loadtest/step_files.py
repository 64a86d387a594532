"""The folder of a load test, read again: which loads it has, and what was run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.errors import RunFileError, SettingsError
from evalkit.loadtest.load_plan import LoadPlan
from evalkit.runfile import store
from evalkit.runfile.store import SUFFIX

_NAME = re.compile(rf"(concurrency|rate)-(\d+(?:\.\d+)?(?:e[+-]?\d+)?){re.escape(SUFFIX)}", re.ASCII)
UNUSABLE = "unusable"  # outcome of a step in which the endpoint answered nothing any more: beyond what it can do
_COMPLETE_OUTCOMES = ("done", "max_time_s", UNUSABLE)  # of a step that was not cut short


@dataclass(frozen=True, slots=True)
class StepFiles:
    """The steps in a folder.

    Parameters
    ----------
    plan : LoadPlan
        The loads that have a file, without those that were planned and not run.
    run : mapping
        Settings, dataset and endpoint of the first step.
    complete : tuple of float
        The loads whose step was not cut short: it ran to its end, or until the endpoint failed completely.
    """

    plan: LoadPlan
    run: Mapping[str, Any]
    complete: tuple[float, ...]


def is_complete(outcome: str | None) -> bool:
    """Whether a run with this outcome was not cut short, so that its load is measured."""
    return outcome in _COMPLETE_OUTCOMES


def step_files(folder: Path, warm_up: int | None) -> StepFiles:
    """Find the steps in a folder by the names of their files.

    A file counts only if ``load`` gives this name to its load; a file that was renamed by hand is left out.

    Raises
    ------
    RunFileError
        There are none or both kinds, or one of them is not a readable run file.
    SettingsError
        The warm-up is not valid.
    """
    by, named = _named_loads(folder)
    plan = LoadPlan(by, tuple(named), warm_up=warm_up)
    runs, complete = {}, []
    for load in plan.loads:
        path = plan.file_of(folder, load)
        with store.reading(path) as connection:
            info = store.run_info(connection, path)
            outcomes = connection.execute("SELECT outcome FROM session ORDER BY id DESC LIMIT 1").fetchone()
        exact = _exact_load(by, load, info["settings"])
        runs[exact] = info
        if outcomes is not None and is_complete(outcomes[0]):
            complete.append(exact)
    first = next(iter(runs.values()))
    return StepFiles(_plan(folder, by, tuple(runs), warm_up, first["settings"]), first, tuple(complete))


def _named_loads(folder: Path) -> tuple[str, list[float]]:
    """The kind of the steps in a folder, and their loads in rising order."""
    steps = [step for path in folder.glob(f"*{SUFFIX}") if (step := _step_of(path.name)) is not None]
    kinds = {by for by, _ in steps}
    if not steps:
        raise RunFileError(
            f"{folder} holds no step of a load test: name a folder with files such as concurrency-1{SUFFIX}"
        )
    if len(kinds) > 1:
        raise RunFileError(f"{folder} holds steps by concurrency and by rate: keep each load test in its own folder")
    return kinds.pop(), sorted(load for _, load in steps)


def _step_of(name: str) -> tuple[str, float] | None:
    """Kind and load of the step whose file has this name; None: ``load`` gives this name to no step."""
    if (match := _NAME.fullmatch(name)) is None:
        return None
    by, load = match[1], float(match[2])
    load = int(load) if load.is_integer() else load
    return (by, load) if _file_name(by, load) == name else None


def _file_name(by: str, load: float) -> str | None:
    """The name that ``load`` gives to the file of a step; None: there is no such step."""
    try:
        return LoadPlan(by, (load,)).file_of(Path(), load).name
    except SettingsError:
        return None


def _exact_load(by: str, load: float, settings: Mapping[str, Any]) -> float:
    """The load of a step as it was set, of which the name of its file has only six digits."""
    exact: float | str | None = settings[by]
    if isinstance(exact, int | float) and _file_name(by, exact) == _file_name(by, load):
        return exact
    return load


def _plan(
    folder: Path, by: str, loads: tuple[float, ...], warm_up: int | None, settings: Mapping[str, Any]
) -> LoadPlan:
    """The plan of the steps, with the gaps between arrivals of the first."""
    if by == "concurrency":
        return LoadPlan(by, loads, warm_up=warm_up)
    try:
        return LoadPlan(by, loads, settings["arrivals"], warm_up=warm_up, seed=settings.get("arrivals_seed"))
    except SettingsError as error:
        raise RunFileError(f"{folder} holds steps that no load test has written: {error}") from None
