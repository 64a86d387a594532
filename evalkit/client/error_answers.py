"""Turns error answers of every form into a ``Failure``."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from evalkit.client import gateway_answers
from evalkit.client.durations import unix_time
from evalkit.client.passing_faults import find_passing_fault, kind_of_status
from evalkit.client.quoting import first_words, one_line
from evalkit.client.refusals import MODEL, PARAMETER, Refusal, refusal_of
from evalkit.client.retry_after import reset_s, wait_before_retry_s
from evalkit.client.sse import EventDecoder
from evalkit.client.wait_in_body import TEXT_LIMIT, wait_in_body_s, wait_in_fields_s
from evalkit.errors import LASTING_CODES, Failure, sent, shown_wait

_TEXT_LIMIT = 4_096  # characters searched for the cause
_UNKNOWN_KEY = re.compile(r"\bapi[ _]?key\b.{0,80}\bnot found\b", re.IGNORECASE)
# text that looks like a key in an answer that rejects one: a known prefix, a masked middle, a long mix of letters and
# digits
_KEYLIKE = re.compile(
    r"\b(?:sk|pk|rk|gsk|hf|xai|tk)[-_][\w*.-]{3,}|[\w.-]*\*{3,}[\w*.-]*|\b(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{20,}"
)
_VALIDATION = re.compile(r"^\{'type': .*?'msg': (?:'([^']+)'|\"([^\"]+)\")", re.DOTALL)
# the same as Python prints it, several of them
_VALIDATIONS = re.compile(r"'loc': [(\[]([^()\[\]]*)[)\]], *'msg': (?:'([^']*)'|\"([^\"]*)\")")
_PARTS = re.compile(r"[^\s',]+")
_PROVIDER_CODES = ("PROVIDER_ERROR", "GENERATION_ERROR")
_PROVIDER_STATUS = re.compile(
    r"""['"](?:code|status|status_code)\\*['"]: *\\*['"]?([45]\d\d)\b|\bError code: ([45]\d\d)\b"""
)

# kinds and the words in codes, types and texts that indicate them, normalised; the first match is used
_WORDS = (
    ("rate_limited", ("ratelimit", "quota", "throttl", "toomanyrequests", "resourceexhausted")),
    ("auth", ("authent", "unauthori", "apikey", "permission", "forbidden")),
    ("not_found", ("notfound",)),
    ("server", ("unavailable", "overload", "cannotconnect", "servererror", "internal", "timeout", "timedout")),
    ("bad_request", ("invalid", "badrequest", "validation", "contextlength", "contextsize", "unprocessable", "filter")),
)

# what the endpoint did, and what to try
_SENTENCES = {
    "auth": ("refused the API key", "Check that the key is set, complete and meant for this endpoint."),
    "not_found": (
        "did not find what was requested",
        "Check the model name or assistant id, and the base URL.",
    ),
    "bad_request": ("refused the request", "Check the messages and parameters against what it accepts."),
    "rate_limited": ("asks for fewer requests", "Lower the concurrency or set a limit of requests per minute."),
    "server": ("failed", "Try again; if it keeps failing, check the endpoint's log."),
    "protocol": ("sent no usable answer", "Check the base URL."),
}


@dataclass(frozen=True, slots=True)
class _ErrorText:
    """The text, code and type of an error answer, and the parameter that it is about."""

    text: str = ""
    code: str | None = None
    type: str | None = None
    parameter: str | None = None

    @property
    def labels(self) -> str:
        return _normalised(f"{self.code or ''} {self.type or ''}")


@dataclass(frozen=True, slots=True)
class _Diagnosis:
    kind: str
    did: str
    advice: str
    who: str = "The endpoint"
    quoted: bool = True
    refusal: Refusal | None = None
    code: str | None = None  # in place of the endpoint's


def failure_of(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """The failure of an HTTP answer with an error status.

    The status gives the kind, except where the text is known to mean another: services in front of a model report its
    failures with statuses of their own. Which 4xx are ``server``, since they depend on the endpoint's state and not on
    the request, is in ``passing_faults``. ``timeout`` is used only for evalkit's own limits.

    Parameters
    ----------
    status : int
        HTTP status.
    headers : mapping
        Names in lower case.
    body : bytes
        The part received: JSON in any of the known forms, HTML, plain text or nothing.

    Returns
    -------
    Failure
        ``code`` is ``insufficient_quota`` if waiting would not help a ``rate_limited`` request.
    """
    error_text = _text_in_body(body)
    body_text = body[: 4 * TEXT_LIMIT].decode("utf-8", "replace")
    diagnosis = _known_diagnosis(status, headers, body, error_text) or _diagnose(status, error_text)
    return _failure(diagnosis, error_text, status, headers, body_text)


def failure_of_error(error: Any, status: int, headers: Mapping[str, str]) -> Failure:
    """The failure of an error object inside a good HTTP answer; its own code, type or status gives the kind."""
    error_text = _text_in_error(error)
    inner = _status_in(error)
    kind = _kind_by_words(error_text.labels) or _kind_by_words(_normalised(error_text.text)) or "server"
    diagnosis = _diagnose(inner, error_text) if inner is not None else _diagnose_kind(kind, error_text)
    return _failure(diagnosis, error_text, status, headers, _as_text(error))


def _failure(
    diagnosis: _Diagnosis, error_text: _ErrorText, status: int, headers: Mapping[str, str], body: str
) -> Failure:
    code = error_text.code or error_text.type
    wait = _wait_s(diagnosis.kind, headers, body)
    passing = find_passing_fault(
        diagnosis.kind,
        status,
        error_text.text,
        body,
        wait_s=wait,
        lasting=code in LASTING_CODES,
        refused=diagnosis.refusal is not None,
    )
    if passing is not None:
        diagnosis = replace(diagnosis, kind=passing.kind, did=passing.did, advice=passing.advice)
        wait = _wait_s(passing.kind, headers, body)
    return Failure(
        kind=diagnosis.kind,
        message=_message(diagnosis, error_text, status, headers, wait),
        http_status=status,
        code=diagnosis.code or code,
        retry_after_s=wait,
        sent=(),
        worded_wait=wait is not None and _is_worded(headers, body),
        pending=None if passing is None else passing.pending,
        refused=None if diagnosis.refusal is None else diagnosis.refusal.cause,
    )


def _wait_s(kind: str, headers: Mapping[str, str], body: str) -> float | None:
    """Seconds that the answer asks to wait: for what failed, in the body, or until a limit is renewed."""
    if kind not in ("rate_limited", "server"):
        return None
    sent_at = unix_time(headers.get("date", ""))  # the sender's clock, since this machine's may be wrong
    now = time.time() if sent_at is None else sent_at
    wait = wait_before_retry_s(headers, now)
    if wait is None:
        wait = wait_in_body_s(body, now)
    if wait is None and kind == "rate_limited":  # on other answers those headers do not ask to wait
        wait = reset_s(headers, now)
    return wait


def _is_worded(headers: Mapping[str, str], body: str) -> bool:
    """Whether a wait comes from words, since neither a header nor a field of the body names one."""
    now = time.time()
    return wait_before_retry_s(headers, now) is None and wait_in_fields_s(body, now) is None


def _message(
    diagnosis: _Diagnosis, error_text: _ErrorText, status: int, headers: Mapping[str, str], wait: float | None
) -> str:
    marks = [f"HTTP {status}", sent(error_text.code or error_text.type or "")]
    request = sent(one_line(headers.get("x-request-id", ""), 80))
    marks.append(f"request {request}" if request else "")
    what = f"{diagnosis.who} {diagnosis.did} ({', '.join(mark for mark in marks if mark)})"
    quote = one_line(_KEYLIKE.sub("…", error_text.text) if diagnosis.kind == "auth" else error_text.text)
    advice = diagnosis.advice if wait is None else f"It asks to wait {shown_wait(wait)}. {diagnosis.advice}"
    if not diagnosis.quoted:
        return f"{what}. {advice}"
    if not quote:
        return f"{what} and gave no reason. {advice}"
    return f'{what}: "{sent(quote.rstrip("."))}". {advice}'


def _diagnose(status: int, error_text: _ErrorText) -> _Diagnosis:
    """The diagnosis by the error status, unless the text is known to mean another."""
    normalised = _normalised(error_text.text)
    if 400 <= status < 500 and _UNKNOWN_KEY.search(error_text.text):
        # not quoted, since the text repeats a part of the key
        return _Diagnosis(
            "auth",
            "does not know this API key",
            "The key is wrong or belongs to another service: copy it again.",
            quoted=False,
        )
    if status >= 400 and ("cannotconnecttohost" in normalised or "serviceisunavailable" in normalised):
        return _Diagnosis("server", "cannot reach the model behind it", "Try again when the model's provider is back.")
    if status >= 400 and error_text.code in _PROVIDER_CODES:
        return _diagnose_provider(status, error_text)
    if status == 500 and "unsupportedmessagetype" in normalised:
        return _Diagnosis(
            "bad_request", "refused a message", "Use the roles system, user, assistant and tool, with text as content."
        )
    return _diagnose_kind(kind_of_status(status), error_text, status)


def _known_diagnosis(status: int, headers: Mapping[str, str], body: bytes, error_text: _ErrorText) -> _Diagnosis | None:
    """The diagnosis of an answer about the way to the model; None: it is about the request or the model."""
    if error_text.code in _PROVIDER_CODES or _UNKNOWN_KEY.search(error_text.text):
        return None
    kind = kind_of_status(status)
    if kind in ("auth", "not_found", "rate_limited", "server"):
        provider = gateway_answers.provider_of(_json_in(body), error_text.text)
        if provider is not None:
            return _diagnose_named_provider(provider, kind)
    known = gateway_answers.known_answer(status, headers, body, error_text.text, error_text.labels)
    return known and _Diagnosis(known.kind, known.did, known.advice, known.who, code=known.code)


def _diagnose_named_provider(provider: str, kind: str) -> _Diagnosis:
    did, advice = _SENTENCES[kind]
    if kind == "auth":
        did = "refused the key that it was given"
        advice = (
            "The endpoint itself accepted the request: check the provider's key in the settings of the endpoint, or "
            "your own if the endpoint passes it on."
        )
    name = f", {sent(one_line(provider, 40))}," if provider else ""
    return _Diagnosis(kind, did, advice, who=f"The model's provider behind the endpoint{name}")


def _diagnose_provider(status: int, error_text: _ErrorText) -> _Diagnosis:
    """The diagnosis of a provider's failure, which the endpoint reports as text with a status of its own."""
    inner = _PROVIDER_STATUS.search(error_text.text)
    if inner:
        kind = kind_of_status(int(inner.group(1) or inner.group(2)))
    else:
        kind = _kind_by_words(_normalised(error_text.text)) or kind_of_status(status)
    did, advice = _SENTENCES[kind]
    if kind == "auth":
        did = "refused the key stored there"
        advice = "Your own key was accepted: renew the provider's key in the service's settings."
    return _Diagnosis(kind, did, advice, who="The model's provider behind the endpoint")


def _diagnose_kind(kind: str, error_text: _ErrorText, status: int = 0) -> _Diagnosis:
    did, advice = _SENTENCES[kind]
    if kind == "rate_limited" and "quota" in error_text.labels:
        did, advice = "reports that the quota is used up", "Waiting does not help: check the account's plan and credit."
    elif status == 402:
        did, advice = "asks for payment", "Check the account's credit."
    elif status == 403:
        did, advice = "does not allow this", "Check what the key may be used for, and that no proxy is in between."
    elif status == 413:
        did, advice = "refused the request as too large", "Shorten the messages."
    elif 300 <= status < 400:
        did, advice = "answered with a redirect", "Set the base URL to the address it leads to."
    refusal = None
    if kind in ("bad_request", "not_found") and status != 413:
        labels = f"{error_text.code or ''} {error_text.type or ''}"
        refusal = refusal_of(error_text.text, labels, error_text.parameter)
        if refusal is not None and not (kind == "not_found" and refusal.cause in (MODEL, PARAMETER)):
            advice = refusal.advice
    return _Diagnosis(kind, did, advice, refusal=refusal)


def _kind_by_words(normalised: str) -> str | None:
    return next((kind for kind, words in _WORDS if any(word in normalised for word in words)), None)


def _normalised(text: str) -> str:
    return re.sub(r"[\s_-]+", "", text.lower())


def _json_in(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _text_in_body(body: bytes) -> _ErrorText:
    stripped = body.removeprefix(b"\xef\xbb\xbf").lstrip()
    if stripped.startswith(b"data:"):
        stripped = next(iter(EventDecoder().feed(stripped + b"\n\n")), b"")
    try:
        payload = orjson.loads(stripped)
    except orjson.JSONDecodeError:
        return _ErrorText(first_words(stripped))
    if isinstance(payload, list) and payload:
        payload = payload[0]
    if isinstance(payload, dict) and payload.get("error"):
        error = payload["error"]
        if not isinstance(error, dict):  # a name for the error, with its text in another field
            message = payload.get("message") or error
            return _text_in_error({"code": payload.get("error_type"), **payload, "message": message})
        payload = error
    return _text_in_error(payload)


def _text_in_error(error: Any) -> _ErrorText:
    """The text of an error object: its message, FastAPI's detail, or else the whole object."""
    if not isinstance(error, dict):
        return _ErrorText(one_line(_as_text(error), _TEXT_LIMIT) if error else "")
    text = error.get("message") or error.get("detail") or error.get("debug") or error.get("msg")
    if isinstance(text, dict):  # a validation error inside a message
        text = text.get("message") or text.get("detail") or text.get("msg") or text
    if isinstance(text, list):
        text = "; ".join(_validation_text(item) for item in text[:5])
    elif not text:
        text = "" if error.get("code") or error.get("type") or not any(error.values()) else error
    text = _with_origin(_as_text(text), error.get("metadata"))
    validation = _VALIDATION.search(text[:_TEXT_LIMIT])
    if validation:
        text = validation.group(1) or validation.group(2)
    elif "'loc': " in text and (found := _VALIDATIONS.findall(text[:_TEXT_LIMIT])):
        text = "; ".join(f"{'.'.join(_PARTS.findall(place))}: {one or other}" for place, one, other in found[:5])
    code, kind, parameter = (_label(error.get(name)) for name in ("code", "type", "param"))
    return _ErrorText(one_line(text, _TEXT_LIMIT), code, kind, parameter)


def _with_origin(text: str, metadata: Any) -> str:
    """The text, with that of the provider behind the endpoint, which some endpoints pass on beside their own."""
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if not (isinstance(raw, str) and raw):
        return text
    inner = _text_in_body(raw[:_TEXT_LIMIT].encode("utf-8", "replace")).text
    return f"{text}: {inner}" if inner and inner not in text else text


def _validation_text(item: Any) -> str:
    if not isinstance(item, dict) or "msg" not in item:
        return _as_text(item)
    place = item.get("loc")
    where = ".".join(_as_text(part) for part in place) if isinstance(place, list) else ""
    return f"{where}: {_as_text(item['msg'])}" if where else _as_text(item["msg"])


def _label(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    return one_line(str(value), 80) or None


def _status_in(error: Any) -> int | None:
    """The HTTP status in an error object's code or status."""
    if not isinstance(error, dict):
        return None
    for name in ("code", "status", "status_code"):
        text = _label(error.get(name)) or ""
        if re.fullmatch("[45][0-9][0-9]", text):
            return int(text)
    return None


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # nested too deep, or a number beyond 64 bits
        return ""
