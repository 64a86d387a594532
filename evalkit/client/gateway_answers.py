"""Error answers about the way to a model: missing headers and keys, a provider's refusal, another protocol.

``error_answers`` asks here first. What a model or its server says of a request is sorted there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from evalkit.client.tls_failures import HOW_TO_GIVE_CERTIFICATE, HTTP_2_ONLY
from evalkit.errors import sent
from evalkit.inputs.request_headers import suggested_variable
from evalkit.inputs.secret_names import is_secret_name

_TEXT_LIMIT = 4_096  # characters of text that are searched
_PAGE_LIMIT = 8_192  # bytes of a body that are searched
_USUAL = frozenset({"content-type", "content-length", "transfer-encoding", "user-agent", "accept-encoding"})

_HEADER = r"['\"`]?([A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)+)['\"`]?"
_MISSING = (
    r"(?:missing|required?|requires?|needs?|must|expect(?:s|ed)?|include|provide|absent"
    r"|not (?:found|set|provided|present))"
)
_WANTED_HEADER = (
    rf"\b{_HEADER}:? (?:http |request )?header\b[^.]{{0,40}}\b{_MISSING}",  # the X-Org header is required
    rf"\b{_MISSING}\b[^.]{{0,60}}?\bheaders?\b:?\s*(?:named |called )?{_HEADER}",  # missing required header: X-Org
    rf"\b{_MISSING}\b[^.]{{0,40}}?{_HEADER} (?:http |request )?header\b",  # you must provide an X-Org header
    r"\bmissing (?:the )?['\"`]?(x-[a-z0-9-]+)\b",  # the request is missing x-org
    r"\bheaders?\.([A-Za-z0-9_-]+): (?:field required|missing)",  # FastAPI: the place of the error
    rf"\b{_HEADER}:? is (?:missing|required)\b(?=[^.]*header)",
)
_WANTED = tuple(re.compile(pattern, re.IGNORECASE) for pattern in _WANTED_HEADER)
_NAMED_IN_CHALLENGE = re.compile(r'\bname="?([A-Za-z0-9-]+)"?.*\btype="?header\b', re.IGNORECASE)

_NO_DATABASE = re.compile(r"\bno connected db\b", re.IGNORECASE)
_NO_PROVIDER_KEY = re.compile(r"\bapi_key client option must be set\b", re.IGNORECASE)
_NO_KEY = re.compile(
    r"\bno api[ _-]?key (?:was )?(?:passed|provided|given|found|supplied|set)|\bmissing (?:an? |the )?api[ _-]?key"
    r"|\bapi[ _-]?key (?:is |was )?(?:missing|required|not (?:provided|given|passed))"
    r"|\bmissing (?:authorization|authentication|bearer)\b"
    r"|\b(?:authorization|bearer)\b.{0,20} (?:is )?(?:missing|required)",
    re.IGNORECASE,
)
_WRONG_KEY = re.compile(
    r"\bapi[ _-]?key (?:is |was )?(?:not valid|invalid|incorrect|expired|revoked|disabled)"
    r"|\b(?:invalid|incorrect|expired|wrong|unknown) (?:api[ _-]?key|bearer token|proxy server token)"
    r"|^authentication error,",
    re.IGNORECASE,
)
_OF_A_PROVIDER = re.compile(r"\blitellm\.\w+: (?:\w+: )?(\w+?)Exception - ")
_PLAIN_HTTP_TO_TLS = re.compile(
    rb"plain HTTP request was sent to (?:an? )?HTTPS|HTTP request to an HTTPS server|speaking plain HTTP to an SSL"
    rb"|requires TLS|Use HTTPS instead|This (?:port|service) (?:requires|expects) (?:TLS|HTTPS)",
    re.IGNORECASE,
)
_CLIENT_CERTIFICATE = re.compile(
    rb"No required SSL certificate was sent"
    rb"|(?:client|SSL) certificate (?:is |was )?(?:required|missing|not (?:sent|provided))"
    rb"|(?:missing|no|requires? an?|provide an?)(?: valid)? client certificate",
    re.IGNORECASE,
)
_BAD_CLIENT_CERTIFICATE = re.compile(
    rb"The SSL certificate error|client certificate (?:is )?(?:not valid|invalid|expired)", re.IGNORECASE
)
_HTTP_2 = re.compile(rb"expected `h2` to be available|HTTP/2 (?:is )?required|requires HTTP/2", re.IGNORECASE)


class Known(NamedTuple):
    """What an answer is known to mean.

    Parameters
    ----------
    kind : str
        One of ``ERROR_KINDS``.
    did, advice : str
        What the endpoint did, and what to do.
    who : str
    code : str or None
        In place of the endpoint's code, if trying again changes nothing.
    """

    kind: str
    did: str
    advice: str
    who: str = "The endpoint"
    code: str | None = None


def known_answer(status: int, headers: Mapping[str, str], body: bytes, text: str, labels: str) -> Known | None:
    """What an error answer is known to mean; None: ``error_answers`` decides.

    Parameters
    ----------
    status : int
        The HTTP status, or the one in an error object.
    headers : mapping
        Names in lower case.
    body : bytes
        The answer, or nothing for an error object.
    text, labels : str
        The message, and code and type, without blanks, hyphens and underscores and in lower case.
    """
    page, text = body[:_PAGE_LIMIT], text[:_TEXT_LIMIT]
    known = _other_protocol(status, headers, page) or _client_certificate(status, page)
    if known is not None or status < 400:
        return known
    if _NO_DATABASE.search(text) or "nodbconnection" in labels:
        advice = "LiteLLM without a database knows only its master key: give that key."
        return Known("auth", "does not know this API key", advice)
    if _NO_PROVIDER_KEY.search(text):
        advice = "Set the provider's key in the settings of the service: your own key is another one."
        return Known("auth", "has no key for the model's provider", advice)
    return _wanted_header(status, headers, text) or _key_refused(status, headers, text)


def provider_of(error: Any, text: str) -> str | None:
    """The provider behind the endpoint whose failure an answer reports; "" if it has no name, None: it is not one.

    Parameters
    ----------
    error : object
        The answer, or an error object.
    text : str
        Its message.
    """
    if (of_litellm := _OF_A_PROVIDER.search(text[:_TEXT_LIMIT])) is not None:
        return of_litellm.group(1)
    if not isinstance(error, dict):
        return None
    own = error.get("error")
    inner: dict[str, Any] = own if isinstance(own, dict) else {}
    for part in (error, inner, error.get("metadata"), inner.get("metadata"), error.get("extra_fields")):
        for name in ("provider_name", "provider"):
            if isinstance(part, dict) and isinstance(part.get(name), str) and part[name]:
                return str(part[name])
    return "" if text.startswith("Provider returned error") else None


def _other_protocol(status: int, headers: Mapping[str, str], page: bytes) -> Known | None:
    if status in (400, 403, 497) and _PLAIN_HTTP_TO_TLS.search(page):
        return Known("connection", "speaks TLS on this port", "Use https:// in the base URL.", code="wrong_protocol")
    if _HTTP_2.search(page) or (status == 426 and "h2" in headers.get("upgrade", "").lower()):
        return Known("connection", "speaks HTTP/2 only", HTTP_2_ONLY, code="wrong_protocol")
    if status == 505:
        return Known("connection", "does not speak HTTP/1.1", HTTP_2_ONLY, code="wrong_protocol")
    return None


def _client_certificate(status: int, page: bytes) -> Known | None:
    if status not in (400, 401, 403, 495, 496):
        return None
    if status == 496 or _CLIENT_CERTIFICATE.search(page):
        return Known("auth", "wants a client certificate", HOW_TO_GIVE_CERTIFICATE)
    if status == 495 or _BAD_CLIENT_CERTIFICATE.search(page):
        advice = "Check that it is valid now, and signed by an authority that the server accepts."
        return Known("auth", "refused the client certificate", advice)
    return None


def _wanted_header(status: int, headers: Mapping[str, str], text: str) -> Known | None:
    if status not in (400, 401, 403, 422, 428):
        return None
    name = _name_of_header(headers, text)
    if name is None:
        return None
    name = name.replace("_", "-")
    if is_secret_name(name):
        how = f"export {suggested_variable(name)}=…, then --header-env {sent(name)}={sent(suggested_variable(name))}"
        return Known("auth", f"wants the header {sent(name)}", f"Give it: {how}.")
    kind = "auth" if status in (401, 403) else "bad_request"
    return Known(kind, f"wants the header {sent(name)}", f"Give it: --header {sent(name)}=VALUE.")


def _name_of_header(headers: Mapping[str, str], text: str) -> str | None:
    challenge = _NAMED_IN_CHALLENGE.search(headers.get("www-authenticate", ""))
    if challenge is not None:
        return challenge.group(1)
    for pattern in _WANTED:
        for found in pattern.finditer(text):
            if found.group(1).lower() not in _USUAL:
                return found.group(1)
    if "missing subscription key" in text.lower():  # of Azure: its own routes, and API Management
        return "api-key"
    if re.search(r'"code": ?2009\b', text) and any(name.startswith("cf-") for name in headers):
        return "cf-aig-authorization"
    if headers.get("www-authenticate", "").lower().startswith("key ") and "no api key found" in text.lower():  # Kong
        return "apikey"
    if headers.get("x-amzn-errortype", "").startswith("ForbiddenException") and text == "Forbidden":
        return "x-api-key"
    return None


def _key_refused(status: int, headers: Mapping[str, str], text: str) -> Known | None:
    if status == 401 and headers.get("www-authenticate", "").lower().startswith("basic"):
        return Known(
            "auth",
            "asks for user and password (Basic)",
            "Give them as a header: export BASIC_AUTH=\"Basic $(printf %s 'USER:PASSWORD' | base64)\", then "
            "--header-env Authorization=BASIC_AUTH.",
        )
    if _NO_KEY.search(text) and status not in (401, 403, 404, 429):  # of 401 the usual advice says the same
        return Known("auth", "got no API key", "Set its variable, and name it with --api-key-env NAME.")
    if status in (400, 404, 422, 500) and _WRONG_KEY.search(text):
        advice = "Check that the key is set, complete and meant for this endpoint."
        return Known("auth", "refused the API key", advice)
    return None
