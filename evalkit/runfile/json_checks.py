"""Checks of the JSON texts in a run file, each compared with its expected shape: it may come from a stranger.

The row of ``run`` is checked whenever a file is opened. The texts of turns, of which there may be millions, are checked
after reading them has failed, to name the one at fault.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from evalkit.checkup.probes.verdicts import VERDICTS
from evalkit.errors import DatasetError
from evalkit.runfile.table_checks import MOST_REPEATS, MOST_TURNS, short

MOST_JSON = 16 * 2**20  # characters of the settings, the dataset or the endpoint of a run
_DEEPEST = 100  # levels of a JSON value
_MANY = 2**53  # beyond it JSON numbers are not exact

Check = Callable[[Any], bool]
Shape = Mapping[str, tuple[Check, str]]  # key to a check of its value and to a description of valid values


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 1_000_000


def _is_place(value: Any) -> bool:
    """An address, a path or the name of a variable that the system accepts."""
    return _is_text(value) and "\0" not in value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _is_whole(least: int, most: int) -> Check:
    return lambda value: type(value) is int and least <= value <= most


def _is_price(value: Any) -> bool:
    if not isinstance(value, list) or not 2 <= len(value) <= 4:
        return False
    return all(_is_number(part) and 0 <= part < 1e12 for part in value)


def _is_columns(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_text(heading) for heading in value.values())


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(text is None or _is_text(text) for text in value.values())


def _is_files(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(about, dict)
        and _is_text(about.get("sha256"))
        and _is_text(about.get("media_type"))
        and type(about.get("bytes")) is int
        for about in value.values()
    )


def _are_raised_limits(value: Any) -> bool:
    keys = {"before", "after", "answers", "turns", "wall_ns"}
    return isinstance(value, list | None) and all(
        isinstance(each, dict)
        and each.keys() == keys
        and _is_whole(1, _MANY)(each["after"])
        and (each["before"] is None or _is_whole(-_MANY, _MANY)(each["before"]))
        and all(_is_whole(0, 2**63)(each[name]) for name in keys - {"before", "after"})
        for each in value or ()
    )


def is_checkup(value: Any) -> bool:
    """Whether a value is a checkup as the settings of a run keep it."""
    if not isinstance(value, dict) or value.keys() != _CHECKUP.keys():
        return False
    if not all(check(value[name]) for name, check in _CHECKUP.items()):
        return False
    # the one concern with a name of its own: see ``kept_checkup.OPTIONS``
    named = {"stream_usage" if name == "stream_options" else name for name in value["concerns"]}
    return named <= set(value["probes"])


def _are_probes(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _matches(r"[a-z0-9_]{1,60}")(name)
        and isinstance(found, dict)
        and found.keys() == {"verdict", "came"}
        and found["verdict"] in VERDICTS
        and _is_text(found["came"])
        for name, found in value.items()
    )


def _is_call(value: Any) -> bool:
    function = value.get("function") if isinstance(value, dict) else None
    return isinstance(function, dict) and all(isinstance(function.get(key), str) for key in ("name", "arguments"))


def _is_message(value: Any) -> bool:
    calls = value.get("tool_calls") if isinstance(value, dict) else None
    return (
        isinstance(value, dict)
        and isinstance(value.get("role"), str)
        and isinstance(value.get("content", ""), str | None)
        and (calls is None or _is_list_of(_is_call)(calls))
    )


def _is_list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _matches(pattern: str) -> Check:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) is not None


def _above_0(value: Any) -> bool:
    return _is_number(value) and value > 0


_CHECKUP: Mapping[str, Check] = {
    "checked_at": _matches(r"[0-9T:.+-]{1,40}"),
    "evalkit": _matches(r"[\w.+-]{1,40}"),
    "seconds": lambda value: _is_number(value) and 0 <= value < 1e9,
    "calls_made": _is_whole(0, _MANY),
    "tokens": _or_none(_is_whole(0, _MANY)),
    "probes": _are_probes,
    "concerns": _is_list_of(_is_text),
}
_ABOVE_0 = (_or_none(_above_0), "a number above 0, or null")
_COUNT = (_or_none(_is_whole(0, _MANY)), "a whole number of 0 or more, or null")
_TEXT, _SOME_TEXT = (_is_text, "text"), (_or_none(_is_text), "text or null")
_PLACE = (_is_place, "text without a NUL")
_OBJECT = (lambda value: isinstance(value, dict), "an object")
SETTINGS: Shape = {
    "history": _TEXT,
    "repeats": (_is_whole(1, MOST_REPEATS), f"a whole number from 1 to {MOST_REPEATS:,}"),
    "concurrency": (
        _or_none(lambda value: value == "auto" or _is_whole(1, 10**6)(value)),
        "a whole number from 1 to 1,000,000, auto or null",
    ),
    "stream": (lambda value: isinstance(value, bool), "true or false"),
    "arrivals": _TEXT,
    "retries": _COUNT,
    "max_tool_rounds": _COUNT,
    "limit": _COUNT,
    "max_tokens_total": _COUNT,
    **dict.fromkeys(("rate", "rpm", "tpm", "max_time_s", "max_cost"), _ABOVE_0),
    "until_ci": (_or_none(lambda value: _is_number(value) and 0 < value < 0.5), "a number between 0 and 0.5, or null"),
    "price": (_or_none(_is_price), "two to four finite numbers of 0 or more, or null"),
    "arrivals_seed": _COUNT,
    "seed": _COUNT,
    "columns": (_or_none(_is_columns), "an object of headings, or null"),
    "system": _SOME_TEXT,
    "imported": (_or_none(_is_texts), "an object of texts, or null"),
    "raised_limits": (_are_raised_limits, "a list of token limits"),
    "checkup": (_or_none(is_checkup), "the verdicts of a checkup, or null"),
}
DATASET: Shape = {
    "path": _PLACE,
    "hash": _SOME_TEXT,
    **dict.fromkeys(("conversations", "turns", "size"), _COUNT),
    "changed_ns": (_or_none(_is_whole(-(2**63), 2**63)), "a whole number or null"),
    "most_turns": (_or_none(_is_whole(0, MOST_TURNS)), f"a whole number up to {MOST_TURNS:,}, or null"),
    "files": (_is_files, "an object that describes files"),
}
ENDPOINT: Shape = {
    "base_url": _PLACE,
    "model": _TEXT,
    "key_env": (_or_none(_is_place), "the name of a variable, or null"),
    "params": _OBJECT,
    "timeout_s": (_above_0, "a number above 0"),
    "ttft_timeout_s": _ABOVE_0,
    "connect_timeout_s": (_above_0, "a number above 0"),
    "source": _TEXT,
    "headers": (_is_columns, "an object of texts"),
    "headers_env": (_is_columns, "an object of texts"),
    **dict.fromkeys(("client_cert_env", "client_key_env", "ca_env"), _PLACE),
}
_RUN = {"settings": SETTINGS, "dataset": DATASET, "endpoint": ENDPOINT}
_LATER_KEYS = {
    *("limit", "columns", "max_tokens_total", "max_time_s", "max_cost", "price", "until_ci", "arrivals_seed", "seed"),
    *("system", "imported", "raised_limits", "checkup", "most_turns", "size", "changed_ns", "files"),
    *("headers", "headers_env", "client_cert_env", "client_key_env", "ca_env"),
}  # of settings that later versions added


def run_fault(name: Any, created_ns: Any, parts: Mapping[str, Any], *, whole: bool = False) -> str | None:
    """The first value in the row of a run that evalkit does not write; None: there is none.

    Parameters
    ----------
    name, created_ns : object
        Its columns.
    parts : mapping
        ``settings``, ``dataset`` and ``endpoint``, parsed.
    whole : bool
        A missing key is a fault too.
    """
    if not isinstance(name, str) or not isinstance(created_ns, int):
        return f"the run has the name {short(name)} and was created at {short(created_ns)}"
    for part, shape in _RUN.items():
        if (fault := _object_fault(parts[part], shape, whole=whole)) is not None:
            return f"in its {part}, {fault}"
    return None


def _object_fault(value: Any, shape: Shape, *, whole: bool) -> str | None:
    if not isinstance(value, dict):
        return f"there is {short(value)}, and an object was expected"
    if not _is_shallow(value):
        return f"values are nested deeper than {_DEEPEST} levels"
    for key, (check, expected) in shape.items():
        if key not in value:
            if whole and key not in _LATER_KEYS:
                return f"{key} is missing"
        elif not check(value[key]):
            return f"{key} is {short(value[key])}, and {expected} was expected"
    return None


def _is_shallow(value: Any, levels: int = _DEEPEST) -> bool:
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(part, levels - 1) for part in inner)


def first_json_fault(connection: sqlite3.Connection) -> str | None:
    """The first JSON text of a table other than ``run`` that evalkit does not write; None: there is none."""
    return next(_json_faults(connection), None)


def _json_faults(connection: sqlite3.Connection) -> Iterator[str]:
    from evalkit.datasets.reader import parse_row  # takes longer to import than a hundred files to list

    for query, where, expected, check in _TEXTS:
        parse = read if where == _SCORE else orjson.loads  # a scorer may have extracted Infinity or NaN
        for number, text in connection.execute(query):
            try:
                value = parse(text)
                valid = _is_shallow(value) and check(value)
            except (ValueError, RecursionError, DatasetError) as error:
                yield f"{where} {number} holds JSON that cannot be read ({error})"
            else:
                if not valid:
                    yield f"{where} {number} holds {short(value)}, and {expected} was expected"
    for number, row, turns, last in connection.execute(_ROWS):
        try:
            value = orjson.loads(row)
            if not _is_shallow(value):
                yield f"the row of conversation number {number} is nested deeper than {_DEEPEST} levels"
            consistent = len(parse_row(value).turns) == turns and turns >= (last or 0)
        except (ValueError, RecursionError, DatasetError) as error:
            yield f"conversation number {number} has a row that cannot be read ({error})"
        else:
            if not consistent:
                yield f"conversation number {number} has another number of turns than its table says"
    for (number,) in connection.execute(_NO_SCORING):
        yield f"the current scoring, number {number}, is missing"


def read(text: Any) -> Any:
    """The value of a JSON text; Infinity and NaN, which Python writes, are accepted too.

    Raises
    ------
    ValueError
        It is no JSON, or a text in it ends in the middle of a character, so that nothing could write it.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        value = json.loads(text, parse_int=_whole_number)
        json.dumps(value, ensure_ascii=False).encode()
        return value


def _whole_number(digits: str) -> int | float:
    """A whole number as orjson reads it: one of more than 64 bits, which it could not write, as a float."""
    number = float(digits)
    return int(digits) if -(2.0**63) <= number < 2.0**64 else number


def _is_trust(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    return all(_TRUST.get(name, _is_numbers)(part) for name, part in value.items())


def _has(**parts: Check) -> Check:
    """An object of numbers with at least these parts."""
    return lambda value: (
        isinstance(value, dict) and all(check(value.get(name)) for name, check in parts.items()) and _is_numbers(value)
    )


def _is_span(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_whole(-(2**63), 2**63 - 1), value))


def _is_numbers(value: Any) -> bool:
    """A number, or a list or an object of numbers."""
    if isinstance(value, list | dict):
        return all(map(_is_numbers, value.values() if isinstance(value, dict) else value))
    return value is None or _is_number(value)


# what is read of a session's trust; other parts are numbers in any form
_TRUST: Mapping[str, Check] = {
    **dict.fromkeys(
        (
            *("loop_lag_p50_ms", "loop_lag_p99_ms", "loop_stall_max_ms", "gc_pauses", "gc_pause_max_ms", "cpu_share"),
            *("connections_opened", "reads", "reads_with_several_events"),
        ),
        _or_none(_is_number),
    ),
    "stalls": _or_none(_is_list_of(_is_span)),
    "function_calls": _or_none(_has(calls=_is_whole(0, _MANY), wait_ms=_has(max=_is_number))),
    "cluster": _or_none(_has(**dict.fromkeys(("workers", "workers_lost", "turns_sent_again"), _is_whole(0, _MANY)))),
}


def _is_about(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("versions", {}), dict)


def _is_judge(value: Any) -> bool:
    texts = ("model", "rubric", "rubric_hash", "form", "run")
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(key), str) for key in texts)
        and isinstance(value.get("base_url"), str | None)
    )


def _is_scorer(value: Any) -> bool:
    parts = value if isinstance(value, list) else [value]
    return all(part is None or isinstance(part, str) or (isinstance(part, dict) and "name" in part) for part in parts)


def _is_provenance(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _is_logprobs(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_list_of(_OBJECT[0])(tokens) for tokens in value.values())


def _is_versions(value: Any) -> bool:
    return isinstance(value, dict)


def _is_anything(value: Any) -> bool:
    return True


_SCORE = "the score of conversation number"
_TURN = "(conversation + 1) || ', repeat ' || repeat || ', turn ' || turn"
_OF = "SELECT {}, {} FROM {} WHERE {} NOT NULL"
# query for place and text, what the place is, what is expected, and the check
_TEXTS: tuple[tuple[str, str, str, Check], ...] = (
    ("SELECT id, about FROM session", "the session", "an object with versions", _is_about),
    ("SELECT id, trust FROM session WHERE trust NOT NULL", "the session", "numbers about the client", _is_trust),
    ("SELECT id, scorer FROM scoring", "the scoring", "the name of a scorer", _is_scorer),
    ("SELECT id, versions FROM scoring", "the scoring", "an object of versions", _is_versions),
    ("SELECT id, judge FROM scoring WHERE judge NOT NULL", "the scoring", "the description of a judge", _is_judge),
    (
        _OF.format("position + 1", "tags", "conversation", "tags"),
        "conversation number", "a list of tags", _is_list_of(_is_text),
    ),
    (
        _OF.format(_TURN, "tool_calls", "turn", "tool_calls"),
        "conversation number", "a list of function calls", _is_list_of(_is_call),
    ),
    (
        _OF.format(_TURN, "logprobs", "turn", "logprobs"),
        "conversation number", "an object of lists of tokens", _is_logprobs,
    ),
    (
        _OF.format(_TURN, "exchange", "turn", "exchange"),
        "conversation number", "a list of messages", _is_list_of(_is_message),
    ),
    (
        _OF.format(_TURN, "provenance", "attempt", "provenance"),
        "an attempt of conversation number", "an object of texts", _is_provenance,
    ),
    (_OF.format(_TURN, "extracted", "score", "extracted"), _SCORE, "JSON", _is_anything),
    (
        _OF.format(_TURN, "parts", "score", "parts"),
        _SCORE, "a list of objects", _is_list_of(_OBJECT[0]),
    ),
)  # fmt: skip
_ROWS = """
    SELECT position + 1, row, turns, (SELECT max(turn) FROM turn WHERE conversation = position)
    FROM (SELECT position, row, turns FROM conversation
      UNION ALL SELECT position, k.row, turns FROM corrected_row k JOIN conversation ON position = k.conversation)"""
_NO_SCORING = """
    SELECT scoring FROM run
    WHERE scoring > 0 AND scoring NOT IN (SELECT id FROM scoring WHERE ended_wall_ns NOT NULL)"""
