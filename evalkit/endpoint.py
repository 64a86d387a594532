"""Endpoints: address, model, parameters and time limits. Holds the name of the key's variable, never the key."""

from __future__ import annotations

import atexit
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from evalkit.errors import SettingsError
from evalkit.inputs.addresses import (
    check_blanks,
    check_blanks_in_address,
    normalise_base_url,
    route_of,
    same_host,
    service_base_url,
    split_query,
    without_version,
)
from evalkit.inputs.bounds import LONGEST_S, check_above_0, check_json
from evalkit.inputs.request_headers import check_headers
from evalkit.inputs.secret_names import is_secret_name
from evalkit.process.api_keys import Key, key_in, secret_header, secrets_in
from evalkit.process.certificates import check_certificates, tls_context
from evalkit.process.official_client import official_client, versions

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

OPENAI_BASE_URL = "https://api.openai.com/v1"
_GUIDE_NAMES = ("SERVICE_HOST", "ASSISTANT_ID", "TASKINGAI_API_KEY")
_OPENAI_NAMES = ("OPENAI_BASE_URL", "OPENAI_MODEL", "OPENAI_API_KEY")
# variables of address, model and key; a key is used only with the address next to it
ENVIRONMENT = (_GUIDE_NAMES, _OPENAI_NAMES)
# settings that reach an endpoint besides its address and key; a run file has those that are set
CERTIFICATES = ("client_cert_env", "client_key_env", "ca_env")
REACHED_BY = ("headers", "headers_env", *CERTIFICATES)
_SCRIPTED_KEY = "EVALKIT_SCRIPTED_KEY"
_UNTIL_EXIT = ExitStack()
atexit.register(_UNTIL_EXIT.close)
_embedded: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible chat-completion endpoint.

    Parameters
    ----------
    base_url : str
        With or without the route, a trailing slash or a query; stored in the form ``https://host/v1?query``. ``/v1`` is
        added to a host without a path; any other path is kept as it is.
    model : str
        Model name or assistant id.
    key_env : str or None
        NAME of the environment variable that holds the API key. The key is read when a request is made and is
        in no attribute, repr, pickle or file. None, or a variable that is not set: no key is sent.
    params : mapping
        Request parameters for every call: ``temperature``, ``max_tokens``, ``seed``, …; None leaves one out.
    timeout_s : float
        Time limit for one attempt, from sent to end.
    ttft_timeout_s : float or None
        Time limit for the first token of a stream; None: only ``timeout_s`` applies.
    connect_timeout_s : float
        Time limit for opening a connection.
    source : str
        Where the settings come from, for messages.
    headers : mapping
        Headers of every request, name to value. They are stored and shown, and belong to the settings of a run.
    headers_env : mapping
        Secret headers of every request: name to the NAME of the environment variable that holds the value, which is
        treated as the key is. ``Authorization`` replaces the key's header.
    client_cert_env, client_key_env : str or None
        NAMES of the environment variables that hold the paths of a client certificate and of its private key, in PEM.
        The key may be in the certificate's file.
    ca_env : str or None
        NAME of the environment variable that holds the path of the certificates, in PEM, that sign the endpoint's.
        None: the authorities that this machine trusts, or those of ``SSL_CERT_FILE``.

    Raises
    ------
    SettingsError
        The address, the model, a header or a limit is not valid.
    """

    base_url: str
    model: str
    key_env: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = 300.0
    ttft_timeout_s: float | None = None
    connect_timeout_s: float = 10.0
    source: str = "code"
    headers: Mapping[str, str] = field(default_factory=dict)
    headers_env: Mapping[str, str] = field(default_factory=dict)
    client_cert_env: str | None = None
    client_key_env: str | None = None
    ca_env: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_url", normalise_base_url(self.base_url))
        if not self.model:
            raise SettingsError("no model is named: give --model, or set OPENAI_MODEL or ASSISTANT_ID")
        check_blanks("the model's name", self.model, inside=False)
        for name in ("timeout_s", "ttft_timeout_s", "connect_timeout_s"):
            check_above_0(name, getattr(self, name), LONGEST_S, "seconds")
        check_json("the parameter", self.params)
        check_headers(self.headers, self.headers_env)
        check_certificates(self.base_url, **self._certificates)

    @property
    def _certificates(self) -> dict[str, str | None]:
        return {name: getattr(self, name) for name in CERTIFICATES}

    def tls_context(self) -> ssl.SSLContext:
        """TLS to this endpoint, with the certificates whose paths are in the environment at this call.

        Raises
        ------
        SettingsError
            A variable is not set, or its file cannot be used; the message names the variable, not the path.
        """
        return tls_context(**self._certificates)

    @property
    def url(self) -> str:
        """Address of the chat-completion route."""
        return route_of(self.base_url)

    def key(self) -> Key | None:
        """The API key, read from the environment at this call; None if there is none.

        Raises
        ------
        SettingsError
            The key contains blanks, or characters that HTTP headers do not allow; the message does not show the key.
        """
        if not self.key_env or (self.headers_env and self._sets_authorization):
            return None
        return key_in(self.key_env)

    @property
    def _sets_authorization(self) -> bool:
        return any(name.lower() == "authorization" for name in self.headers_env)

    def secret_headers(self) -> tuple[tuple[str, Key], ...]:
        """The headers of ``headers_env`` and their values, read from the environment at this call.

        Raises
        ------
        SettingsError
            A variable is not set, or its value cannot be sent in a header; the message does not show the value.
        """
        return tuple((name, secret_header(name, variable)) for name, variable in self.headers_env.items())

    def secrets(self) -> tuple[Key, ...]:
        """What nothing may show: the key, and what is secret in the values of ``headers_env``."""
        key = self.key()
        headers = tuple(secret for _, value in self.secret_headers() for secret in secrets_in(value))
        return headers if key is None else (key, *headers)

    def with_params(self, **params: Any) -> Endpoint:
        """The same endpoint with these request parameters added or replaced."""
        return replace(self, params={**self.params, **params})

    def to_json(self) -> dict[str, Any]:
        """The settings as a run file stores them."""
        reached_by = {name: getattr(self, name) for name in REACHED_BY}
        return {
            "base_url": self.base_url,
            "model": self.model,
            "key_env": self.key_env,
            "params": dict(self.params),
            "timeout_s": self.timeout_s,
            "ttft_timeout_s": self.ttft_timeout_s,
            "connect_timeout_s": self.connect_timeout_s,
            "source": self.source,
            **{name: value if isinstance(value, str) else dict(value) for name, value in reached_by.items() if value},
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
        ``OPENAI_API_KEY`` and ``OPENAI_MODEL``. An ``OPENAI_API_KEY`` alone does not name an endpoint. If
        ``headers_env`` has a header that holds a key, such as ``api-key``, the key of the environment is sent only if
        ``key_env`` names it.

        Raises
        ------
        SettingsError
            None of them is set, or only some; the message names those that are missing.
        """
        if key_env is not None and not _variable(key_env):
            raise SettingsError(f"{key_env} is named as the variable of the API key, but it is not set")
        # the guide's key is only for the guide's host
        guide = bool(_variable("SERVICE_HOST") or _variable("ASSISTANT_ID")) and same_host(
            base_url, _variable("SERVICE_HOST")
        )
        names = _GUIDE_NAMES if guide else _OPENAI_NAMES
        model_given = bool(model)
        host_name, model_name, key_name = names
        in_header = next((name for name in settings.get("headers_env") or () if is_secret_name(name)), None)
        if key_env is not None and (in_header or "").lower() == "authorization":
            raise SettingsError(
                f"--api-key-env {key_env} and the header Authorization exclude each other: give one of them"
            )
        found = {
            host_name: base_url or _variable(host_name),
            model_name: model or _variable(model_name),
            key_name: key_env or key_name if _variable(key_env or key_name) else None,
        }
        host, model = found[host_name], found[model_name]
        where = "--base-url" if base_url else host_name
        check_blanks(where, host or "", inside=False)
        check_blanks_in_address(where, host or "")
        named = "--model" if model_given else model_name
        check_blanks(named, model or "", allowed="" if named == "ASSISTANT_ID" else " ")  # names of model files may
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
        if host and source == _GUIDE_NAMES[0]:
            host = service_base_url(host)
        used = key_env if in_header else found[key_name] or key_name
        return cls(host or OPENAI_BASE_URL, model, used, source=source, **settings)

    @classmethod
    @contextmanager
    def scripted(
        cls,
        *faults: str,
        ttft_ms: float = 0.0,
        itl_ms: float = 0.0,
        tokens: int = 20,
        profile: str = "openai",
        **settings: Any,
    ) -> Iterator[Endpoint]:
        """Run a scripted server for the duration of a block: no model, but known times, and faults on demand.

        It runs in a process of its own, which ends with this one.

        Parameters
        ----------
        *faults : str
            Each hits every request: ``early_role``, ``eof_midway``, ``no_done``, … (``scripted.faults.FAULTS``).
        ttft_ms, itl_ms : float
            Time to the first token, and between tokens, in ms.
        tokens : int
            Length of each answer.
        profile : str
            ``openai``, or ``taskingai``: behaves as that service does.
        **settings
            Passed to ``Endpoint``: ``params``, ``timeout_s``, …

        Raises
        ------
        SettingsError
            There is no such fault or profile, a time or the length is not valid, or the server does not start.

        Examples
        --------
        >>> with Endpoint.scripted("early_role", ttft_ms=300) as endpoint:  # doctest: +SKIP
        ...     endpoint.openai()
        """
        from evalkit.scripted.server import Fault, Law, Script, serve

        law = Law(ttft_ms=ttft_ms, itl_ms=itl_ms, tokens=tokens)
        script = Script(profile=profile, law=law, faults=tuple(map(Fault, faults)))
        with serve(script, process=True) as server:
            os.environ.setdefault(_SCRIPTED_KEY, "any")  # the profile taskingai wants a key, and accepts any
            yield cls(server.base_url, server.model, _SCRIPTED_KEY, source="scripted", **settings)

    def openai(self, **options: Any) -> OpenAI:
        """The official OpenAI client, configured for this endpoint; without retries, so that it times one call."""
        return official_client(self, *split_query(self.base_url), options)  # type: ignore[no-any-return]

    def async_openai(self, **options: Any) -> AsyncOpenAI:
        """The official asynchronous OpenAI client, configured as in ``openai()``."""
        return official_client(self, *split_query(self.base_url), options, asynchronous=True)  # type: ignore[no-any-return]

    def about(self) -> str:
        """What answers, and the versions used, in a few lines; one of them says what a bigger model would change."""
        lines = [
            f"model     {self.model}",
            f"endpoint  {self.base_url}, from: {self.source}",
            f"versions  {versions()}",
        ]
        if self.source == "embedded":
            lines.append(
                "The embedded model is very small and often wrong. A bigger one is right more often and has other "
                "times:\nset SERVICE_HOST, TASKINGAI_API_KEY and ASSISTANT_ID, and run the same cells."
            )
        return "\n".join(lines)

    def export(self) -> None:
        """Set ``SERVICE_HOST``, ``TASKINGAI_API_KEY`` and ``ASSISTANT_ID``, for shell cells and programs started here.

        ``SERVICE_HOST`` is the address without ``/v1``, unless that would name another one. Where no key is needed,
        the key becomes ``no-key``.
        """
        os.environ["SERVICE_HOST"] = without_version(self.base_url)
        os.environ["ASSISTANT_ID"] = self.model
        os.environ["TASKINGAI_API_KEY"] = self.key() or "no-key"

    def playground(self) -> Any:
        """Chat with this endpoint in JupyterLab, with its arrivals as a chart and the requests as cURL and Python.

        Where widgets cannot be shown, a text says where to type instead.
        """
        import evalkit

        return evalkit.playground(self)  # by its public name: this module must not import widgets


embedded_key_variables: dict[
    str, str
] = {}  # addresses of embedded servers that this process runs, and the variables of their keys


def _variable(name: str) -> str | None:
    """An environment variable; no local variable holds ``os.environ``, since a traceback would show its keys."""
    return os.environ.get(name)


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
    global _embedded
    if environment_names_endpoint() and not _is_embedded(_variable("SERVICE_HOST")):
        return Endpoint.from_env(**settings)
    if _embedded is None:
        _embedded = _UNTIL_EXIT.enter_context(local_endpoint())
    return replace(_embedded, **settings)


def _is_embedded(host: str | None) -> bool:
    """Whether the environment names the embedded endpoint of this process, because ``export`` has set it."""
    return _embedded is not None and host is not None and normalise_base_url(host) == _embedded.base_url
