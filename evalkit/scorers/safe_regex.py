"""Regular expressions from datasets: RE2, whose matching takes time in proportion to the text, whatever the pattern.

RE2 by way of Arrow: Python's own engine can be stopped by nobody once a pattern from a stranger runs away.
"""

from __future__ import annotations

from functools import lru_cache

HINT = "RE2 syntax: no look-around, no back-references"
_AROUND = r"\A[\s\S]*?({})[\s\S]*\z"
_SHORT = 200  # characters of a pattern that is worth remembering


def why_unusable(pattern: str) -> str | None:
    """What is wrong with a pattern; None: nothing."""
    return _fault_of(pattern) if len(pattern) <= _SHORT else _fault_of.__wrapped__(pattern)


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern matches anywhere in a text.

    Raises
    ------
    ValueError
        It is no pattern of RE2.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    return bool(pc.match_substring_regex(pa.array([text]), pattern)[0].as_py())


def search(pattern: str, text: str) -> str | None:
    """What the first group, or the whole, of a pattern's first match took; None: no match.

    Raises
    ------
    ValueError
        It is no pattern of RE2.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pa.array([text])
    if not pc.match_substring_regex(texts, pattern)[0].as_py():
        return None
    around = _AROUND.format(pattern)
    try:
        taken = pc.replace_substring_regex(texts, pattern=around, replacement=r"\2")
    except pa.ArrowInvalid:  # the pattern has no group of its own
        taken = pc.replace_substring_regex(texts, pattern=around, replacement=r"\1")
    return str(taken[0].as_py())


@lru_cache(maxsize=1024)
def _fault_of(pattern: str) -> str | None:
    try:
        matches(pattern, "")
        matches(_AROUND.format(pattern), "")  # "\\Qa" is a pattern, and swallows what stands behind it
    except ValueError as error:
        return str(error).partition("\n")[0].removeprefix("Invalid regular expression: ")
    return None
