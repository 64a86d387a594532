"""Rows of the Berkeley Function-Calling Leaderboard, with the functions and the possible answers joined.

``ground_truth`` lists the right values of each argument, with an empty text if it may be left out, and becomes the
target of tool_call: ``{"$one_of": [...]}`` and ``{"$optional": ...}``. In rows of several turns it has a list of calls
in Python for each turn. The names of types and functions are sent as the leaderboard sends them.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from evalkit.datasets.chat_messages import Placed, conversation_of, read_messages, targets_of
from evalkit.datasets.chat_rows import function_name
from evalkit.datasets.field_checks import list_in, object_in, shortened, text_in
from evalkit.datasets.other_keys import with_rest
from evalkit.datasets.row_format import SCORED_LAST, Row, RowFormat, read_as
from evalkit.errors import DatasetError

_SCORER = {"name": "tool_call", "loose_text": True}
_WITHOUT_CALLS = ("irrelevance", "live_irrelevance")  # begin the ids of rows in which no function helps
_TYPES = {
    **dict.fromkeys(("dict", "HashMap", "Hashtable", "object"), "object"),
    **dict.fromkeys(("list", "tuple", "ArrayList", "Array", "Queue", "Stack", "array"), "array"),
    **dict.fromkeys(("float", "double", "number"), "number"),
    **dict.fromkeys(("byte", "short", "long", "Bigint", "integer"), "integer"),
    **dict.fromkeys(("bool", "boolean"), "boolean"),
}
_BAD = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST_CALL = 20_000  # characters


def _bfcl(row: Row) -> Row:
    if row.get("function") is None and row.get("involved_classes"):
        problem = "names classes whose functions are not in the row: join their descriptions, as function"
        raise DatasetError(problem, field="involved_classes")
    if row.get("missed_function"):
        problem = "changes the functions from turn to turn, which a row cannot: remove it to send all functions"
        raise DatasetError(problem, field="missed_function")
    functions = read_as(list_in, row.pop("function", None), "function")
    tools = [_tool(function, f"function[{at}]") for at, function in enumerate(functions)]
    excluded = {
        _sendable(str(name)) for name in read_as(list_in, row.get("excluded_function") or [], "excluded_function")
    }
    tools = [tool for tool in tools if function_name(tool) not in excluded]
    rounds = [
        read_messages(messages, f"question[{at}]")
        for at, messages in enumerate(read_as(list_in, row.pop("question", None), "question"))
    ]
    native = conversation_of([placed for messages in rounds for placed in messages], "question")
    native["tools"] = tools
    _add_targets(native, row, rounds)
    return with_rest(native, row, others=("ground_truth",))


def _tool(function: Any, field: str) -> Row:
    function = read_as(object_in, function, field)
    name = read_as(text_in, function.get("name"), f"{field}.name")
    sent = {"name": _sendable(name), "parameters": _schema(function.get("parameters") or {"type": "object"})}
    if function.get("description"):
        sent["description"] = function["description"]
    return {"type": "function", "function": sent}


def _sendable(name: str) -> str:
    return _BAD.sub("_", name)


def _schema(schema: Any) -> Any:
    """A schema with the type names of JSON Schema; any other type is text."""
    if not isinstance(schema, dict):
        return schema
    changed = {
        key: _schema(value) if key in ("items", "additionalProperties") else value for key, value in schema.items()
    }
    if isinstance(schema.get("properties"), dict):
        changed["properties"] = {name: _schema(value) for name, value in schema["properties"].items()}
    if isinstance(schema.get("type"), str):
        changed["type"] = _TYPES.get(schema["type"], "string")
    return changed


def _add_targets(native: Row, row: Row, rounds: list[list[Placed]]) -> None:
    turns = native["turns"]
    truth = row.pop("ground_truth", None)
    if truth is None:
        if str(row.get("id", "")).startswith(_WITHOUT_CALLS):
            turns[-1] |= {"target": [], "scorer": _SCORER}
        return
    calls = read_as(list_in, truth, "ground_truth")
    if not all(isinstance(each, list) for each in calls):
        turns[-1] |= {"target": _expected(calls, "ground_truth", native["tools"]), "scorer": _SCORER}
        return
    if len(calls) != len(turns) or len(rounds) != len(turns):
        raise DatasetError(f"has calls for {len(calls)} turns, and there are {len(turns)}", field="ground_truth")
    for at, turn in enumerate(turns):
        turn |= {"target": _expected(calls[at], f"ground_truth[{at}]", native["tools"]), "scorer": _SCORER}


def _expected(calls: list[Any], field: str, tools: list[Row]) -> Any:
    known = {function_name(tool): tool["function"] for tool in tools}
    expected = []
    for at, call in enumerate(calls):
        here = f"{field}[{at}]"
        name, arguments = _python_call(call, here, known) if isinstance(call, str) else _possible_call(call, here)
        if name not in known:
            raise DatasetError(f"calls {shortened(name)}, which is not among the functions of the row", field=here)
        expected.append({"name": name, "arguments": arguments})
    return targets_of(expected)


def _possible_call(call: Any, field: str) -> tuple[str, Row]:
    ((name, arguments),) = _one_item(call, field)
    values = read_as(object_in, arguments, f"{field}.{shortened(name)}")
    return _sendable(name), {key: _one_of(value) for key, value in values.items()}


def _one_item(call: Any, field: str) -> list[tuple[str, Any]]:
    if not isinstance(call, dict) or len(call) != 1:
        raise DatasetError('must look like {"function": {"argument": [its right values]}}', field=field)
    return list(call.items())


def _one_of(values: Any) -> Any:
    """The rule for an argument from the list of its right values."""
    if not isinstance(values, list):
        return values
    right = [_nested(value) for value in values if value != ""]
    if not right:
        return {"$optional": ""}
    rule = right[0] if len(right) == 1 else {"$one_of": right}
    return {"$optional": rule} if "" in values else rule


def _nested(value: Any) -> Any:
    """A right value; inside an object, each field has a list of its own."""
    if isinstance(value, dict):
        return {key: _one_of(part) for key, part in value.items()}
    return [_nested(part) if isinstance(part, dict) else part for part in value] if isinstance(value, list) else value


def _python_call(text: str, field: str, known: Mapping[str, Any]) -> tuple[str, Row]:
    """A call in Python, read and never run: ``mv(source='a.txt', destination='b')``."""
    try:
        call = ast.parse(text.strip()[:_LONGEST_CALL], mode="eval").body
        if not isinstance(call, ast.Call):
            raise ValueError
        name = _sendable(ast.unparse(call.func))
        function = known.get(name) or {}
        names = list((function.get("parameters") or {}).get("properties") or {})
        arguments = dict(zip(names, map(ast.literal_eval, call.args), strict=False))
        if len(arguments) < len(call.args) or any(each.arg is None for each in call.keywords):
            raise ValueError
        arguments |= {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
        return name, json.loads(json.dumps(arguments, allow_nan=False))
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        problem = f"is {shortened(repr(text))}: it must be a call in Python with plain values"
        raise DatasetError(problem, field=field) from None


def _is_bfcl(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("question"), list) and ("function" in row or "involved_classes" in row)


BFCL = RowFormat(
    "bfcl",
    "BFCL",
    '{"question": [[{"role": "user", "content": "2+2?"}]], "function": [{"name": "add", "parameters": '
    '{"type": "dict"}}], "ground_truth": [{"add": {"a": [2], "b": [2], "unit": ["", "none"]}}]}',
    ("question", "function"),
    _is_bfcl,
    _bfcl,
    fields=(SCORED_LAST, (re.compile(r"^tools(?=\[)"), "function")),
)
