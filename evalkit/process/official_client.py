"""The official OpenAI client, configured for an endpoint, and the versions that take part in an answer."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from evalkit.errors import MissingExtra

if TYPE_CHECKING:
    from evalkit.endpoint import Endpoint


def official_client(
    endpoint: Endpoint,
    base_url: str,
    query: Mapping[str, str],
    options: Mapping[str, Any],
    *,
    asynchronous: bool = False,
) -> Any:
    """The official client, without retries, so that it times one call.

    Parameters
    ----------
    endpoint : Endpoint
    base_url : str
        Its address, without the query.
    query : mapping
    options : mapping
        Further arguments of the client; they take precedence.
    asynchronous : bool

    Raises
    ------
    MissingExtra
        The package is not installed.
    SettingsError
        A header's variable or a certificate cannot be used.
    """
    try:
        import openai
    except ImportError:
        raise MissingExtra("the official client", "notebooks") from None
    # the official client requires a key; endpoints that need none ignore this value
    key = endpoint.key() or "no-key"
    made: dict[str, Any] = {"base_url": base_url, "api_key": key, "timeout": endpoint.timeout_s, "max_retries": 0}
    if query:
        made["default_query"] = query
    if endpoint.headers or endpoint.headers_env:
        made["default_headers"] = {**endpoint.headers, **dict(endpoint.secret_headers())}
    names = {name.lower() for name in endpoint.headers_env}
    transport: dict[str, Any] = {}
    if names and key == "no-key" and "authorization" not in names:
        transport["event_hooks"] = {"request": [_drop_key_later if asynchronous else _drop_key]}
    if endpoint.client_cert_env or endpoint.ca_env:
        transport["verify"] = endpoint.tls_context()
    if transport:
        http_client = openai.DefaultAsyncHttpxClient if asynchronous else openai.DefaultHttpxClient
        made["http_client"] = http_client(**transport)
    return (openai.AsyncOpenAI if asynchronous else openai.OpenAI)(**{**made, **options})


def _drop_key(request: Any) -> None:
    """Leave out the made-up key: next to a header that holds the key, it would be refused."""
    request.headers.pop("Authorization", None)


async def _drop_key_later(request: Any) -> None:
    _drop_key(request)


def versions() -> str:
    """The versions of evalkit, the official client and Python, on one line."""
    from evalkit import __version__

    try:
        client = f"openai {version('openai')}"
    except PackageNotFoundError:
        client = "no openai client"
    return f"evalkit {__version__}, {client}, Python {platform.python_version()}"
