"""Numbers beside the answer in its own sentence: brought by the question, restated in brackets, part of a reason.

All functions read text in lower case (``answer_marks.lowered``).
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from evalkit.scorers.reading.answer_marks import lowered
from evalkit.scorers.reading.numbers import find_numbers
from evalkit.scorers.reading.numbers_in_passing import CURRENCY

_LONGEST_SENTENCE = 300  # characters before a number that are read
_LOOK = 40  # characters before a number that may refer to the question
_LONGEST_QUESTION = 5_000
_SENTENCE_ENDS = ("\n", ". ", "! ", "? ", "; ")
_DIGIT = re.compile(r"\d")
_DRESS = rf"[*_({CURRENCY}\s]*+"
_MARKS = f"*_({CURRENCY} \t\n"
_PREPOSITIONS = "in|for|of|after|at|by|among|per|from|during|within|with|over|every|each|another|where|when"
_THEIR = "the|all|his|her|their|its|these|those|our|my|your|original|initial|first|only|just"
_LINKS = frozenset(f"{_PREPOSITIONS}|{_THEIR}".split("|"))
_PREPOSITION = re.compile(rf"\b(?:{_PREPOSITIONS})\b(?: +(?:{_THEIR}))*\Z")
_FOR_OR_WHERE = re.compile(rf"\b(?:for|where|when|per)\b [*_({CURRENCY}]*\Z")
_RESULT = re.compile(rf"=\s*[*_({CURRENCY}]*[-−]?\d")
_REASON = re.compile(r"\b(?:because|since|given that|as (?:there|he|she|they)|where)\b")
_BEFORE_BRACKET = re.compile(r"\d[\d.,/]*\s?(?:[%°*_$€£¥₹]{0,3})\s?(?:[a-z°²³%]+(?: [a-z]+)?)?[*_$\s]*\Z")
_RESTATED = re.compile(
    rf"\(\s*(?:or|about|approximately|approx\.?|around|roughly|i\.e\.,?|that is,?|[≈~=])?\s*[{CURRENCY}]?\Z"
)
_BOLD = re.compile(rf"(?<!\*)\*\*[{CURRENCY}\\]{{0,2}}[-−]?\d[\d.,/]*\s?(?:[%€£]|[a-z]+)?\*\*")
_WORD_AFTER = re.compile(r"[*_$\s\\]*(?:text\{|mathrm\{)?\s*([a-z°]+)")
_CENTS = {"$": ("dollar", "$"), "€": ("euro", "€"), "£": ("pound", "£")}


def is_secondary(text: str, start: int, end: int, value: Fraction | None, question: str, word: str) -> int | None:
    """Whether another number of the same sentence is more likely the answer than this one.

    Parameters
    ----------
    text : str
        In lower case.
    start, end : int
        Position of the number.
    value : Fraction or None
    question : str
        What was asked; may be empty.
    word : str
        ``numbers_in_passing.word_before`` the number.

    Returns
    -------
    int or None
        Where the sentence starts, in which to look for the other; None if this number is the answer.
    """
    if start == 0:
        return None
    window = text[max(0, start - _LONGEST_SENTENCE) : start]
    referred = question != "" and (not word or word in _LINKS) and brought(window, value, question)
    if not (referred or _has_cue(window)):  # nearly every number
        return None
    begin = _sentence_start(text, start)
    if _DIGIT.search(text, begin, start) is None:
        return None
    clause = text[begin:start]
    if "(" in clause and _restates(clause):
        return None if _asked_in_unit(text, start, end, question) else begin
    reason = _REASON.search(clause)
    if reason is not None and _DIGIT.search(clause, 0, reason.start()) is not None:
        return begin
    if "=" in clause and _FOR_OR_WHERE.search(clause) and _RESULT.search(clause):
        return begin
    if referred and brought(clause, value, question):
        return begin
    if "**" in clause and text[start - 1] not in f"*{CURRENCY}\\" and len(_BOLD.findall(clause)) == 1:
        return begin
    return None


def _has_cue(text: str) -> bool:
    return (
        "(" in text
        or "=" in text
        or "**" in text
        or "because" in text
        or "since" in text
        or "where" in text
        or " as " in text
        or "given" in text
    )


def brought(before: str, value: Fraction | None, question: str) -> bool:
    """Whether the question brought a number, and this text before it only refers to it: "in 5 years"."""
    before = before[-_LOOK:].rstrip(_MARKS)
    if before[before.rfind(" ") + 1 :] not in _LINKS:  # a quick test
        return False
    return _PREPOSITION.search(before) is not None and value in _values(question)


def _restates(clause: str) -> bool:
    """Whether a bracket is open that began after a number, and nothing but this number stands in it so far."""
    opened = clause.rfind("(")
    if opened < clause.rfind(")"):
        return False
    return _BEFORE_BRACKET.search(clause[:opened]) is not None and _RESTATED.search(clause, opened) is not None


def _asked_in_unit(text: str, start: int, end: int, question: str) -> bool:
    """Whether the question asks for the unit of this number: "how many minutes"."""
    if not question:
        return False
    low = lowered(question)
    asked = low[max(0, low.rfind("how ")) :]
    if text[start : start + 1] in _CENTS or text[start - 1 : start] in _CENTS:
        sign = text[start] if text[start] in _CENTS else text[start - 1]
        return any(name in asked for name in _CENTS[sign])
    word = _WORD_AFTER.match(text, end)
    return (
        word is not None and len(word[1]) > 1 and re.search(rf"\b{re.escape(word[1].rstrip('s'))}", asked) is not None
    )


def _sentence_start(text: str, at: int) -> int:
    begin = max(0, at - _LONGEST_SENTENCE)
    for end in _SENTENCE_ENDS:
        if (found := text.rfind(end, begin, at)) >= 0:
            begin = found + len(end)
    return begin


@lru_cache(maxsize=256)
def _values(question: str) -> frozenset[Fraction]:
    return frozenset(number.value for number in find_numbers(question[:_LONGEST_QUESTION]))
