"""Token limits that a run was given later, to send its cut-off answers again; kept in the settings of the run.

From then on every request of the run has the last of these limits, so that no answer is cut off at an earlier one.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from evalkit.endpoint import Endpoint
from evalkit.errors import SettingsError
from evalkit.inputs.bounds import check_whole
from evalkit.runfile import kept_checkup

LIMITS = ("max_tokens", "max_completion_tokens")
SETTING = "raised_limits"
_CUT_OFF = "SELECT count(*) FROM turn WHERE status = 'answered' AND finish_reason = 'length'"


class RaisedLimit(NamedTuple):
    """A token limit that replaced a lower one.

    Parameters
    ----------
    before : int or None
        The limit of the endpoint's parameters until then; None: there was none.
    after : int
    answers : int
        Answers that were cut off, and were sent again.
    turns : int
        All turns that were sent again: also those after a cut-off answer, which had seen it.
    wall_ns : int
        When, in ns since 1970.
    """

    before: int | None
    after: int
    answers: int
    turns: int
    wall_ns: int


def raised_limits(settings: Mapping[str, Any]) -> list[RaisedLimit]:
    """The limits of the settings of a run, in the order in which they were given."""
    return [RaisedLimit(**each) for each in settings.get(SETTING) or ()]


def last_limit(settings: Mapping[str, Any]) -> int | None:
    """The limit that requests of the run have now; None: it is still that of its endpoint and its dataset."""
    raised = raised_limits(settings)
    return raised[-1].after if raised else None


def add(connection: sqlite3.Connection, limit: RaisedLimit) -> None:
    """Add a limit, within the caller's transaction."""
    settings = orjson.loads(connection.execute("SELECT settings FROM run").fetchone()[0])
    settings[SETTING] = [*(settings.get(SETTING) or ()), limit._asdict()]
    connection.execute("UPDATE run SET settings = ?", (orjson.dumps(settings).decode(),))


def next_limit(
    connection: sqlite3.Connection, endpoint: Endpoint, settings: Mapping[str, Any], max_tokens: int | None
) -> RaisedLimit | None:
    """A higher limit for a run; None: none is given, or no answer was cut off.

    Raises
    ------
    SettingsError
        The limit is not above that of the run.
    """
    if max_tokens is None:
        return None
    check_whole("the token limit for answers that were cut off", max_tokens, 1)
    before = last_limit(settings) or max(_given(endpoint.params).values(), default=None)
    if before is not None and max_tokens <= before:
        raise SettingsError(
            f"the token limit {max_tokens:,} is not above that of the run, {before:,}: the answers would be cut off "
            "again. Give a higher one"
        )
    if not connection.execute(_CUT_OFF).fetchone()[0]:
        return None
    return RaisedLimit(before, max_tokens, 0, 0, time.time_ns())


def without(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ``Settings`` that the run was started with."""
    return {name: value for name, value in settings.items() if name not in (SETTING, kept_checkup.SETTING)}


def with_limit(endpoint: Endpoint, limit: int | None) -> Endpoint:
    """The endpoint with this limit in place of its own; None: as it is."""
    return endpoint if limit is None else replace(endpoint, params=with_limit_of(endpoint.params, limit))


def with_limit_of(params: Mapping[str, Any], limit: int | None) -> Mapping[str, Any]:
    """The parameters of an endpoint with this limit in place of their own; None: as they are."""
    return params if limit is None else {**params, **dict.fromkeys(_given(params) or ("max_tokens",), limit)}


def limits_of_sessions(connection: sqlite3.Connection, settings: Mapping[str, Any]) -> dict[int, int | None]:
    """The limit that each session had, by its id; None: that of the endpoint and the dataset."""
    raised = raised_limits(settings)
    limits: dict[int, int | None] = {}
    for session, started in connection.execute("SELECT id, started_wall_ns FROM session"):
        limits[session] = next((one.after for one in reversed(raised) if one.wall_ns <= started), None)
    return limits


def raised(params: Mapping[str, Any], limit: int | None) -> Mapping[str, Any]:
    """The parameters of a conversation, whose lower limits are raised to this one."""
    if limit is None:
        return params
    lower = [name for name, value in _given(params).items() if value < limit]
    return {**params, **dict.fromkeys(lower, limit)} if lower else params


def _given(params: Mapping[str, Any]) -> dict[str, int]:
    values = {name: params.get(name) for name in LIMITS}
    return {name: value for name, value in values.items() if isinstance(value, int) and not isinstance(value, bool)}
