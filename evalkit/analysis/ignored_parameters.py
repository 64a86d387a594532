"""Whether an endpoint heeds the limits and demands that were sent: told from what came, since no answer says so."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from evalkit.record import CALL_NOT_DEMANDED, Attempt, Usage
from evalkit.runfile import query_arrays
from evalkit.stats.arrays import Floats

# the first bounds what is seen of an answer; many count reasoning out of it. The second bounds both by definition
LIMITS = ("max_tokens", "max_completion_tokens")
OPEN, CUT, ENDED = 0, 1, 2  # finish reasons: none, length, any other
# Another tokenizer than the model's own may have counted: an answer that was cut may have a quarter more or less.
_SLACK = 1.25
_PART_BYTES = 2  # events that are shorter on average may be parts of tokens

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
# the attempt that a turn has its answer from
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
_CUT = "SELECT count(*) FROM turn WHERE error_kind IS NULL AND finish_reason = 'length'"
# a demand that was refused was not made in the end
_CALLS = f"""
    SELECT t.conversation, t.session, c.row, t.tool_calls
    FROM turn t JOIN conversation c ON c.position = t.conversation
    WHERE t.error_kind IS NULL AND NOT instr(coalesce(t.flags, ''), '{CALL_NOT_DEMANDED}') AND {{asked}}
    ORDER BY t.conversation"""  # noqa: S608 - SQL of our own


class Lengths(NamedTuple):
    """Answers as they are compared with their limits; columns, one value an answer, unknown numbers being NaN.

    ``most_seen`` and ``most`` are the values of ``max_tokens`` and ``max_completion_tokens``, NaN where not set;
    ``whole`` its tokens, ``seen`` those without reasoning, ``by_events``: each event counted as one.
    """

    most_seen: Floats
    most: Floats
    whole: Floats
    seen: Floats
    by_events: NDArray[Any]
    finish: NDArray[Any]


class Judged(NamedTuple):
    """What can be said of each answer: its length is known; it is longer; cut off at its limit, or surely; or not."""

    known: NDArray[Any]
    longer: NDArray[Any]
    at_limit: NDArray[Any]
    as_long: NDArray[Any]
    elsewhere: NDArray[Any]


@dataclass(frozen=True, slots=True)
class IgnoredParameters:
    """What became of limits and demands.

    Parameters
    ----------
    limits : tuple of str
        Those of ``max_tokens`` and ``max_completion_tokens`` that were set for some turn.
    answers, longer : int
        Answers with a limit whose tokens are known, and those among them that are longer.
    at_limit : int
        Answers that were cut off at that limit, as far as can be told.
    elsewhere : int
        Answers that were cut off (finish reason ``length``) at another limit.
    demanded, without_call : int
        Answered turns of which a function call was demanded, and those among them that have none, or none of the
        function that was named.
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


def look(connection: sqlite3.Connection, info: Mapping[str, Any]) -> IgnoredParameters:
    """Compare a run with the parameters it was asked with; ``info`` as ``store.run_info`` tells.

    A row's own parameters win over those of the endpoint, which are those that its session has kept.
    """
    sessions = _params(connection, info)
    rows = list(_set_by_rows(connection))
    of_rows = {name for name in LIMITS if any(name in params for params in rows)}
    limits = tuple(name for name in LIMITS if name in of_rows or any(_limit(p, name) for p in sessions.values()))
    found = _lengths(connection, sessions, bool(of_rows)) if limits else {"elsewhere": _count(connection, _CUT)}
    if _is_demanded(rows) or _is_demanded(sessions.values()):
        found |= _calls(connection, sessions)
    return IgnoredParameters(limits, **found)


def of_attempt(params: Mapping[str, Any], attempt: Attempt) -> IgnoredParameters:
    """The same of one good attempt that was made with these parameters."""
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
    return IgnoredParameters(limits, **_added(query_arrays.groups(iter([row]), _TYPES), {0: params}))


def judged(answers: Lengths) -> Judged:
    """What can be said of the length of each answer.

    An answer is longer when it has more tokens than each limit that was set. An event counts as a token where the
    endpoint counts none, unless events are so short that they may be parts of tokens.
    """
    set_seen, set_whole = ~np.isnan(answers.most_seen), ~np.isnan(answers.most)
    limited = set_seen | set_whole
    cut, slack = answers.finish == CUT, np.where(answers.finish == CUT, _SLACK, 1.0)
    longer = limited & (~set_seen | (answers.seen > answers.most_seen * slack))
    longer &= ~set_whole | (answers.whole > answers.most * slack)
    known = limited & (~set_seen | ~np.isnan(answers.seen)) & (~set_whole | ~np.isnan(answers.whole))
    fewest = np.fmin(answers.most_seen, answers.most)
    long_enough = np.isnan(answers.whole) | answers.by_events | (answers.whole * _SLACK >= fewest)
    at_limit = cut & limited & ~longer & long_enough
    exactly = (answers.whole == answers.most) | (answers.whole == answers.most_seen)
    as_long = (answers.finish == OPEN) & (exactly | (answers.seen == answers.most_seen))
    return Judged(known, longer, at_limit, as_long, cut & ~at_limit)


def demand(params: Mapping[str, Any]) -> str | None:
    """The function that must be called; empty: any; None: none must."""
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
    """Session to the parameters of its endpoint."""
    usual = info["endpoint"].get("params", {})
    found = connection.execute("SELECT id, json_extract(about, '$.endpoint.params') FROM session").fetchall()
    return {number: usual if text is None else orjson.loads(text) for number, text in found}


def _set_by_rows(connection: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    """What rows of the dataset set, each kind of it once: which limits, and what demands."""
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
    return any(demand(each) is not None for each in params)


def _count(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def _lengths(
    connection: sqlite3.Connection, sessions: Mapping[int, Mapping[str, Any]], of_rows: bool
) -> dict[str, int]:
    connection.create_function("token_events", 1, _events, deterministic=True)
    join = "JOIN conversation c ON c.position = t.conversation" if of_rows else ""
    query = _ANSWERS.format(limits=_OF_ROWS if of_rows else "NULL, NULL", bytes=_BYTES, join=join)
    return _added(query_arrays.groups(connection.execute(query), _TYPES), sessions)


def _events(packed: bytes | None) -> int:
    return int(np.frombuffer(packed or b"", dtype="<i4").sum())


def _added(groups: Iterator[list[NDArray[Any]]], sessions: Mapping[int, Mapping[str, Any]]) -> dict[str, int]:
    total = dict.fromkeys(("answers", "longer", "at_limit", "elsewhere"), 0)
    as_long = 0
    for session, own_seen, own_whole, output, counted, reasoning, thought, finish, events, size in groups:
        most_seen, most = (
            _most(session, own, sessions, name) for own, name in zip((own_seen, own_whole), LIMITS, strict=True)
        )
        by_events = ~counted & (events > 0) & (size >= _PART_BYTES * events)
        whole = np.where(counted, output, np.where(by_events, events, np.nan))
        seen = np.where(thought & np.isnan(reasoning), np.nan, np.fmax(whole - np.nan_to_num(reasoning), 0))
        seen[np.isnan(whole)] = np.nan
        said = judged(Lengths(most_seen, most, whole, seen, by_events, finish))
        for name, column in zip(total, (said.known, said.longer, said.at_limit, said.elsewhere), strict=True):
            total[name] += int(column.sum())
        as_long += int(said.as_long.sum())
    # where answers are longer, one that is just as long has ended there by chance
    return {**total, "at_limit": total["at_limit"] + (0 if total["longer"] else as_long)}


def _most(session: NDArray[Any], own: Floats, sessions: Mapping[int, Mapping[str, Any]], name: str) -> Floats:
    """The limit that holds for each turn: its row's, else that of the endpoint; NaN: none."""
    numbers = np.unique(session)
    limits = np.array([_limit(sessions.get(number, {}), name) for number in numbers.tolist()], dtype=np.float64)
    of_session = limits[np.searchsorted(numbers, session)] if len(numbers) else own
    most: Floats = np.where(np.isnan(own), of_session, own)
    return np.where(most > 0, most, np.nan)


def _calls(connection: sqlite3.Connection, sessions: Mapping[int, Mapping[str, Any]]) -> dict[str, int]:
    asked = "1" if _is_demanded(sessions.values()) else "instr(c.row, '\"params\":')"
    demanded = without = 0
    before: int | None = None
    own: Mapping[str, Any] = {}
    has_tools = False
    for position, session, row, calls in connection.execute(_CALLS.format(asked=asked)):
        if position != before:
            before, value = position, orjson.loads(row)
            own, has_tools = value.get("params") or {}, bool(value.get("tools"))
        params = {**sessions.get(session, {}), **own}
        wanted = demand(params)
        if wanted is None or not (has_tools or params.get("tools") or params.get("functions")):
            continue
        demanded += 1
        made = [call["function"]["name"] for call in orjson.loads(calls)] if calls else []
        without += wanted not in made if wanted else not made
    return {"demanded": demanded, "without_call": without}
