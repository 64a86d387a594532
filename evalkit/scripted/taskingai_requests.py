"""How the profile ``taskingai`` reads a request body: what it checks, in which order, and with which error messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.scripted.http_messages import Request

MODEL_ID, ASSISTANT_ID = 8, 24  # lengths
_PROPERTY_TYPES = ("string", "number", "integer", "boolean", "array")
_TRUE, _FALSE = {"1", "on", "t", "true", "y", "yes"}, {"0", "off", "f", "false", "n", "no"}
_OBJECT = "Input should be a valid dictionary or object to extract fields from"
_DOCS = "https://errors.pydantic.dev/2.9/v/"


class ApiError(Exception):
    """Raised to answer a request with the service's own form of error."""

    def __init__(self, status: int, code: str, message: str, debug: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        error = {"code": code, "message": message} | ({"debug": debug} if debug else {})
        self.body: dict[str, Any] = {"status": "error", "error": error}


class Unparsable(Exception):
    """The body is not text."""


@dataclass(frozen=True, slots=True)
class CheckedRequest:
    """A checked request: ``messages`` and ``functions`` are in the service's internal form."""

    model: str
    messages: list[dict[str, Any]]
    functions: list[dict[str, Any]]
    function_call: str | None
    legacy: bool
    streamed: bool

    @property
    def assistant(self) -> bool:
        """Whether the request is for an assistant and not for a model."""
        return len(self.model) == ASSISTANT_ID


def read(request: Request) -> dict[str, Any]:
    """The body as a JSON object; the service checks it before the key.

    Raises
    ------
    ApiError
        The body is not JSON or not an object, or it has another content type.
    Unparsable
        The body is not UTF-8.
    """
    if not request.body:
        raise _invalid(("body",), "missing", "Field required", None)
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body: Any = request.body
    if content_type == "application/json":
        try:
            body = json.loads(request.body)
        except json.JSONDecodeError as error:
            raise _invalid(("body", error.pos), "json_invalid", "JSON decode error", {}, {"error": error.msg}) from None
        except UnicodeDecodeError:
            raise Unparsable from None
    if not isinstance(body, dict):
        raise _invalid(("body",), "model_attributes_type", _OBJECT, body)
    return body


def check(body: dict[str, Any]) -> CheckedRequest:
    """Check the fields that the service reads; all others are ignored.

    Raises
    ------
    ApiError
        For the first fault.
    """
    for field in ("messages", "model"):
        if field not in body:
            raise _invalid(("body", field), "missing", "Field required", body)
    _list_of(body, "messages", "dict_type", "Input should be a valid dictionary", nullable=False)
    if not isinstance(body["model"], str):
        raise _invalid(("body", "model"), "string_type", "Input should be a valid string", body["model"])
    _check_choice("function_call", body.get("function_call"))
    legacy = _list_of(body, "functions")
    for i, function in enumerate(legacy):
        _check_function(("body", "functions", i), function)
    _check_choice("tool_choice", body.get("tool_choice"))
    tools = _list_of(body, "tools")
    for i, tool in enumerate(tools):
        _check_tool(("body", "tools", i), tool)
    streamed = _boolean(("body", "stream"), body.get("stream", False))

    messages = [_converted(message) for message in body["messages"]]
    functions = [_function(function) for function in legacy]
    functions = [_function(tool["function"]) for tool in tools] or functions
    choice = body.get("function_call")
    name: str | None = choice["name"] if isinstance(choice, dict) else choice
    _check_order(body["model"], messages)
    return CheckedRequest(body["model"], messages, functions, name, bool(legacy) and not tools, streamed)


def _list_of(
    body: dict[str, Any], name: str, kind: str = "model_attributes_type", problem: str = _OBJECT, nullable: bool = True
) -> list[Any]:
    """A field that is a list of objects; null or missing means an empty list where ``nullable``."""
    value = body.get(name)
    if value is None and nullable:
        return []
    if not isinstance(value, list):
        raise _invalid(("body", name), "list_type", "Input should be a valid list", value)
    for i, item in enumerate(value):
        if not isinstance(item, dict):
            raise _invalid(("body", name, i), kind, problem, item)
    return value


def _check_choice(name: str, value: Any) -> None:
    if value in (None, "none", "auto") or (isinstance(value, dict) and isinstance(value.get("name"), str)):
        return
    where = ("body", name, "literal['none','auto']")
    raise _invalid(where, "literal_error", "Input should be 'none' or 'auto'", value, {"expected": "'none' or 'auto'"})


def _check_tool(where: tuple[str | int, ...], tool: dict[str, Any]) -> None:
    if "function" not in tool:
        raise _invalid((*where, "function"), "missing", "Field required", tool)
    if not isinstance(tool["function"], dict):
        raise _invalid((*where, "function"), "model_attributes_type", _OBJECT, tool["function"])
    _check_function((*where, "function"), tool["function"])
    if "type" not in tool:
        raise _invalid((*where, "type"), "missing", "Field required", tool)
    if tool["type"] != "function":
        expected = {"expected": "'function'"}
        raise _invalid((*where, "type"), "literal_error", "Input should be 'function'", tool["type"], expected)


def _check_function(where: tuple[str | int, ...], function: dict[str, Any]) -> None:
    if "name" not in function:
        raise _invalid((*where, "name"), "missing", "Field required", function)
    for name in ("name", "description"):
        if name in function and not isinstance(function[name], str):
            raise _invalid((*where, name), "string_type", "Input should be a valid string", function[name])
    if "parameters" in function:
        _check_parameters((*where, "parameters"), function["parameters"])


def _check_parameters(where: tuple[str | int, ...], parameters: Any) -> None:
    if parameters is None:
        raise ApiError(500, "INTERNAL_SERVER_ERROR", "argument of type 'NoneType' is not iterable")
    if not isinstance(parameters, dict) or not isinstance(parameters.get("properties", {}), dict):
        raise _invalid(where, "dict_type", "Input should be a valid dictionary", parameters)
    for name in parameters.get("required", ()):
        if name not in parameters.get("properties", {}):
            raise _value_error(where, f"parameter {name} is in required but not in properties", parameters)
    if "properties" not in parameters:
        raise _invalid((*where, "properties"), "missing", "Field required", parameters)
    for name, rule in parameters["properties"].items():
        _check_property((*where, "properties", name), rule)


def _check_property(where: tuple[str | int, ...], rule: Any) -> None:
    if not isinstance(rule, dict):
        raise ApiError(500, "INTERNAL_SERVER_ERROR", f"'{type(rule).__name__}' object has no attribute 'get'")
    kind = rule.get("type")
    if kind != "string" and rule.get("enum"):
        raise _value_error(where, "enum is only allowed when type is 'string'", rule)
    if kind == "array" and not rule.get("items"):
        raise _value_error(where, "items is required when type is 'array'", rule)
    if "type" not in rule:
        raise _invalid((*where, "type"), "missing", "Field required", rule)
    if not isinstance(kind, str):
        raise _invalid((*where, "type"), "string_type", "Input should be a valid string", kind)
    if kind not in _PROPERTY_TYPES:
        pattern = f"^({'|'.join(_PROPERTY_TYPES)})$"
        problem = f"String should match pattern '{pattern}'"
        raise _invalid((*where, "type"), "string_pattern_mismatch", problem, kind, {"pattern": pattern})


def _boolean(where: tuple[str | int, ...], value: Any) -> bool:
    word = str(value).lower() if isinstance(value, str | int) else ""
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    if isinstance(value, str | int):
        raise _invalid(where, "bool_parsing", "Input should be a valid boolean, unable to interpret input", value)
    raise _invalid(where, "bool_type", "Input should be a valid boolean", value)


def _converted(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message in the internal form: names and call ids are dropped, ``tool`` becomes ``function``."""
    role = message.get("role")
    if not role:
        raise ApiError(422, "REQUEST_VALIDATION_ERROR", "role is required for each message.")
    if role not in ("system", "user", "assistant", "tool", "function"):
        raise ApiError(500, "INTERNAL_SERVER_ERROR", "Unsupported message type: <class 'dict'>")
    calls = _function_calls(message) if role == "assistant" else []
    content = message.get("content")
    if content is not None and not isinstance(content, str):
        raise _data_invalid(("content",), "string_type", "Input should be a valid string", content)
    inner: dict[str, Any] = {"role": "function" if role == "tool" else role, "content": content}
    return inner | {"function_calls": calls} if calls else inner


def _function_calls(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    calls, legacy = message.get("tool_calls"), message.get("function_call")
    if calls and not isinstance(calls, list):
        raise ApiError(422, "REQUEST_VALIDATION_ERROR", "tool_calls must be a list.")
    if legacy and not calls and not isinstance(legacy, dict):
        raise ApiError(422, "REQUEST_VALIDATION_ERROR", "function_call must be a dictionary.")
    try:
        functions = [call["function"] for call in calls] if calls else [legacy] if legacy else []
        read_calls = [{"name": call["name"], "arguments": json.loads(call["arguments"])} for call in functions]
    except (KeyError, TypeError, ValueError) as error:
        raise ApiError(500, "INTERNAL_SERVER_ERROR", str(error)) from None
    for call in read_calls:
        if not isinstance(call["arguments"], dict):
            raise _data_invalid(("arguments",), "dict_type", "Input should be a valid dictionary", call["arguments"])
    return read_calls


def _function(function: Mapping[str, Any]) -> dict[str, Any]:
    """A function in the internal form, which requires a description and parameters."""
    if "parameters" not in function:
        raise ApiError(500, "INTERNAL_SERVER_ERROR", "'NoneType' object has no attribute 'model_dump'")
    if "description" not in function:
        raise _data_invalid(("description",), "string_type", "Input should be a valid string", None)
    return {name: function[name] for name in ("name", "description", "parameters")}


def _check_order(model: str, messages: Sequence[Mapping[str, Any]]) -> None:
    if not model:
        problem = "String should have at least 1 character"
        raise _data_invalid(("model_id",), "string_too_short", problem, model, {"min_length": 1})
    if len(model) > 50:
        problem = "String should have at most 50 characters"
        raise _data_invalid(("model_id",), "string_too_long", problem, model, {"max_length": 50})
    if not messages:
        problem = "messages cannot be empty."
        context = {"error": ValueError(problem)}
        raise _data_invalid(("messages",), "value_error", f"Value error, {problem}", [], context)
    if len(model) not in (MODEL_ID, ASSISTANT_ID):
        raise ApiError(422, "REQUEST_VALIDATION_ERROR", f"Invalid model_id: {model}")


def _detail(
    where: tuple[str | int, ...], kind: str, problem: str, value: Any, context: dict[str, Any] | None
) -> dict[str, Any]:
    detail = {"type": kind, "loc": where, "msg": problem, "input": value}
    return detail | {"ctx": context} if context else detail


def _invalid(
    where: tuple[str | int, ...], kind: str, problem: str, value: Any, context: dict[str, Any] | None = None
) -> ApiError:
    """The error for a fault in the request's form: place and problem, and a Python repr of both as ``debug``."""
    debug = str(_detail(where, kind, problem, value, context))
    return ApiError(422, "REQUEST_VALIDATION_ERROR", f"{'/'.join(map(str, where))}: {problem}", debug)


def _value_error(where: tuple[str | int, ...], problem: str, value: Any) -> ApiError:
    return _invalid(where, "value_error", f"Value error, {problem}", value, {"error": ValueError(problem)})


def _data_invalid(
    where: tuple[str | int, ...], kind: str, problem: str, value: Any, context: dict[str, Any] | None = None
) -> ApiError:
    """The error for a fault found later, in the internal form: the Python repr is the message."""
    message = str(_detail(where, kind, problem, value, context) | {"url": _DOCS + kind})
    return ApiError(422, "DATA_MODEL_VALIDATION_ERROR", message)
