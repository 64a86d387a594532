"""The letter an answer chooses: ``B``, ``(B)``, ``B) Paris``, "the answer is (b)"; not the article of "A dog"."""

from __future__ import annotations

import re
import string
from functools import lru_cache

from evalkit.markers import lowered, marked

ALPHABET = string.ascii_uppercase

_DRESS = r"""(?:[\s*_"'`(\[{$:]|\\(?:text|textbf|mathbf|mathrm)\{|\b(?:option|choice|letter)\b)*+"""
# "A dog" and "I think" begin with a word, "A because" and "A or B" with a letter
_NO_WORD = r"(?<![AI](?=\s+(?!(?:because|since|as|for|and|or|is|was)\b)[a-z]))(?<!I(?=['’\s]))"
_ENDS = rf"(?![\w'’]|[-.]\w){_NO_WORD}"
_JOINS = r"\s*[*_)\]]*\s*(?:,\s*(?:or|and)?|/|&|\bor\b|\band\b)"

# without any of these there is no verdict to search for, which would take long
_VERDICTS = ("correct", "right", "choose", "chose", "pick", "select", "go with", "true")


def chosen_letters(text: str, letters: str = ALPHABET) -> list[str]:
    r"""The letters an answer chooses, in upper case.

    The first of these that finds any decides: what is marked as the answer (``markers.marked``), a letter the text
    begins with or is, the last "choose B" or "B is correct", the letters that stand alone anywhere.

    Parameters
    ----------
    text : str
    letters : str
        The letters there are to choose from, in upper case.

    Returns
    -------
    list of str
        Empty: none is chosen. More than one: it does not decide.
    """
    find = _patterns(letters)
    for piece in marked(text):
        if match := find["led"].match(piece):
            return _distinct(find["letter"].findall(match["first"] + (match["more"] or "")))
    if (match := find["start"].match(text)) and len(find["line"].findall(text)) <= 1:
        return _distinct([match["first"]])
    low = lowered(text)
    verdicts = list(find["verdict"].finditer(text)) if any(word in low for word in _VERDICTS) else []
    if verdicts:
        return _distinct([next(filter(None, verdicts[-1].groups()))])
    return _distinct([next(filter(None, match.groups())) for match in find["alone"].finditer(text)])


def _distinct(found: list[str]) -> list[str]:
    return list(dict.fromkeys(letter.upper() for letter in found))


@lru_cache(maxsize=32)
def _patterns(letters: str) -> dict[str, re.Pattern[str]]:
    upper, lower = f"[{re.escape(letters)}]", f"[{re.escape(letters.lower())}]"
    either = rf"(?:{upper}{_ENDS}|{lower}(?=\s*$|[)\].,:*_\"'`}}]))"
    return {
        "led": re.compile(rf"{_DRESS}(?P<first>{either})(?P<more>(?:{_JOINS}{_DRESS}{either})+)?"),
        "letter": re.compile(rf"(?<!\w)(?:{upper}|{lower})(?!\w)"),
        "start": re.compile(
            rf"{_DRESS}(?P<first>{upper}(?=\s*$|[*_\"'`]*[)\].:,](?!\w)|[*_\"'`]+\s|\s*\n)|{lower}(?=\W*$|\)))"
        ),
        "line": re.compile(rf"^[ \t*_(\[]*{upper}[)\].:]", re.MULTILINE),
        "verdict": re.compile(
            rf"\b(?i:choose|chose|pick|select|go with|correct(?: (?:one|option|choice))? is)\b{_DRESS}({upper}){_ENDS}"
            rf"|(?<!\w)({upper})\b[)\]*_\"'`]*\s+is\s+(?:the\s+)?(?:correct|right|true)\b"
        ),
        "alone": re.compile(rf"(?<![\w'’.-])({upper}){_ENDS}|\(({lower})\)"),
    }
