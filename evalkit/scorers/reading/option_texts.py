"""The options that a question lists, and an answer that gives the text of one in place of its letter."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from evalkit.scorers.reading.letters import DENYING, latin
from evalkit.scorers.reading.numbers import LONGEST_TEXT

_OPTION = re.compile(r"^[ \t*_]*\(?([A-Za-z])[).:][ \t*_]*(\S[^\n]{0,300})", re.MULTILINE)
_WORD = re.compile(r"\w+")
_LOOK = 40  # characters before a text that may deny it


@lru_cache(maxsize=256)
def options_of(question: str) -> Mapping[str, str]:
    """The options of a question, lines such as ``A) Rome``: letter to text in plain words; empty if it has no two."""
    lines = _OPTION.findall(latin(question[-LONGEST_TEXT:]))
    found = {letter.upper(): _words(text) for letter, text in lines}
    return MappingProxyType(found if len(found) > 1 else {})


def option_letter(text: str, options: Mapping[str, str]) -> list[str]:
    """The letter of the option whose text the whole answer is; empty if there is none."""
    if not options or len(text) > 400:
        return []
    answer = _words(text)
    return [letter for letter, words in options.items() if words and words == answer][:1]


def named_options(text: str, options: Mapping[str, str]) -> list[str]:
    """The letters of the options whose text is in the answer and not denied."""
    if not options:
        return []
    answer = f" {_words(text[-LONGEST_TEXT:])} "
    return [letter for letter, words in options.items() if words and _asserted(f" {words} ", answer)]


def _words(text: str) -> str:
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def _asserted(words: str, answer: str) -> bool:
    at = answer.find(words)
    while at >= 0:
        if not DENYING.search(answer, max(0, at + 1 - _LOOK), at + 1):
            return True
        at = answer.find(words, at + 1)
    return False
