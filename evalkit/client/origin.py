"""Origins: what a key is sent to, and what no redirect may leave."""

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
        ASCII: a name beyond it stands here in its IDNA form.
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
            Not an http:// or https:// address.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError(f"{url!r} is no http:// or https:// address")
        host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode("ascii")
        return cls(parts.scheme, host, _PORTS[parts.scheme] if parts.port is None else parts.port)

    def __str__(self) -> str:
        return f"{self._bracketed}:{self.port}"

    @property
    def authority(self) -> str:
        """What stands in a Host header: the port only where it is not the scheme's own."""
        return self._bracketed if self.port == _PORTS[self.scheme] else str(self)

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def path_of(url: str) -> str:
    """Path and query of an address, fit for a request line."""
    parts = urlsplit(url)
    path = quote(parts.path or "/", safe=_PATH_SAFE)
    return f"{path}?{quote(parts.query, safe=_PATH_SAFE + '?')}" if parts.query else path


def redirect_target(url: str, location: str) -> str | None:
    """Where a Location header leads to from an address; None: nowhere that http goes."""
    try:
        target = urljoin(url, location)
        Origin.of(target)
    except ValueError:
        return None
    return target if location else None
