"""API keys and secret headers: read from the environment, never shown, kept from processes that do not need them."""

from __future__ import annotations

import contextlib
import os
import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from evalkit.errors import SettingsError

_USABLE = re.compile(r"[\x21-\x7e]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
_SCHEME = re.compile(r"[A-Za-z][\w-]*")
# variables that Python and llama.cpp read: paths, language, and how their libraries compute
_NEEDED = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|TERM|TMPDIR|TMP|TEMP|TZ|LANG|LANGUAGE|LC_\w+|VIRTUAL_ENV|SYSTEMROOT"
    r"|(?:LD|DYLD|PYTHON|OMP|KMP|GOMP|OPENBLAS|MKL|BLIS|GGML|CUDA|NVIDIA|HIP|ROCR|HSA|VK|GLIBC|MALLOC|COVERAGE|COV)\w*"
)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CRED|AUTH")


class Key(str):
    """An API key as text; its repr hides the value from tracebacks, debuggers and logs that print variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __getitem__(self, part: Any) -> str:
        return Key(super().__getitem__(part))  # for tools that shorten a value before they show it


def key_in(variable: str) -> Key | None:
    """The API key in an environment variable; None: the variable is not set.

    Raises
    ------
    SettingsError
        The key has blanks or characters that an HTTP header cannot carry; neither message nor local variables show it.
    """
    key = Key(os.environ.get(variable, ""))
    if not key:
        return None
    if not _USABLE.fullmatch(key):
        raise SettingsError(
            f"the key in {variable} contains a blank, a line break or a non-ASCII character: copy it again"
        )
    return key


def secret_header(name: str, variable: str) -> Key:
    """The value of a secret header, from an environment variable.

    Raises
    ------
    SettingsError
        The variable is not set, or its value cannot be sent in a header; neither message nor local variables show it.
    """
    value = Key(os.environ.get(variable, ""))
    if not value:
        raise SettingsError(
            f"{variable} is named as the variable of the header {name}, but it is not set: export {variable}=…"
        )
    if not _HEADER_VALUE.fullmatch(value):
        raise SettingsError(
            f"the value of the header {name} in {variable} begins or ends with a blank, or contains a line break, a "
            "control character or a non-ASCII character: copy it again"
        )
    return value


def secrets_in(value: Key) -> tuple[Key, ...]:
    """The parts of a header's value that must not be shown: all but the name of its scheme.

    Of ``Basic …`` also user and password together, and the password; of cookies their values.
    """
    scheme, _, rest = value.partition(" ")
    if rest and " " not in rest and _SCHEME.fullmatch(scheme):
        secrets = [rest]
        if scheme.lower() == "basic":
            with contextlib.suppress(ValueError):
                secrets.append(b64decode(rest, validate=True).decode())
                secrets.append(secrets[-1].partition(":")[2])
    else:
        secrets = [value, *(part.partition("=")[2].strip() for part in value.split(";") if "=" in part)]
    return tuple(dict.fromkeys(Key(secret) for secret in secrets if secret))


def without_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that a process without network access needs: none of the user's keys."""
    return {
        name: value
        for name, value in environment.items()
        if _NEEDED.fullmatch(name.upper()) and not _SECRET.search(name.upper())
    }
