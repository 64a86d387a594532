"""The start of a request: its request line, and the headers that every request to an endpoint has."""

from __future__ import annotations

from evalkit import __version__
from evalkit.client.origin import Origin, path_of
from evalkit.client.proxy import Proxy
from evalkit.endpoint import Endpoint

UNCOMPRESSED = "identity"  # compression would delay tokens
# of every request, unless the endpoint's own headers replace them
USUAL_HEADERS = {
    "Accept": "application/json, text/event-stream",
    "Accept-Encoding": UNCOMPRESSED,
    "User-Agent": f"evalkit/{__version__}",
}


def request_head(
    endpoint: Endpoint, proxy: Proxy | None, url: str, method: str = "POST", encoding: str = UNCOMPRESSED
) -> bytes:
    """Request line and headers, without those that hold secrets and without the length of the body.

    Parameters
    ----------
    proxy : Proxy or None
        The proxy that the connection ends at.
    url : str
        An address of the endpoint's origin.
    encoding : str
        The compression that the answer may have.
    """
    origin, target = Origin.of(endpoint.url), path_of(url)
    usual = USUAL_HEADERS | {"Accept-Encoding": encoding}
    given = {name.lower() for name in (*endpoint.headers, *endpoint.headers_env)}
    lines = [f"Host: {origin.authority}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in usual.items() if name.lower() not in given]
    lines += [f"{name}: {value}" for name, value in endpoint.headers.items()]
    if proxy is not None and origin.scheme == "http":  # without a tunnel the proxy needs the whole address
        target = f"http://{origin.authority}{target}"
        if proxy.authorization:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
    return "".join(f"{line}\r\n" for line in (f"{method} {target} HTTP/1.1", *lines)).encode("ascii")
