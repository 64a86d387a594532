"""Scorers of form: length and language."""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any

from evalkit.record import Answer
from evalkit.scorers.reading.characters import UNBROKEN
from evalkit.scorers.registry import Problem, Verdict, register, shown

UNITS = ("characters", "words", "sentences", "lines")
_LEAST_PROBABILITY = 0.5  # of a guessed language
_LONGEST_TEXT = 10_000  # characters that a language is guessed from
_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_LETTER = re.compile(r"[^\W_]")
_UNBROKEN = re.compile(f"[{UNBROKEN}]")
_LIST_MARK = re.compile(r"[ \t]*(?:[-*•]|\d{1,3}[.)])[ \t]+")
_END = re.compile(r"""(?<=[.!?…])[)\]"'”’*_]*\s+|[。！？]+""")
# ends with a full stop but not a sentence
_ABBREVIATION = re.compile(r"\b(?:(?i:mr|mrs|ms|dr|prof|st|vs|e\.g|i\.e|cf|approx)|[A-Z])\.\Z")
_LONGEST_ABBREVIATION = len(" approx.")


def _length_check(target: Any, *, min: float, max: float, unit: str) -> Problem | None:
    if unit not in UNITS:
        known = ", ".join(map(repr, UNITS))
        return Problem("scorer", f"the option unit of the scorer length is {unit!r}: it must be one of {known}")
    if min == 0 and max == math.inf:
        return Problem("scorer", "the scorer length needs a limit: the option min, max, or both")
    if min > max:
        return Problem(
            "scorer", f"the options of the scorer length exclude each other: min {min:g} is above max {max:g}"
        )
    return None


@register("length", check=_length_check, targetless=True)
def length(answer: Answer, target: Any, *, min: float = 0.0, max: float = math.inf, unit: str = "words") -> Verdict:
    """The answer has from ``min`` to ``max`` words, or characters, sentences or lines; the target is ignored.

    Spaces around the text, words without a letter or digit, and blank lines do not count. A sentence ends with its
    mark, a blank line or a list item; common abbreviations do not end one.
    """
    text = answer.text.strip()
    count = _count(text, unit)
    if count is None:
        return Verdict(None, "words cannot be counted in a script without spaces between them: limit the characters")
    if min <= count <= max:
        return Verdict(1, extracted=count)
    limit = f"fewer than {min:g}" if count < min else f"more than {max:g}"
    return Verdict(0, f"the answer has {count} {unit}, {limit}", count)


def _count(text: str, unit: str) -> int | None:
    if unit == "characters":
        return len(text)
    if unit == "lines":
        return sum(not line.isspace() and line != "" for line in text.split("\n"))
    if unit == "sentences":
        return sum(map(_sentences, _blocks(text)))
    words = sum(_LETTER.search(word) is not None for word in text.split())
    return None if len(_UNBROKEN.findall(text)) > words else words


def _blocks(text: str) -> list[str]:
    """Paragraphs and list items."""
    blocks, lines = [], list[str]()
    for line in text.split("\n"):
        mark = _LIST_MARK.match(line)
        if mark or not line.strip():
            blocks.append(" ".join(lines))
            lines = []
        lines.append(line[mark.end() :] if mark else line)
    return [*blocks, " ".join(lines)]


def _sentences(block: str) -> int:
    count, begin = 0, 0
    for end in _END.finditer(block):
        if _ABBREVIATION.search(block[max(begin, end.start() - _LONGEST_ABBREVIATION) : end.start()]):
            continue
        count += _LETTER.search(block, begin, end.start()) is not None
        begin = end.end()
    return count + (_LETTER.search(block, begin) is not None)


def _language_check(target: Any) -> Problem | None:
    if not isinstance(target, str) or target.lower() not in _identifier().labels:
        form = 'the ISO 639 code of a known language, such as "en" or "de"'
        return Problem("target", f"the target is {shown(target)}: the scorer language needs {form}")
    return None


@register("language", check=_language_check, requires="py3langid")
def language(answer: Answer, target: Any) -> Verdict:
    """The answer is written in the target's language; one too short to be sure of is not scored.

    The first 10,000 characters count, without blocks of code.
    """
    text = _CODE.sub(" ", answer.text[:_LONGEST_TEXT]).strip()
    if not _LETTER.search(text):
        return Verdict(0, "no words in the answer")
    found, probability = _identifier().classify(text)
    if probability < _LEAST_PROBABILITY:
        return Verdict(
            None, f"too little text to be sure of its language: the best guess is {found}, {probability:.0%} sure"
        )
    return Verdict(
        found == target.lower(), None if found == target.lower() else f"it is in {found}, not {target}", found
    )


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
