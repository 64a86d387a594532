"""The conditions of compared runs, such as model, parameters and scorers, and their differences."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from evalkit.analysis import client_trust
from evalkit.analysis.client_trust import ClientLag
from evalkit.conversation import HISTORY_POLICIES
from evalkit.runfile import raised_limits, store

# these change the speed of answers, not their content
_PACE = ("concurrency", "rate", "arrivals", "rpm", "tpm")
_SETTINGS = ("history", "system", "stream", "max_tool_rounds", "repeats", "limit", "seed")
_SCORERS, _VERSION = "scorer versions", "evalkit version"
_NOT_IN_OLD_FILES = (_SCORERS, _VERSION)  # without them a difference is not known


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One run of a comparison.

    Parameters
    ----------
    label : str
        ``A``, ``B``, …, its name in tables and sentences.
    path : Path
    name : str
    about : mapping
        From ``store.run_info``.
    conditions : mapping
        Its conditions: name to JSON value; None: not set or not known. A system prompt that the run set is in quotes;
        without one ``system`` is ``the dataset's`` or, where the run sent none, ``none``.
    lag : ClientLag
        What its client may have added to its times.
    streams : (int, int, int)
        See ``client_trust.streams``.
    """

    label: str
    path: Path
    name: str
    about: Mapping[str, Any]
    conditions: Mapping[str, Any]
    lag: ClientLag
    streams: tuple[int, int, int]

    @property
    def repeats(self) -> int:
        """The number of repeats that was set."""
        return int(self.about["settings"].get("repeats", 1))


@dataclass(frozen=True, slots=True)
class ConditionDifference:
    """A condition in which two runs differ: its name and both values, None where a run has none."""

    what: str
    first: Any
    second: Any


def read_run(label: str, path: Path, connection: sqlite3.Connection) -> ComparedRun:
    """Read the conditions of a run."""
    about = store.run_info(connection)
    lag, streams = client_trust.client_lag(connection), client_trust.streams(connection)
    return ComparedRun(label, path, about["name"], about, _conditions(connection, about), lag, streams)


def condition_differences(first: ComparedRun, second: ComparedRun) -> list[ConditionDifference]:
    """The differing conditions of two runs; those that may change answers are first."""
    names = [name for name in (*first.conditions, *second.conditions) if name not in _PACE]
    differences = []
    for name in dict.fromkeys([*names, *_PACE]):
        one, other = first.conditions.get(name), second.conditions.get(name)
        if one != other and not (name in _NOT_IN_OLD_FILES and (one is None or other is None)):
            differences.append(ConditionDifference(name, one, other))
    return differences


def scored_differently(differences: list[ConditionDifference]) -> bool:
    """Whether the scores are known to be from different scorers or versions."""
    return any(each.what in ("scorer", _SCORERS, "judge") for each in differences)


def maybe_scored_differently(first: ComparedRun, second: ComparedRun) -> bool:
    """Whether the scorers may differ in version: versions of evalkit differ, and those of scorers are not recorded."""
    unknown = first.conditions[_SCORERS] is None or second.conditions[_SCORERS] is None
    versions = {first.conditions[_VERSION], second.conditions[_VERSION]}
    return unknown and len(versions - {None}) > 1


def only_history_differs(differences: list[ConditionDifference]) -> bool:
    """Whether the history policy is the only condition that can have changed the answers."""
    relevant = [each for each in differences if each.what not in (*_PACE, "repeats", "limit")]
    return [each.what for each in relevant] == ["history"] and {relevant[0].first, relevant[0].second} == {
        *HISTORY_POLICIES
    }


def _conditions(connection: sqlite3.Connection, about: Mapping[str, Any]) -> dict[str, Any]:
    endpoint, settings = about["endpoint"], about["settings"]
    # the embedded endpoint has a different port each time
    source = endpoint.get("source")
    return {
        "model": endpoint.get("model"),
        "endpoint": source if source in ("embedded", "imported") else endpoint.get("base_url"),
        **{f"parameter {name}": value for name, value in sorted((endpoint.get("params") or {}).items())},
        **{f"header {name.lower()}": value for name, value in sorted((endpoint.get("headers") or {}).items())},
        **{f"header {name.lower()}": "from a variable" for name in sorted(endpoint.get("headers_env") or {})},
        **{name: settings.get(name) for name in _SETTINGS},
        "system": _system_prompt(settings.get("system")),
        **_scoring(connection, settings.get("scorer") or (settings.get("imported") or {}).get("scorer")),
        "cut-off answers sent again": _sent_again(settings),
        _VERSION: _versions(connection),
        **{name: settings.get(name) for name in _PACE},
    }


def _sent_again(settings: Mapping[str, Any]) -> str | None:
    limits = raised_limits.raised_limits(settings)
    return ", ".join(f"{limit.answers:,} with {limit.after:,} tokens" for limit in limits) or None


def _system_prompt(setting: str | None) -> str:
    """The system prompt of a run in words: None alone would read as if no system prompt was sent."""
    if setting is None:
        return "the dataset's"
    return f'"{setting}"' if setting else "none"


def _scoring(connection: sqlite3.Connection, own: str | None) -> dict[str, Any]:
    """The scorer named for the shown scores, the versions of all scorers that made them, and the judge."""
    row = connection.execute("SELECT scorer, versions, judge FROM scoring WHERE id = (SELECT scoring FROM run)")
    scorer, versions, judge = (orjson.loads(text or "null") for text in row.fetchone() or (None, None, None))
    by_scorer = {name: version for name, version in (versions or {}).items() if name != "evalkit"}
    return {"scorer": scorer or own, _SCORERS: by_scorer or None, "judge": judge}


def _versions(connection: sqlite3.Connection) -> str | None:
    """The version, or versions, of evalkit in the sessions of the run."""
    rows = connection.execute("SELECT DISTINCT json_extract(about, '$.versions.evalkit') FROM session ORDER BY id")
    return ", ".join(version for (version,) in rows if version) or None
