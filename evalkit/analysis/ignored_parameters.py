"""Whether an endpoint follows the token limits and required calls of a request, judged from its answers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from evalkit.record import CALL_NOT_DEMANDED, Attempt, Usage
from evalkit.runfile import query_arrays, raised_limits
from evalkit.stats.arrays import Floats

# the first limits the visible answer, for many endpoints without reasoning; the second limits both by definition
LIMITS = ("max_tokens", "max_completion_tokens")
OPEN, CUT, ENDED = 0, 1, 2  # finish reasons: none, length, any other
# The tokens may be counted by another tokenizer: an answer cut at its limit may have a quarter more or fewer.
_SLACK = 1.25
_RAISED = "raised limit"  # next to the parameters of a session: lower limits of dataset rows were raised to this one
_PART_BYTES = 2  # shorter events, on average, may be parts of tokens

_SET_BY_ROWS = """
    SELECT DISTINCT json_type(row, '$.params.max_tokens') NOT NULL,
      json_type(row, '$.params.max_completion_tokens') NOT NULL, json_extract(row, '$.params.tool_choice'),
      json_extract(row, '$.params.function_call')
    FROM conversation WHERE instr(row, '"params":') LIMIT 1000"""
_LIMIT = """
    CASE WHEN json_type(c.row, '$.params.{0}') IN ('integer', 'real') THEN json_extract(c.row, '$.params.{0}')
      WHEN json_type(c.row, '$.params.{0}') NOT NULL THEN 0 END"""
_OF_ROWS = ", ".join(
    f"CASE WHEN instr(c.row, '\"params\":') THEN {_LIMIT.format(name)} END" for name in LIMITS
)  # SQL of our own
_SIZE = "coalesce(length(CAST(t.{} AS BLOB)), 0)"
_BYTES = " + ".join(_SIZE.format(name) for name in ("answer", "reasoning", "refusal", "tool_calls"))
# the attempt that gave a turn its answer
_ANSWERS = """
    SELECT t.session, {limits}, coalesce(t.output_tokens, 0), t.output_tokens NOT NULL, t.reasoning_tokens,
      t.reasoning NOT NULL,
      CASE WHEN t.finish_reason IS NULL THEN 0 WHEN t.finish_reason = 'length' THEN 1 ELSE 2 END,
      iif(t.output_tokens IS NULL, token_events(a.arrival_events), 0),
      iif(t.output_tokens IS NULL, {bytes}, 0)
    FROM attempt a CROSS JOIN turn t ON (t.conversation, t.repeat, t.turn) = (a.conversation, a.repeat, a.turn)
      {join}
    WHERE a.error_kind IS NULL AND t.error_kind IS NULL AND t.sent_ns = a.sent_ns"""
_TYPES = ("i8", "f8", "f8", "f8", "?", "f8", "?", "i8", "f8", "f8")
_CUT_OFF = "SELECT count(*) FROM turn WHERE error_kind IS NULL AND finish_reason = 'length'"
# a required call that the endpoint refused was not required in the end
_CALLS = f"""
    SELECT t.conversation, t.session, c.row, t.tool_calls
    FROM turn t JOIN conversation c ON c.position = t.conversation
    WHERE t.error_kind IS NULL AND NOT instr(coalesce(t.flags, ''), '{CALL_NOT_DEMANDED}') AND {{asked}}
    ORDER BY t.conversation"""  # noqa: S608 - SQL of our own


class AnswerLengths(NamedTuple):
    """Lengths of answers and their limits: columns with one value per answer, NaN where unknown.

    ``most_visible`` and ``most`` are the values of ``max_tokens`` and ``max_completion_tokens``, NaN where not set;
    ``total`` is the number of tokens, ``visible`` that without reasoning, ``by_events``: each event counts as a token.
    """

    most_visible: Floats
    most: Floats
    total: Floats
    visible: Floats
    by_events: NDArray[Any]
    finish: NDArray[Any]


class LengthClasses(NamedTuple):
    """Flags of each answer.

    Its length is known; it is longer than its limit; it was cut off at its limit; it is exactly as long as its limit,
    without a finish reason; it was cut off elsewhere.
    """

    known: NDArray[Any]
    longer: NDArray[Any]
    at_limit: NDArray[Any]
    as_long: NDArray[Any]
    elsewhere: NDArray[Any]


@dataclass(frozen=True, slots=True)
class IgnoredParameters:
    """How answers compare with the limits and required calls of their requests.

    Parameters
    ----------
    limits : tuple of str
        Those of ``max_tokens`` and ``max_completion_tokens`` that were set for any turn.
    answers, longer : int
        Number of answers with a limit and a known length, and of those that are longer.
    at_limit : int
        Answers that were presumably cut off at that limit.
    elsewhere : int
        Answers that were cut off (finish reason ``length``) at another limit.
    demanded, without_call : int
        Number of answered turns that required a function call, and of those without one, or without one of the named
        function.
    """

    limits: tuple[str, ...] = ()
    answers: int = 0
    longer: int = 0
    at_limit: int = 0
    elsewhere: int = 0
    demanded: int = 0
    without_call: int = 0

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it; None: no such parameter was set."""
        limit = {"parameters": list(self.limits), "answers": self.answers, "longer": self.longer}
        choice = {"turns": self.demanded, "without_call": self.without_call}
        return {
            "max_tokens": limit if self.limits else None,
            "tool_choice": choice if self.demanded else None,
            "cut_off": {"at_limit": self.at_limit, "elsewhere": self.elsewhere},
        }


def ignored_by_run(connection: sqlite3.Connection, info: Mapping[str, Any]) -> IgnoredParameters:
    """Compare the answers of a run with the parameters of their requests; ``info`` is from ``store.run_info``.

    Parameters of a dataset row take precedence over those of the endpoint, which each session stores.
    """
    sessions = _params(connection, info)
    rows = list(_set_by_rows(connection))
    of_rows = {name for name in LIMITS if any(name in params for params in rows)}
    limits = tuple(name for name in LIMITS if name in of_rows or any(_limit(p, name) for p in sessions.values()))
    counts = _lengths(connection, sessions, bool(of_rows)) if limits else {"elsewhere": _count(connection, _CUT_OFF)}
    if _is_demanded(rows) or _is_demanded(sessions.values()):
        counts |= _calls(connection, sessions)
    return IgnoredParameters(limits, **counts)


def ignored_by_attempt(params: Mapping[str, Any], attempt: Attempt) -> IgnoredParameters:
    """The same for one successful attempt with these parameters."""
    usage, answer, events = attempt.usage or Usage(), attempt.answer, sum(attempt.timing.arrival_events)
    limits = tuple(name for name in LIMITS if _limit(params, name))
    reason = None if answer is None else answer.finish_reason
    text = "" if answer is None else answer.text + answer.reasoning + (answer.refusal or "")
    size = len(text.encode()) + sum(len(call.arguments) for call in (answer.tool_calls if answer else ()))
    finish = OPEN if reason is None else CUT if reason == "length" else ENDED
    row = (
        0, None, None, usage.output_tokens or 0, usage.output_tokens is not None, usage.reasoning_tokens,
        bool(answer and answer.reasoning), finish, events, size,
    )  # fmt: skip
    return IgnoredParameters(limits, **_counts(query_arrays.groups(iter([row]), _TYPES), {0: params}))


def classify_lengths(answers: AnswerLengths) -> LengthClasses:
    """Classify the length of each answer.

    An answer is longer when it has more tokens than each limit that was set. Where the endpoint reports no tokens, each
    event counts as one, unless events are so short that they may be parts of tokens.
    """
    set_visible, set_total = ~np.isnan(answers.most_visible), ~np.isnan(answers.most)
    limited = set_visible | set_total
    cut, slack = answers.finish == CUT, np.where(answers.finish == CUT, _SLACK, 1.0)
    longer = limited & (~set_visible | (answers.visible > answers.most_visible * slack))
    longer &= ~set_total | (answers.total > answers.most * slack)
    known = limited & (~set_visible | ~np.isnan(answers.visible)) & (~set_total | ~np.isnan(answers.total))
    fewest = np.fmin(answers.most_visible, answers.most)
    long_enough = np.isnan(answers.total) | answers.by_events | (answers.total * _SLACK >= fewest)
    at_limit = cut & limited & ~longer & long_enough
    exactly = (answers.total == answers.most) | (answers.total == answers.most_visible)
    as_long = (answers.finish == OPEN) & (exactly | (answers.visible == answers.most_visible))
    return LengthClasses(known, longer, at_limit, as_long, cut & ~at_limit)


def demanded_function(params: Mapping[str, Any]) -> str | None:
    """The function whose call is required; empty: any function; None: no call is required."""
    for choice in (params.get("tool_choice"), params.get("function_call")):
        if choice in ("required", "any"):
            return ""
        if not isinstance(choice, Mapping) or choice.get("type") in ("auto", "none"):
            continue
        if choice.get("type") == "allowed_tools":
            inner = choice.get("allowed_tools")
            mode = inner.get("mode") if isinstance(inner, Mapping) else choice.get("mode")
            if mode == "required":
                return ""
            continue
        function = choice.get("function", choice)
        name = function.get("name") if isinstance(function, Mapping) else None
        return name if isinstance(name, str) else ""
    return None


def _params(connection: sqlite3.Connection, info: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """The endpoint parameters of each session."""
    of_run, raised = info["endpoint"].get("params", {}), raised_limits.raised_limits(info["settings"])
    query = "SELECT id, started_wall_ns, json_extract(about, '$.endpoint.params') FROM session"
    sessions = {}
    for number, started, text in connection.execute(query):
        sessions[number] = of_run if text is None else orjson.loads(text)
        if before := [limit.after for limit in raised if limit.wall_ns <= started]:
            sessions[number] = {**sessions[number], _RAISED: before[-1]}
    return sessions


def _set_by_rows(connection: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    """The different limits and required calls that rows of the dataset set."""
    for *limited, choice, function in connection.execute(_SET_BY_ROWS):
        params: dict[str, Any] = {name: 1 for name, is_set in zip(LIMITS, limited, strict=True) if is_set}
        for name, value in (("tool_choice", choice), ("function_call", function)):
            if value is not None:
                params[name] = orjson.loads(value) if str(value).startswith("{") else value
        yield params


def _limit(params: Mapping[str, Any], name: str) -> float | None:
    value = params.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None


def _is_demanded(params: Iterable[Mapping[str, Any]]) -> bool:
    return any(demanded_function(each) is not None for each in params)


def _count(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def _lengths(
    connection: sqlite3.Connection, sessions: Mapping[int, Mapping[str, Any]], of_rows: bool
) -> dict[str, int]:
    connection.create_function("token_events", 1, _events, deterministic=True)
    join = "JOIN conversation c ON c.position = t.conversation" if of_rows else ""
    query = _ANSWERS.format(limits=_OF_ROWS if of_rows else "NULL, NULL", bytes=_BYTES, join=join)
    return _counts(query_arrays.groups(connection.execute(query), _TYPES), sessions)


def _events(packed: bytes | None) -> int:
    return int(np.frombuffer(packed or b"", dtype="<i4").sum())


def _counts(groups: Iterator[list[NDArray[Any]]], sessions: Mapping[int, Mapping[str, Any]]) -> dict[str, int]:
    total = dict.fromkeys(("answers", "longer", "at_limit", "elsewhere"), 0)
    as_long = 0
    for session, own_visible, own_total, output, counted, reasoning, has_reasoning, finish, events, size in groups:
        most_visible, most = (
            _most(session, own, sessions, name) for own, name in zip((own_visible, own_total), LIMITS, strict=True)
        )
        by_events = ~counted & (events > 0) & (size >= _PART_BYTES * events)
        tokens = np.where(counted, output, np.where(by_events, events, np.nan))
        visible = np.where(has_reasoning & np.isnan(reasoning), np.nan, np.fmax(tokens - np.nan_to_num(reasoning), 0))
        visible[np.isnan(tokens)] = np.nan
        classes = classify_lengths(AnswerLengths(most_visible, most, tokens, visible, by_events, finish))
        for name, column in zip(
            total, (classes.known, classes.longer, classes.at_limit, classes.elsewhere), strict=True
        ):
            total[name] += int(column.sum())
        as_long += int(classes.as_long.sum())
    # where some answers are longer than the limit, one that is exactly as long ended there by chance
    return {**total, "at_limit": total["at_limit"] + (0 if total["longer"] else as_long)}


def _most(session: NDArray[Any], own: Floats, sessions: Mapping[int, Mapping[str, Any]], name: str) -> Floats:
    """The limit of each turn: that of its dataset row, which may have been raised, else that of the endpoint.

    NaN: none.
    """
    numbers, place = np.unique(session, return_inverse=True)

    def of_session(name: str) -> Floats:
        limits = [_limit(sessions.get(number, {}), name) for number in numbers.tolist()]
        return np.array(limits, dtype=np.float64)[place] if limits else own

    most: Floats = np.where(
        np.isnan(own), of_session(name), np.where(own < of_session(_RAISED), of_session(_RAISED), own)
    )
    return np.where(most > 0, most, np.nan)


def _calls(connection: sqlite3.Connection, sessions: Mapping[int, Mapping[str, Any]]) -> dict[str, int]:
    condition = "1" if _is_demanded(sessions.values()) else "instr(c.row, '\"params\":')"
    demanded = without = 0
    before: int | None = None
    own: Mapping[str, Any] = {}
    has_tools = False
    for position, session, row, calls in connection.execute(_CALLS.format(asked=condition)):
        if position != before:
            before, value = position, orjson.loads(row)
            own, has_tools = value.get("params") or {}, bool(value.get("tools"))
        params = {**sessions.get(session, {}), **own}
        function = demanded_function(params)
        if function is None or not (has_tools or params.get("tools") or params.get("functions")):
            continue
        demanded += 1
        called = [call["function"]["name"] for call in orjson.loads(calls)] if calls else []
        without += function not in called if function else not called
    return {"demanded": demanded, "without_call": without}
