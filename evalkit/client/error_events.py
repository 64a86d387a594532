"""Finds the error that a good HTTP answer reports: in an event of its stream, or in the whole answer.

Services report errors in many forms: as ``error``, ``errors`` or ``fault``; by a code beside a text, a status, a type;
as a line or an event of its own. Empty fields of that kind belong to good answers of some services.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from evalkit.client.quoting import first_words

_NOT_LETTERS = re.compile(r"[^a-z0-9]+")
_SUCCESS = frozenset({"0", "ok", "okay", "success", "successful", "succeeded", "succeed", "null", "none", "false"})
# a text of these words alone says that all is well
_WELL = re.compile(
    r"\W*(?:(?:the|your|this|api|http|request|call|operation|query|response|answer|message|generation|task|status|code|"
    r"was|is|has|been|0|2\d\d)\W+)*(?:(?:success|successful|successfully|succeeded|ok|okay|done|normal|complete|"
    r"completed|finished|processed|generated|(?:no|without|0) (?:errors?|failures?))(?:\W+|$))+"
    r"|(?:(?![不未无没非])\w){0,6}(?:成功|正常|完成)\W*",
    re.IGNORECASE,
)
_WARNING = re.compile(r"\W*(?:warn(?:ing)?|notice|info|deprecat\w*|debug)\b", re.IGNORECASE)
_FAILED = frozenset({"error", "fail", "failed", "failure", "exception", "fatal"})
# names of fields, in lower case and without punctuation
_NESTED = ("error", "errors", "fault", "exception", "failure")
_WRAPPERS = ("xgroq", "response")  # objects with an error of their own
_CODED = ("baseresp", "header", "status", "result")
_CODES = ("code", "errorcode", "errcode", "statuscode", "retcode", "httpstatus", "httpcode", "status")
_TEXTS = (
    "message",
    "msg",
    "errormessage",
    "errormsg",
    "errmsg",
    "errordescription",
    "faultstring",
    "detail",
    "details",
)
_MORE_TEXTS = ("statusmsg", "statusmessage", "title", "description", "reason", "debug", "data")
_ALL_TEXTS = (*_TEXTS, *_MORE_TEXTS)
_PARTS = ("content", "text", "tool_calls", "function_call", "refusal", "reasoning", "reasoning_content")
_TYPES = ("errortype", "type", "exceptiontype")
# words in a line of plain text that is not part of any event
_TEXT = re.compile(
    r"error|exception|traceback|fail|unavailable|overload|time[d-]? ?out|limit|unauthori|forbidden|denied|upstream|"
    r"invalid|not found|exceed|bad gateway|too many requests",
    re.IGNORECASE,
)


def reported_error(event: Mapping[str, Any], *, answered: bool = False) -> Any:
    """The error that an event without choices, or an answer without a message, reports.

    Parameters
    ----------
    event : mapping
        One event of a stream, or a whole answer.
    answered : bool
        It follows the end of an answer, where a text alone is information.

    Returns
    -------
    any JSON value
        The error with its message, code and type if it has them; None: it reports none.
    """
    names = _by_name(event)
    if (error := _named(names)) is not None:
        return error
    if _is_marked(names):
        return _composed(names) or dict(event)
    code, text = _failing_code(names), _text(names, _TEXTS)
    if code is not None and (text or _text(names, _MORE_TEXTS) or _is_status(code)):
        return _composed(names)
    return None if answered or not text or _informs(names) or _reports_success(names) else _composed(names)


def error_beside_choices(event: Mapping[str, Any]) -> Any:
    """The error that an event with choices reports in a field for errors, or by a code and a text; None: none.

    Some services number their good answers: beside a part of one, a code counts if it or its text names an error.
    """
    names = _by_name(event)
    if (error := _named(names)) is not None:
        return error
    text = _text(names, _TEXTS)
    if not text:
        return None
    code = _failing_code(names)
    failed = code is not None and (not _has_answer(event) or _names_error(names, code, text))
    return _composed(names) if failed or names.get("success") is False else None


def _has_answer(event: Mapping[str, Any]) -> bool:
    """Whether a choice brings a part of an answer; the first event of a stream may bring only a role."""
    choices = event.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return False
    delta = choice.get("delta")
    if isinstance(delta, dict) and delta.get("role") and not choice.get("finish_reason"):
        return True
    return any(isinstance(part, dict) and any(map(part.get, _PARTS)) for part in (delta, choice.get("message"), choice))


def _names_error(names: Mapping[str, Any], code: Any, text: Any) -> bool:
    if _is_status(code) or any(names.get(name) for name in ("errorcode", "errcode", "errormessage", "errormsg")):
        return True
    return any(isinstance(words, str) and _TEXT.search(words) for words in (code, text))


def text_error(payload: bytes) -> str | None:
    """The error that a line of plain text or a page in HTML reports; None: it reports none."""
    words = first_words(payload)
    if payload.lstrip()[:1] == b"<":
        return words or "a page in HTML"
    return words if _TEXT.search(words) else None


def error_of_another_type(event: Any) -> Any:
    """The error in a text, or in a list with an object; None: it reports none."""
    if isinstance(event, str):
        return text_error(event.encode("utf-8", "replace"))
    first = event[0] if isinstance(event, list) and event else None
    return reported_error(first) if isinstance(first, dict) else None


def error_in_lines(body: bytes) -> Any:
    """The error in a body that begins with bare JSON and is more than that; None: it reports none."""
    for block in body.replace(b"\r", b"").split(b"\n\n"):
        for line in (block, *block.split(b"\n")):
            event = _object_in(line.removeprefix(b"data:").strip())
            if event is not None and "choices" not in event and (error := reported_error(event)) is not None:
                return error
    return None


def error_payload(data: bytes, others: Sequence[bytes]) -> bytes:
    """The data of an event that has other lines too, with the error that those report.

    Parameters
    ----------
    data : bytes
        What its ``data`` lines hold; may be empty.
    others : sequence of bytes
        Its other lines, comments left out.
    """
    for line in others:
        field, _, value = line.partition(b":")
        field, value = field.strip().lower(), value.strip()
        if field == b"event":
            if _is_failure(value):
                return _error_in(data or value)
        elif field in (b"error", b"err", b"exception", b"[error]"):
            return _error_in(value or data)
        elif field not in (b"id", b"retry", b"", b"data"):
            return _without_field(data, others)
    return data


def _without_field(data: bytes, others: Sequence[bytes]) -> bytes:
    """The data of an event with lines that belong to no field: JSON without ``data:``, or plain text."""
    block = b"\n".join(others).strip()
    parsed = _object_in(block)
    if parsed is not None:
        return block if not data or reported_error(parsed) is not None else data
    error = None if data else text_error(block)
    return data if error is None else orjson.dumps({"error": error})


def _error_in(value: bytes) -> bytes:
    """JSON of an event with this error, which is an object or text."""
    parsed = _object_in(value)
    if parsed is None and (last := value.rpartition(b"\n")[2]) != value:  # an event that was cut off comes first
        parsed, value = _object_in(last), last
    if parsed is None:
        return orjson.dumps({"error": first_words(value) or "error"})
    return value if reported_error(parsed) is not None else orjson.dumps({"error": parsed or "error"})


def _object_in(value: bytes) -> dict[str, Any] | None:
    if value[:1] != b"{":
        return None
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _is_failure(name: bytes) -> bool:
    return _plain(name.decode("utf-8", "replace").rpartition(".")[2]) in _FAILED


def _named(names: Mapping[str, Any]) -> Any:
    """The error in a field that is for errors, or in an object with a code of its own, such as ``base_resp``."""
    for name in _NESTED:
        if (error := _reported(names.get(name))) is not None:
            return _completed(error, names)
    for name in _WRAPPERS:
        if isinstance(value := names.get(name), dict) and (error := _named(_by_name(value))) is not None:
            return error
    for name in _CODED:
        if isinstance(value := names.get(name), dict):
            inner = _by_name(value)
            if _failing_code(inner) is not None and _text(inner, _ALL_TEXTS):
                return _composed(inner)
    return None


def _reported(error: Any) -> Any:
    """The error under a name for errors; None: empty, or a success."""
    if isinstance(error, list):
        return next((found for each in error if (found := _reported(each)) is not None), None)
    if isinstance(error, dict):
        names = _by_name(error)
        text = _text(names, _ALL_TEXTS)
        good = _is_success(text) if text else not any(error.values()) or _reports_success(names)
        return None if good or any(_is_warning(names.get(name)) for name in ("level", "severity", "type")) else error
    if isinstance(error, str):
        return None if _is_success(error) or _is_warning(error) else error
    return error or None


def _completed(error: Any, names: Mapping[str, Any]) -> Any:
    """An error with the text and code beside it, unless it has its own."""
    if isinstance(error, dict) and error.get("message"):
        return error
    text = _text(names, _ALL_TEXTS)
    if isinstance(error, dict):
        composed = _composed(_by_name(error))
        if composed and text and "message" not in composed:
            composed["message"] = text
        return composed or error
    composed = _composed(names)
    if isinstance(error, bool) or not isinstance(error, (str, int)):
        return composed if text else {**composed, "message": "error"}
    if not text:
        composed["message"] = str(error)
    elif "code" not in composed:
        composed["code"] = error
    return composed


def _composed(names: Mapping[str, Any]) -> dict[str, Any]:
    """An error object with the names that others expect."""
    code, text = _failing_code(names), _text(names, _ALL_TEXTS)
    if code is None and isinstance(detail := names.get("detail"), dict):
        code = _failing_code(_by_name(detail))
    kind = next((value for name in _TYPES if isinstance(value := names.get(name), str) and value), None)
    status = names.get("status")
    composed: dict[str, Any] = {}
    if isinstance(text, dict):
        composed = _composed(_by_name(text))
        text = composed.get("message") or text
    if text:
        composed["message"] = text
    if code is not None:
        composed["code"] = code
    if kind is not None and _plain(kind) != "error":
        composed["type"] = kind
    if type(status) is int and status >= 400:
        composed["status"] = status
    return composed


def _is_marked(names: Mapping[str, Any]) -> bool:
    """Whether a field says that this is an error."""
    if names.get("success") is False or names.get("ok") is False or names.get("iserror") is True:
        return True
    words = (names.get(name) for name in ("object", "event", "status"))
    if any(isinstance(word, str) and _plain(word) in _FAILED for word in words):
        return True
    kind = names.get("type") or names.get("errortype")
    return isinstance(kind, str) and (
        _is_failure(kind.encode()) or _plain(kind).endswith(("error", "exception", "failure"))
    )


def _informs(names: Mapping[str, Any]) -> bool:
    """Whether an event has a type or a state, and none that is about a failure."""
    words = [
        word for name in ("type", "event", "status", "object") if isinstance(word := names.get(name), str) and word
    ]
    # in problem details (RFC 9457) the type is an address
    return bool(words) and not any(":" in word or _TEXT.search(word) for word in words)


def _failing_code(names: Mapping[str, Any]) -> Any:
    """A code that does not report success; None: there is none."""
    for name in _CODES:
        value = names.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            continue
        if name == "status" and not _is_status(value):
            continue
        text = str(value).strip()
        if text.strip("0") and not _is_success(text) and not re.fullmatch("2[0-9][0-9]", text):
            # services have numbers of their own for a success, so its text decides
            return None if not _is_status(value) and _is_success(_text(names, _ALL_TEXTS)) else value
    return None


def _is_status(code: Any) -> bool:
    return re.fullmatch("[45][0-9][0-9]", str(code)) is not None


def _reports_success(names: Mapping[str, Any]) -> bool:
    """Whether a code, a text or a type says that all is well."""
    if _failing_code(names) is not None:
        return False
    codes = [value for name in _CODES[:-1] if isinstance(value := names.get(name), (int, str)) and value != ""]
    return bool(codes) or names.get("success") is True or _is_success(_text(names, _TEXTS))


def _text(names: Mapping[str, Any], of: Sequence[str]) -> Any:
    """The first text under these names; a message that is an object is one of a conversation."""
    for name in of:
        value = names.get(name)
        if value and (isinstance(value, str) or (isinstance(value, list) and any(map(_has_text, value)))):
            return value
        if name in ("detail", "details") and isinstance(value, dict) and _has_text(value):
            return value
    return None


def _has_text(value: Any) -> bool:
    """Whether a detail says anything in words, itself or in an object in it."""
    if isinstance(value, dict):
        names = _by_name(value)
        return any(isinstance(names.get(name), (str, list, dict)) for name in (*_ALL_TEXTS, *_NESTED))
    return isinstance(value, str)


def _is_success(text: Any) -> bool:
    if not isinstance(text, str):
        return False
    if not re.search(r"\w", text) or _plain(text) in _SUCCESS:
        return True
    return len(text) <= 200 and _WELL.fullmatch(text.replace("_", " ")) is not None


def _is_warning(text: Any) -> bool:
    return isinstance(text, str) and _WARNING.match(text) is not None


def _by_name(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {_plain(name): value for name, value in fields.items()}


def _plain(name: str) -> str:
    return _NOT_LETTERS.sub("", name[:80].lower())
