"""API keys: read from the environment, never shown, and not passed to processes that do not need them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from evalkit.errors import SettingsError

_USABLE = re.compile(r"[\x21-\x7e]+")
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
    if not os.environ.get(variable):
        return None
    if not _USABLE.fullmatch(os.environ[variable]):
        raise SettingsError(
            f"the key in {variable} contains a blank, a line break or a non-ASCII character: copy it again"
        )
    return Key(os.environ[variable])


def without_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that a process without network access needs: none of the user's keys."""
    return {
        name: value
        for name, value in environment.items()
        if _NEEDED.fullmatch(name.upper()) and not _SECRET.search(name.upper())
    }
