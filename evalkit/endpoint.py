"""Endpoints: address, model, parameters and time limits. Holds the name of the key's variable, never the key."""

from __future__ import annotations

import atexit
import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from evalkit.errors import MissingExtra, SettingsError
from evalkit.inputs.bounds import LONGEST_S, check_above_0, check_json
from evalkit.process.api_keys import Key, key_in

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

OPENAI_BASE_URL = "https://api.openai.com/v1"
_GUIDE_NAMES = ("SERVICE_HOST", "ASSISTANT_ID", "TASKINGAI_API_KEY")
_OPENAI_NAMES = ("OPENAI_BASE_URL", "OPENAI_MODEL", "OPENAI_API_KEY")
# variables of address, model and key; a key is used only with the address next to it
ENVIRONMENT = (_GUIDE_NAMES, _OPENAI_NAMES)
_VERSION_SEGMENT = re.compile(r"v\d+\w*")
_ROUTE = "/chat/completions"
_UNTIL_EXIT = ExitStack()
atexit.register(_UNTIL_EXIT.close)
_embedded: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible chat-completion endpoint.

    Parameters
    ----------
    base_url : str
        With or without ``/v1``, a trailing slash or the route; stored in the form ``https://host/v1``.
    model : str
        Model name or assistant id.
    key_env : str or None
        NAME of the environment variable that holds the API key. The key is read when a request is made and is
        in no attribute, repr, pickle or file. None, or a variable that is not set: no key is sent.
    params : mapping
        Request parameters for every call: ``temperature``, ``max_tokens``, ``seed``, …
    timeout_s : float
        Time limit for one attempt, from sent to end.
    ttft_timeout_s : float or None
        Time limit for the first token of a stream; None: only ``timeout_s`` applies.
    connect_timeout_s : float
        Time limit for opening a connection.
    source : str
        Where the settings come from, for messages.

    Raises
    ------
    SettingsError
        The address, the model or a limit is not valid.
    """

    base_url: str
    model: str
    key_env: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = 300.0
    ttft_timeout_s: float | None = None
    connect_timeout_s: float = 10.0
    source: str = "code"

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_url", normalise_base_url(self.base_url))
        if not self.model:
            raise SettingsError("no model is named: give --model, or set OPENAI_MODEL or ASSISTANT_ID")
        _check_blanks("the model's name", self.model, inside=False)
        for name in ("timeout_s", "ttft_timeout_s", "connect_timeout_s"):
            check_above_0(name, getattr(self, name), LONGEST_S, "seconds")
        check_json("the parameter", self.params)

    @property
    def url(self) -> str:
        """Address of the chat-completion route."""
        return self.base_url + _ROUTE

    def key(self) -> Key | None:
        """The API key, read from the environment at this call; None if there is none.

        Raises
        ------
        SettingsError
            The key contains blanks, or characters that HTTP headers do not allow; the message does not show the key.
        """
        return key_in(self.key_env) if self.key_env else None

    def with_params(self, **params: Any) -> Endpoint:
        """The same endpoint with these request parameters added or replaced."""
        return replace(self, params={**self.params, **params})

    def to_json(self) -> dict[str, Any]:
        """The settings as a run file stores them."""
        return {
            "base_url": self.base_url,
            "model": self.model,
            "key_env": self.key_env,
            "params": dict(self.params),
            "timeout_s": self.timeout_s,
            "ttft_timeout_s": self.ttft_timeout_s,
            "connect_timeout_s": self.connect_timeout_s,
            "source": self.source,
        }

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> Endpoint:
        """The endpoint from the settings that ``to_json`` returned."""
        return cls(**settings)

    @classmethod
    def from_env(
        cls,
        *,
        base_url: str | None = None,
        model: str | None = None,
        key_env: str | None = None,
        **settings: Any,
    ) -> Endpoint:
        """The endpoint that the environment names; arguments take precedence.

        ``SERVICE_HOST``, ``TASKINGAI_API_KEY`` and ``ASSISTANT_ID`` are read first, then ``OPENAI_BASE_URL``,
        ``OPENAI_API_KEY`` and ``OPENAI_MODEL``. An ``OPENAI_API_KEY`` alone does not name an endpoint.

        Raises
        ------
        SettingsError
            None of them is set, or only some; the message names those that are missing.
        """
        if key_env is not None and not _variable(key_env):
            raise SettingsError(f"{key_env} is named as the variable of the API key, but it is not set")
        # the guide's key is only for the guide's host
        guide = bool(_variable("SERVICE_HOST") or _variable("ASSISTANT_ID")) and _same_host(
            base_url, _variable("SERVICE_HOST")
        )
        names = _GUIDE_NAMES if guide else _OPENAI_NAMES
        model_given = bool(model)
        host_name, model_name, key_name = names
        found = {
            host_name: base_url or _variable(host_name),
            model_name: model or _variable(model_name),
            key_name: key_env or key_name if _variable(key_env or key_name) else None,
        }
        host, model = found[host_name], found[model_name]
        where = "--base-url" if base_url else host_name
        _check_blanks(where, host or "", inside=False)
        _check_blanks_in_address(where, host or "")
        named = "--model" if model_given else model_name
        _check_blanks(named, model or "", allowed="" if named == "ASSISTANT_ID" else " ")  # names of model files may
        missing = " and ".join(name for name in names if not found[name])
        if guide and missing and base_url is None:
            present = next(name for name in names if found[name])
            raise SettingsError(f"{present} is set, but not {missing}: set all three or none")
        if not (host or model):
            raise SettingsError(
                "no endpoint is set: set SERVICE_HOST, TASKINGAI_API_KEY and ASSISTANT_ID, "
                "or OPENAI_BASE_URL, OPENAI_API_KEY and OPENAI_MODEL, or give --base-url and --model"
            )
        if not model:
            where = "--base-url" if base_url else host_name
            raise SettingsError(f"{where} names an endpoint, but no model: give --model or set {model_name}")
        source = "--base-url" if base_url else host_name if host else model_name
        return cls(host or OPENAI_BASE_URL, model, found[key_name] or key_name, source=source, **settings)

    def openai(self, **options: Any) -> OpenAI:
        """The official OpenAI client, configured for this endpoint; without retries, so that it times one call."""
        return _official("OpenAI")(**self._client_options(options))  # type: ignore[no-any-return]

    def async_openai(self, **options: Any) -> AsyncOpenAI:
        """The official asynchronous OpenAI client, configured as in ``openai()``."""
        return _official("AsyncOpenAI")(**self._client_options(options))  # type: ignore[no-any-return]

    def playground(self) -> Any:
        """Chat with this endpoint in JupyterLab, with its arrivals as a chart and the requests as cURL and Python.

        Where widgets cannot be shown, a text says where to type instead.
        """
        import evalkit

        return evalkit.playground(self)  # by its public name: this module must not import widgets

    def _client_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        # the official client requires a key; endpoints that need none ignore this value
        key = self.key() or "no-key"
        return {"base_url": self.base_url, "api_key": key, "timeout": self.timeout_s, "max_retries": 0, **options}


embedded_key_variables: dict[
    str, str
] = {}  # addresses of embedded servers that this process runs, and the variables of their keys


def normalise_base_url(text: str) -> str:
    """Return an address in the form ``scheme://host[:port]/…/v1``.

    ``/v1`` is added when no part of the path is a version. Without a scheme, http is used for loopback and https for
    any other host.

    Raises
    ------
    SettingsError
        It is not an http(s) address, or it has a user name, a password, a query or a fragment.
    """
    text = text.strip()
    _check_blanks_in_address("the base URL", text)
    if "://" not in text:
        loopback = is_loopback(urlsplit(f"//{text}").hostname or "")
        text = f"{'http' if loopback else 'https'}://{text}"
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise SettingsError(f"the base URL {text!r} cannot be read: {error}") from None
    if "@" in parts.netloc:
        raise SettingsError("the base URL contains a user name or password: put the key into an environment variable")
    if parts.scheme not in ("http", "https") or not host:
        raise SettingsError(f"the base URL {text!r} is not an http:// or https:// address")
    if parts.query or parts.fragment:
        raise SettingsError(f"the base URL {text!r} has a query or a fragment: leave out what follows ? or #")
    path = parts.path.rstrip("/").removesuffix(_ROUTE).rstrip("/")
    if not any(_VERSION_SEGMENT.fullmatch(segment) for segment in path.split("/")):
        path += "/v1"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def _variable(name: str) -> str | None:
    """An environment variable; no local variable holds ``os.environ``, since a traceback would show its keys."""
    return os.environ.get(name)


def _check_blanks(what: str, text: str, *, inside: bool = True, allowed: str = "") -> None:
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


def _check_blanks_in_address(what: str, text: str) -> None:
    _check_blanks(what, text.rpartition("://")[2].partition("/")[0])  # a path may contain blanks
    if re.search(r"[\n\r\t]", text):  # Python's URL parser drops these silently
        _check_blanks(what, text)


def _same_host(given: str | None, own: str | None) -> bool:
    if given is None:
        return True
    return own is not None and urlsplit(normalise_base_url(given)).netloc == urlsplit(normalise_base_url(own)).netloc


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def environment_names_endpoint() -> bool:
    """Whether the environment names an endpoint, completely or in part; an API key alone does not."""
    return any(os.environ.get(name) for name in ("SERVICE_HOST", "ASSISTANT_ID", *_OPENAI_NAMES[:2]))


@contextmanager
def local_endpoint(**settings: Any) -> Iterator[Endpoint]:
    """Run the embedded endpoint for the duration of the block.

    Parameters
    ----------
    **settings
        Passed to ``Endpoint``: ``params``, ``timeout_s``, …

    Raises
    ------
    LocalError
        The model file is not available or the server does not start.
    MissingExtra
        The ``local`` extra is not installed.
    """
    from evalkit.local import server as local_server

    Endpoint("http://127.0.0.1", "embedded", **settings)  # raises for invalid settings before a model is loaded
    with local_server.serve() as server:
        embedded_key_variables[server.base_url] = server.key_env
        try:
            yield Endpoint(server.base_url, server.model, server.key_env, source="embedded", **settings)
        finally:
            del embedded_key_variables[server.base_url]


def connect(**settings: Any) -> Endpoint:
    """The endpoint that the environment names or, if it names none, the embedded one, which runs until Python ends.

    Parameters
    ----------
    **settings
        Passed to ``Endpoint``: ``params``, ``timeout_s``, …

    Examples
    --------
    >>> endpoint = connect(params={"temperature": 0})  # doctest: +SKIP
    """
    if environment_names_endpoint():
        return Endpoint.from_env(**settings)
    global _embedded
    if _embedded is None:
        _embedded = _UNTIL_EXIT.enter_context(local_endpoint())
    return replace(_embedded, **settings)


def _official(name: str) -> Any:
    try:
        import openai
    except ImportError:
        raise MissingExtra("the official client", "notebooks") from None
    return getattr(openai, name)
