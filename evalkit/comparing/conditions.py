"""What the runs of a comparison were asked with, and in what they differ."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from evalkit.analysis import client_trust
from evalkit.analysis.client_trust import Lateness
from evalkit.conversation import HISTORY_POLICIES
from evalkit.runfile import store

# what changes how fast answers come, and not what is answered
_PACE = ("concurrency", "rate", "arrivals", "rpm", "tpm")
_HOW = ("history", "stream", "max_tool_rounds", "repeats", "limit")
_SCORERS, _VERSION = "scorer versions", "evalkit version"
_TOLD_LATER = (_SCORERS, _VERSION)  # an older run file does not tell them: then they are not known to differ


@dataclass(frozen=True, slots=True)
class Side:
    """One run of a comparison.

    Parameters
    ----------
    label : str
        ``A``, ``B``, …, by which tables and sentences call it.
    path : Path
    name : str
    about : mapping
        What ``store.run_info`` tells.
    facts : mapping
        What it was asked and scored with: name to JSON value; None: not so, or not known.
    lateness : Lateness
        What its client may have added to its times.
    streams : (int, int, int)
        See ``sessions.streams``.
    """

    label: str
    path: Path
    name: str
    about: Mapping[str, Any]
    facts: Mapping[str, Any]
    lateness: Lateness
    streams: tuple[int, int, int]

    @property
    def repeats(self) -> int:
        """How often each conversation was to be asked."""
        return int(self.about["settings"].get("repeats", 1))


@dataclass(frozen=True, slots=True)
class Differing:
    """One thing in which two runs differ: its name and its two values, None where a run has none."""

    what: str
    first: Any
    second: Any


def side(label: str, path: Path, connection: sqlite3.Connection) -> Side:
    """Read what a run was asked with."""
    about = store.run_info(connection)
    late, streams = client_trust.lateness(connection), client_trust.streams(connection)
    return Side(label, path, about["name"], about, _facts(connection, about), late, streams)


def differing(first: Side, second: Side) -> list[Differing]:
    """In what two runs differ, what may change answers first."""
    names = [name for name in (*first.facts, *second.facts) if name not in _PACE]
    found = []
    for name in dict.fromkeys([*names, *_PACE]):
        one, other = first.facts.get(name), second.facts.get(name)
        if one != other and not (name in _TOLD_LATER and (one is None or other is None)):
            found.append(Differing(name, one, other))
    return found


def scored_differently(differs: list[Differing]) -> bool:
    """Whether the scores are known not to be of the same scorers in the same versions."""
    return any(each.what in ("scorer", _SCORERS, "judge") for each in differs)


def scored_by_unknown(first: Side, second: Side) -> bool:
    """Whether the scorers may have been other versions: those of evalkit differ, and nothing tells theirs."""
    unknown = first.facts[_SCORERS] is None or second.facts[_SCORERS] is None
    versions = {first.facts[_VERSION], second.facts[_VERSION]}
    return unknown and len(versions - {None}) > 1


def history_alone(differs: list[Differing]) -> bool:
    """Whether the history policy is all that can have made the answers differ."""
    found = [each for each in differs if each.what not in (*_PACE, "repeats", "limit")]
    return [each.what for each in found] == ["history"] and {found[0].first, found[0].second} == {*HISTORY_POLICIES}


def _facts(connection: sqlite3.Connection, about: Mapping[str, Any]) -> dict[str, Any]:
    endpoint, settings = about["endpoint"], about["settings"]
    # the embedded endpoint has another port each time
    embedded = endpoint.get("source") == "embedded"
    return {
        "model": endpoint.get("model"),
        "endpoint": "embedded" if embedded else endpoint.get("base_url"),
        **{f"parameter {name}": value for name, value in sorted((endpoint.get("params") or {}).items())},
        **{name: settings.get(name) for name in _HOW},
        **_scoring(connection, settings.get("scorer")),
        _VERSION: _versions(connection),
        **{name: settings.get(name) for name in _PACE},
    }


def _scoring(connection: sqlite3.Connection, own: str | None) -> dict[str, Any]:
    """The scorer that was named for the scores that count, the versions of all that made them, and the judge."""
    noted = connection.execute("SELECT scorer, versions, judge FROM scoring WHERE id = (SELECT scoring FROM run)")
    scorer, versions, judge = (orjson.loads(text or "null") for text in noted.fetchone() or (None, None, None))
    by_scorer = {name: version for name, version in (versions or {}).items() if name != "evalkit"}
    return {"scorer": scorer or own, _SCORERS: by_scorer or None, "judge": judge}


def _versions(connection: sqlite3.Connection) -> str | None:
    """The version, or versions, of evalkit whose sessions asked."""
    rows = connection.execute("SELECT DISTINCT json_extract(about, '$.versions.evalkit') FROM session ORDER BY id")
    return ", ".join(version for (version,) in rows if version) or None
