"""Names and values of headers and query parameters that hold secrets, which must be neither stored nor shown."""

from __future__ import annotations

import re

_SHORTEST = 8  # characters of a secret
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_WORD = re.compile(
    r"auth|authorization|authentication|apikey|cookie|credentials?|jwt|key|passphrase|passwd|password|pwd|sas|secret|sig"
    r"|signature|subscriptionkey|token|accesstoken|bearer"
)
_NO_SECRET = re.compile(r"(?i).*(?:idempotency|cache|routing|partition|affinity|sort|public)[-_]?key")
# the prefixes of keys that services give out, and the schemes of the Authorization header
_SECRET_VALUE = re.compile(
    r"(?i:bearer|basic)\s+\S+|(?=\S*\d)(?:sk|pk|rk|gsk|hf|xai|tk|ghp|glpat|xox[a-z])[-_]?[A-Za-z0-9][\w-]{15,}|AIza[\w-]{30,}"
    r"|eyJ[\w-]+\.[\w-]+\.[\w-]*"
)


def is_secret_name(name: str) -> bool:
    """Whether a header or a query parameter of this name usually holds a secret: ``api-key``, ``sig``, ``X-Token``."""
    if _NO_SECRET.fullmatch(name):
        return False
    return any(_SECRET_WORD.fullmatch(word.lower()) for word in _WORD.findall(name))


def is_secret_value(value: str) -> bool:
    """Whether a value looks like a key, whatever its name is."""
    return _SECRET_VALUE.fullmatch(value) is not None


def is_secret(name: str, value: str) -> bool:
    """Whether a header or a query parameter holds a secret; a short value is a placeholder, such as ``none``."""
    return (len(value) >= _SHORTEST and is_secret_name(name)) or is_secret_value(value)
