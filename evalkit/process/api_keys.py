"""API keys: read from the environment, shown by nothing, handed to no process that needs none."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from evalkit.errors import SettingsError

_USABLE = re.compile(r"[\x21-\x7e]+")
# what a process of Python and llama.cpp reads: where things lie, language, and how its libraries compute
_NEEDED = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|TERM|TMPDIR|TMP|TEMP|TZ|LANG|LANGUAGE|LC_\w+|VIRTUAL_ENV|SYSTEMROOT"
    r"|(?:LD|DYLD|PYTHON|OMP|KMP|GOMP|OPENBLAS|MKL|BLIS|GGML|CUDA|NVIDIA|HIP|ROCR|HSA|VK|GLIBC|MALLOC|COVERAGE|COV)\w*"
)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CRED|AUTH")


class Key(str):
    """An API key as text whose value no traceback, debugger or log shows, though it prints the values it finds."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __getitem__(self, part: Any) -> str:
        return Key(super().__getitem__(part))  # what shortens a value before it shows it


def key_in(variable: str) -> Key | None:
    """The API key in an environment variable; None: there is none.

    Raises
    ------
    SettingsError
        The key holds blanks or characters no HTTP header can carry; neither message nor local variables show it.
    """
    if not os.environ.get(variable):
        return None
    if not _USABLE.fullmatch(os.environ[variable]):
        raise SettingsError(
            f"the key in {variable} holds a blank, a line break or a non-ASCII character: copy it again"
        )
    return Key(os.environ[variable])


def without_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """What of an environment a process needs that talks to nobody: none of the user's keys is in it."""
    return {
        name: value
        for name, value in environment.items()
        if _NEEDED.fullmatch(name.upper()) and not _SECRET.search(name.upper())
    }
