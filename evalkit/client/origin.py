"""Origins: the scheme, host and port that a key is sent to, and that a redirect must not leave."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

_PORTS = {"http": 80, "https": 443}
_PATH_SAFE = "/%:@!$&'()*+,;=~-._"


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port.

    Parameters
    ----------
    host : str
        In ASCII: other names are in their IDNA form.
    """

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of an address.

        Raises
        ------
        ValueError
            It is not an http:// or https:// address.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError(f"{url!r} is not an http:// or https:// address")
        host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode("ascii")
        return cls(parts.scheme, host, _PORTS[parts.scheme] if parts.port is None else parts.port)

    def __str__(self) -> str:
        return f"{self._bracketed}:{self.port}"

    @property
    def authority(self) -> str:
        """The value of a Host header: with the port only if it is not the scheme's default."""
        return self._bracketed if self.port == _PORTS[self.scheme] else str(self)

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def path_of(url: str) -> str:
    """Path and query of an address, escaped for a request line."""
    parts = urlsplit(url)
    path = quote(parts.path or "/", safe=_PATH_SAFE)
    return f"{path}?{quote(parts.query, safe=_PATH_SAFE + '?')}" if parts.query else path


def redirect_target(url: str, location: str) -> str | None:
    """The target of a Location header, relative to an address; None: it is not an http(s) address."""
    try:
        target = urljoin(url, location)
        Origin.of(target)
    except ValueError:
        return None
    return target if location else None
