"""Regular expressions from datasets, by RE2: matching takes time in proportion to the text, whatever the pattern.

Python's own engine cannot be stopped once a stranger's pattern backtracks without end.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from typing import Any

import re2

HINT = "RE2 syntax: no look-around, no back-references"
_MOST_MEMORY = 8 << 20  # bytes of one pattern, its program and the states met while matching; RE2's default
_MOST_PATTERNS = 32  # compiled and cached
_MOST_MATCHES = 100  # in which a group is looked for: each may read the text to its end


def pattern_problem(pattern: str) -> str | None:
    """Why RE2 rejects a pattern, and at which character; None if the pattern is usable."""
    try:
        _compiled(pattern)
    except ValueError as error:
        return str(error)
    return None


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern matches anywhere in a text.

    Raises
    ------
    ValueError
        RE2 rejects the pattern.
    """
    return _compiled(pattern).search(text.encode()) is not None


def search(pattern: str, text: str) -> str | None:
    """The text captured by a pattern's first match in which one of its groups took part.

    Returns
    -------
    str or None
        The first group that took part, or the whole first match if the pattern has no groups. None if the pattern does
        not match, or only without its groups.

    Raises
    ------
    ValueError
        RE2 rejects the pattern.
    """
    compiled = _compiled(pattern)
    # with bytes, re2 skips the conversion of every offset
    found = compiled.finditer(text.encode()) if compiled.groups else [compiled.search(text.encode())]
    for match in islice(found, _MOST_MATCHES):
        if match is None:
            return None
        for group in match.groups() or (match[0],):
            if group is not None:
                captured: bytes = group
                return captured.decode(errors="replace")  # \C matches a single byte
    return None


@lru_cache(maxsize=_MOST_PATTERNS)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.max_mem = _MOST_MEMORY
    options.log_errors = False  # RE2 would print them on standard error
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(_reason(pattern, error)) from None
    except UnicodeEncodeError:
        raise ValueError("it is not valid Unicode") from None
    finally:
        re2.purge()  # its own cache holds 128 patterns: this module's bound would not bound anything


def _reason(pattern: str, error: Exception) -> str:
    """RE2's ``invalid perl operator: (?=`` as ``invalid perl operator '(?=' at character 1``."""
    message = error.args[0]
    what, _, part = (message.decode() if isinstance(message, bytes) else str(message)).partition(": ")
    if part in ("", pattern):
        return what
    where = f" at character {pattern.index(part) + 1}" if pattern.count(part) == 1 else ""
    return f"{what} {part!r}{where}"
