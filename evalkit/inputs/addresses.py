"""Addresses of endpoints: brought into one form, and refused with what is wrong in them."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from evalkit.errors import SettingsError
from evalkit.inputs.secret_names import is_secret

ROUTE = "/chat/completions"
_VERSION_SEGMENT = re.compile(r"v\d+\w*")
_NO_USER = (
    "the base URL contains a user name or password: leave them out, and give them as a header: "
    "export BASIC_AUTH=\"Basic $(printf %s 'USER:PASSWORD' | base64)\", then --header-env Authorization=BASIC_AUTH"
)


def normalise_base_url(text: str) -> str:
    """Return an address in the form ``scheme://host[:port]/path[?query]``, without the route and a final slash.

    ``/v1`` is added if there is no path. The route itself stays where nothing is before it, since without it the
    address would be one that ``/v1`` is added to. Without a scheme, http is used for loopback and https for any other
    host.

    Raises
    ------
    SettingsError
        It is not an http(s) address, or it has a user name, a password, a secret in its query, or a fragment. The
        message shows none of them.
    """
    text = text.strip()
    check_blanks_in_address("the base URL", text)
    parts = _parsed(text)
    path = parts.path.rstrip("/")
    has_route = path.endswith(ROUTE)
    while path.endswith(ROUTE):  # every one, so that the result stays as it is when it is read again
        path = path.removesuffix(ROUTE).rstrip("/")
    if not path:
        path = ROUTE if has_route else "/v1"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def _parsed(text: str) -> SplitResult:
    """The parts of an address with a scheme; what must not be stored or shown is refused."""
    shown = hidden_secrets(text)
    try:
        if "://" not in text:
            loopback = is_loopback(urlsplit(f"//{text}").hostname or "")
            text = f"{'http' if loopback else 'https'}://{text}"
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        if "@" in text:  # the parser quotes what it takes for a port, which may be a part of a password
            raise SettingsError(_NO_USER) from None
        raise SettingsError(f"the base URL {shown!r} cannot be read: {error}") from None
    if "@" in parts.netloc:
        raise SettingsError(_NO_USER)
    if parts.scheme not in ("http", "https") or not host:
        raise SettingsError(f"the base URL {shown!r} is not an http:// or https:// address")
    if parts.fragment:
        raise SettingsError(f"the base URL {shown!r} has a fragment: leave out what follows #")
    secret = next((name for name, value in _pairs(parts.query) if _is_secret(name, value)), None)
    if secret is not None:
        raise SettingsError(
            f"the base URL has a secret in its query ({secret}=…), where it would be stored and shown: "
            "leave it out, and give it as a header: --header-env NAME=VARIABLE, such as "
            "--header-env api-key=MY_KEY or --header-env x-goog-api-key=MY_KEY"
        )
    return parts


def _pairs(query: str) -> list[tuple[str, str]]:
    return [(unquote(name), unquote(value)) for name, _, value in (part.partition("=") for part in query.split("&"))]


def _is_secret(name: str, value: str) -> bool:
    return is_secret("key" if name.lower() == "code" else name, value)  # code: a key of Azure Functions


def hidden_secrets(text: str) -> str:
    """An address or a part of it, without user and password, and without secrets in its query."""
    text = re.sub(r"(?<=//)[^/?#]*@|^[^/?#]*@", "***@", text)
    head, mark, query = text.partition("?")
    parts = [
        f"{name}=***" if value and _is_secret(unquote(name), unquote(value)) else part
        for part in query.split("&")
        for name, _, value in [part.partition("=")]
    ]
    return f"{head}{mark}{'&'.join(parts)}"


def route_of(base_url: str) -> str:
    """The address of the chat-completion route below a base URL in the form of ``normalise_base_url``."""
    address, mark, query = base_url.partition("?")
    return f"{address.removesuffix(ROUTE)}{ROUTE}{mark}{query}"


def split_query(base_url: str) -> tuple[str, dict[str, str]]:
    """A base URL as clients expect it, without route and query, and the parameters of its query."""
    address, _, query = base_url.partition("?")
    return address.removesuffix(ROUTE), dict(_pairs(query)) if query else {}


def versioned(base_url: str) -> str | None:
    """The base URL with ``/v1`` at its end; None: its path has a version, or it is no more than a host."""
    address, mark, query = base_url.partition("?")
    if address.endswith(ROUTE) or _has_version(address):
        return None
    return f"{address}/v1{mark}{query}"


def _has_version(address: str) -> bool:
    return any(_VERSION_SEGMENT.fullmatch(segment) for segment in address.split("/")[3:])


def path_note(text: str) -> str | None:
    """What a base URL with a path of its own leads to; None: it is a host, a route, or has a version."""
    base_url = normalise_base_url(text)
    other = None if text.strip().partition("?")[0].rstrip("/").endswith(ROUTE) else versioned(base_url)
    if other is None:
        return None
    return f"requests go to {route_of(base_url)}; for {route_of(other)} give {other} as base URL"


def service_base_url(text: str) -> str:
    """The base URL of ``SERVICE_HOST``, which names a service without its version: ``/v1`` follows any path.

    An address of a route, or with a version, stays as it is.
    """
    base_url = normalise_base_url(text)
    has_route = text.strip().partition("?")[0].rstrip("/").endswith(ROUTE)
    return base_url if has_route else versioned(base_url) or base_url


def without_version(base_url: str) -> str:
    """An address in the form of ``SERVICE_HOST``, without its last ``/v1``; as it is where that names another one."""
    short = base_url.removesuffix("/v1")
    return short if service_base_url(short) == base_url else base_url


def check_blanks(what: str, text: str, *, inside: bool = True, allowed: str = "") -> None:
    """Raise for blanks: an endpoint reads them as part of an id and answers that the id is unknown.

    Without ``inside`` only both ends are checked; inside, the characters of ``allowed`` are accepted.
    """
    wrong = [at for at, character in enumerate(text) if character.isspace() or not character.isprintable()]
    ends = (0, len(text) - 1)
    at = next((at for at in wrong if at in ends or (inside and text[at] not in allowed)), None)
    if at is None:
        return
    names = {" ": "a blank", "\n": "a line break", "\r": "a line break", "\t": "a tab"}
    name = names.get(text[at], f"the character {text[at]!r}")
    where = "begins with" if at == 0 else "contains" if text[at:].strip() else "ends with"
    raise SettingsError(f"{what} {where} {name}: copy it again without it")


def check_blanks_in_address(what: str, text: str) -> None:
    """Raise for blanks in the host, and for line breaks and tabs anywhere."""
    check_blanks(what, re.split(r"[/?#]", text.rpartition("://")[2])[0])  # a path may contain blanks
    if re.search(r"[\n\r\t]", text):  # Python's URL parser drops these silently
        check_blanks(what, text)


def same_host(given: str | None, own: str | None) -> bool:
    """Whether an address given by the user, if any, has the host of another address."""
    if given is None:
        return True
    return own is not None and urlsplit(normalise_base_url(given)).netloc == urlsplit(normalise_base_url(own)).netloc


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
