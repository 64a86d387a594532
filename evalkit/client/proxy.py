"""The proxy that the environment names for an endpoint."""

from __future__ import annotations

import os
import re
import socket
from base64 import b64encode
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import unquote, urlsplit

from evalkit.errors import SettingsError
from evalkit.inputs.addresses import is_loopback

_PORTS = {"http": 80, "https": 443}
_NUMERIC = re.compile(r"(?:0x[0-9a-f]+|[0-9]+)(?:\.(?:0x[0-9a-f]+|[0-9]+)){0,3}")
_BRACKETED = re.compile(r"^\[([^\]]*)\](/\d+)?$")
_Address = IPv4Address | IPv6Address
_ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104  (addresses servers listen on; for a client they mean this machine)


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy.

    Parameters
    ----------
    scheme : str
        The protocol to the proxy itself: ``http`` or ``https``.
    host, port : str, int
    source : str
        The variable that names it, for messages.
    authorization : str or None
        Value of the Proxy-Authorization header, from the user and password in its address.
    """

    scheme: str
    host: str
    port: int
    source: str
    authorization: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"the proxy {self.host}:{self.port} (from {self.source})"

    @property
    def credentials_advice(self) -> str:
        """What to do when the proxy answers 407."""
        form = "http://user:password@host:port"
        if self.authorization is None:
            return f"It requires user and password: put them into {self.source} as {form}."
        return (
            f"It refused the user and password in {self.source}: check them, and write special characters in them as "
            f"%XX, such as %40 for @, in {form}."
        )


def proxy_for(scheme: str, host: str, port: int) -> Proxy | None:
    """The proxy for an endpoint; None: it is reached directly.

    Reads ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, in upper or lower case, and the system's
    settings where Python supports them. ``NO_PROXY`` excludes what curl, Go or Python would exclude, each by its own
    rules: names with their subdomains, addresses, ranges, ports, ``*``. This machine is never reached through a proxy:
    for a proxy on another machine, ``127.0.0.1`` is that machine and not the endpoint that runs here.

    Raises
    ------
    SettingsError
        The proxy is not an http:// or https:// proxy; the message shows neither user nor password.
    """
    found = _found(scheme, host, port)
    if isinstance(found, str):
        raise SettingsError(found)  # here no local variable holds the proxy's address with its password
    return found


def _found(scheme: str, host: str, port: int) -> Proxy | str | None:
    """The proxy, or the message if it is invalid."""
    name, forms = _normalised(host), _addresses(host)
    if any(is_loopback(each) or each in _ANY_ADDRESS for each in (name, *map(str, forms))):
        return None
    from urllib.request import getproxies, proxy_bypass  # slow to import, and rarely needed

    proxies = getproxies()
    url = proxies.get(scheme) or proxies.get("all")
    if not url or _is_excluded(name, forms, port) or proxy_bypass(f"{host}:{port}"):
        return None
    return _parse(url, _source(url, scheme), host)


def _is_excluded(name: str, forms: tuple[_Address, ...], port: int) -> bool:
    """Whether ``NO_PROXY`` excludes a host; if both spellings of the variable are set, both apply."""
    listed = f"{os.environ.get('NO_PROXY', '')},{os.environ.get('no_proxy', '')}"
    return any(_excludes(entry, name, forms, port) for entry in re.split(r"[\s,]+", listed) if entry)


def _excludes(entry: str, name: str, forms: tuple[_Address, ...], port: int) -> bool:
    if entry == "*":
        return True
    if (network := _network(entry)) is None:
        # text after the last colon is a port, unless it is part of an IPv6 address, which _network has parsed
        bare, colon, own_port = entry.rpartition(":")
        if colon and own_port.isdecimal():
            if int(own_port) != port:
                return False
            entry = bare
            network = _network(entry)
    if network is not None:
        return any(address in network for address in forms)
    # in Go .example and *.example mean subdomains only, in curl and Python .example means example as well
    below = _normalised(entry.removeprefix("*").removeprefix("."))
    return bool(below) and (name.endswith(f".{below}") or (name == below and not entry.startswith("*")))


def _network(entry: str) -> IPv4Network | IPv6Network | None:
    """An address or a range, ``10.0.0.0/8``, ``fd00::/8``, ``[::1]``, ``[fd00::]/8``; None: it is a name."""
    address, slash, bits = _BRACKETED.sub(r"\1\2", entry).partition("/")
    try:
        return ip_network(f"{address.partition('%')[0]}{slash}{bits}", strict=False)
    except ValueError:
        return None


def _addresses(host: str) -> tuple[_Address, ...]:
    """The host as addresses, an IPv4 one in both its forms; empty: it is a name."""
    name = _normalised(host)
    try:
        address = ip_address(name)
    except ValueError:
        if not _NUMERIC.fullmatch(name):
            return ()
        try:
            address = IPv4Address(socket.inet_aton(name))  # 10.1, 0x0a000001: as the system reads it
        except OSError:
            return ()
    four = address if isinstance(address, IPv4Address) else address.ipv4_mapped
    return (address,) if four is None else (four, IPv6Address(f"::ffff:{four}"))


def _normalised(host: str) -> str:
    """A host normalised for comparison: in ASCII and lower case, without brackets, zone and final dot."""
    host = host.strip("[]").partition("%")[0].lower().removesuffix(".")
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


def _parse(url: str, source: str, host: str) -> Proxy | str:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        name, port = parts.hostname, parts.port
        if not name:
            raise ValueError
    except ValueError:  # its text shows the address, which may contain a password
        return f"the proxy in {source} cannot be read: write it as http://host:port"
    if parts.scheme not in _PORTS:
        return (
            f"the proxy in {source} is a {parts.scheme}:// address: evalkit supports http:// and https:// proxies. "
            f"Set one of these, or set NO_PROXY={host} to connect without a proxy"
        )
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + b64encode(pair.encode()).decode()
    return Proxy(parts.scheme, name, port or _PORTS[parts.scheme], source, authorization)


def _source(url: str, scheme: str) -> str:
    names = [name for kind in (scheme, "all") for name in (f"{kind}_proxy", f"{kind}_proxy".upper())]
    return next((name for name in names if os.environ.get(name) == url), "the system's settings")
