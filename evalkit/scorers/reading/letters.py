"""The letter that an answer chooses: ``B``, ``(B)``, ``B) Paris``, "the answer is (b)"; not the article of "A dog"."""

from __future__ import annotations

import re
import string
from functools import lru_cache

from evalkit.scorers.reading.answer_marks import lowered, marked
from evalkit.scorers.reading.numbers import LONGEST_TEXT

ALPHABET = string.ascii_uppercase

_DRESS = r"""(?:[\s*_"'`(\[{$:]|\\(?:text|textbf|mathbf|mathrm)\{|\b(?:option|choice|letter)\b)*+"""
# "A dog" and "I think" begin with a word, "A because" and "A or B" with a letter
_NO_WORD = r"(?<![AI](?=\s+(?!(?:because|since|as|for|and|or|is|was)\b)[a-z]))(?<!I(?=['’\s]))"
_ENDS = rf"(?![\w'’]|[-.]\w){_NO_WORD}"
_JOINS = r"\s*[*_)\]]*\s*(?:,\s*(?:or|and)?|/|&|\bor\b|\band\b)"
# before, or after, a letter that is denied
_DENYING = re.compile(
    r"(?:\b(?:not|cannot|never|neither|nor|rather than|instead of|eliminate|rules? out)|n['’]t)"
    r"\s+(?:(?:be|choose|pick|select|go with|an?|the|option|choice|letter)\s+)*[*_\"'`(\[]*\Z",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"[)\]*_\"'`]*\s+(?:(?:is|was|can|could)(?:n['’]t\b|\s*not\b(?!\s+(?:incorrect|wrong|false)\b)|['’]t\b)"
    r"|(?:is|was)\s+(?:(?:the|an?|also)\s+)*(?:incorrect|wrong|false)\b)",
    re.IGNORECASE,
)
_LOOK = 40  # characters before a letter that may deny it

# a quick test: without any of these words the slow search finds nothing
_VERDICTS = ("correct", "right", "choose", "chose", "pick", "select", "go with", "true")


def chosen_letters(text: str, letters: str = ALPHABET) -> list[str]:
    r"""The letters that an answer chooses, in upper case.

    The first of these that finds any decides: text marked as the answer (``answer_marks.marked``), a letter that the
    text starts with or consists of, the last "choose B" or "B is correct", letters that stand alone anywhere. Letters
    that are denied, as in "not B" or "B is wrong", are skipped.

    Parameters
    ----------
    text : str
        Its beginning and its last 20,000 characters are read.
    letters : str
        The possible letters, in upper case.

    Returns
    -------
    list of str
        Empty if none is chosen; more than one if the answer does not decide.
    """
    find = _patterns(letters)
    head, text = text, text[-LONGEST_TEXT:]
    for piece in marked(text):
        if match := find["led"].match(piece):
            return _distinct(find["letter"].findall(match["first"] + (match["more"] or "")))
    if (match := find["start"].match(head)) and len(find["line"].findall(text)) <= 1:
        return _distinct([match["first"]])
    low = lowered(text)
    if any(word in low for word in _VERDICTS) and (verdicts := _not_denied(find["verdict"], text)):
        return _distinct(verdicts[-1:])
    return _distinct(_not_denied(find["alone"], text))


def _not_denied(pattern: re.Pattern[str], text: str) -> list[str]:
    """The letters that a pattern finds, without those that the text denies."""
    return [
        next(filter(None, match.groups()))
        for match in pattern.finditer(text)
        if not _DENYING.search(text, max(0, match.start() - _LOOK), match.start())
        and not _DENIED.match(text, match.end())
    ]


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
