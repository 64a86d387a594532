"""The number that a text gives as its answer."""

from __future__ import annotations

import re

from evalkit.scorers.reading.answer_continuations import check_start, correction, next_question_start
from evalkit.scorers.reading.answer_marks import lowered, marked
from evalkit.scorers.reading.number_words import number_in_words
from evalkit.scorers.reading.numbers import (
    LONGEST_TEXT,
    VULGAR,
    Number,
    matches_from_end,
    numbers_of,
    place_of,
    plain,
    value_of,
)
from evalkit.scorers.reading.numbers_in_passing import Asides, denied, part_of_time, stands_for_itself, word_before
from evalkit.scorers.reading.secondary_numbers import brought, is_secondary

_ANY_DIGIT = re.compile(rf"[\d{VULGAR}]")
_BLANKS, _CUT_MARKS = " \t", tuple(",/^=+×·−–-")  # after the number in which a text breaks off
_LAST_OF_NUMBER = frozenset("}%٪€£¥₹⁻")  # besides digits and letters
_LOOK = 24  # characters before a number that say that it is claimed
_CLAIMED = re.compile(
    r"""(?: [=:≈] | (?:['’]s|\b(?:is|are|was|be|total|result|answer|makes?|gives?|gets?|got|leaves|have|has
                              |correction|no|to)) ,? )
        \s*(?:about\ |exactly\ |actually\ |only\ )?[*_(\s$€£¥₹]*\Z""",
    re.VERBOSE,
)


def final_number(text: str, decimal: str = ".", question: str = "") -> Number | None:
    """The number that a text gives as its answer.

    First a marked one (``answer_marks.marked``), unless the text takes it back, then the last number that stands for
    itself. Numbers mentioned in passing are skipped while there is any other: operands (``12 + 23``, "the sum of 12 and
    23"), numbers after "than", ordinals, parts of names (``GPT-4``), step and list numbers, those in a question, in a
    check of the answer, and those that the question brought ("in 5 years"). A denied one ("it is not 35") never counts,
    and neither does a part of a clock time or a ratio. In a text without any digit, English number words are read.

    Parameters
    ----------
    text : str
    decimal : str
        How an ambiguous mark is read: ``.`` or ``,``.
    question : str
        What was asked.

    Returns
    -------
    Number or None
        None if the text has no number, or each is denied.
    """
    placed = final_place(text, decimal, question=question)
    return None if placed is None else placed[0]


def final_place(
    text: str, decimal: str = ".", *, strict: bool = False, question: str = ""
) -> tuple[Number, str] | None:
    """``final_number``, and the piece of plain text that its ``start`` and ``end`` refer to.

    With ``strict`` only a number that stands for itself, for a text whose last number is cut off.
    """
    text = plain(text[-LONGEST_TEXT:])
    if not _ANY_DIGIT.search(text):
        number = number_in_words(text)
        return None if number is None else (number, text)
    low = lowered(text)
    end = next_question_start(low)
    if end is not None:
        text, low = text[:end], low[:end]
    pieces = marked(text, low)
    if pieces:
        if (corrected := _corrected(text, low, pieces, decimal)) is not None:
            return corrected
        for piece in pieces:
            number = _first_that_stands(lowered(piece), decimal, strict, question)
            if number is not None:
                return number, piece
    if (check := check_start(low)) is not None:
        number = _last_that_stands(low[:check], decimal, True, question)
        if number is not None:
            return number, text
    number = _last_that_stands(low, decimal, strict, question) or number_in_words(text)
    return None if number is None else (number, text)


def number_at_end(text: str, decimal: str = ".") -> Number | None:
    """The number in which a text breaks off, followed at most by spaces, a comma or a sign.

    It may be incomplete or an intermediate step. One before a full stop, a closing mark or a line break is complete.

    Parameters
    ----------
    text : str
        From ``plain``; ``start`` and ``end`` of the number refer to it.
    decimal : str
        How an ambiguous mark is read: ``.`` or ``,``.

    Returns
    -------
    Number or None
    """
    tail = text.rstrip(_BLANKS)
    if tail.endswith(_CUT_MARKS):
        tail = tail[:-1].rstrip(_BLANKS)
    begin = max(0, len(text) - LONGEST_TEXT)
    last, tail = tail[-1:], tail[begin:]
    if last.isalpha():
        number = number_in_words(tail)
    elif last.isnumeric() or last in _LAST_OF_NUMBER:
        match = next(matches_from_end(lowered(tail)), None)
        number = None if match is None or match.end() < len(tail) else value_of(match, decimal)
    else:
        return None
    if number is None or number.end < len(tail):
        return None
    return Number(number.value, number.percent, begin + number.start, begin + number.end)


def _corrected(text: str, low: str, pieces: list[str], decimal: str) -> tuple[Number, str] | None:
    """The number with which a text replaces the one that it marks as its answer; None if it takes nothing back."""
    first = min(at for piece in pieces if (at := text.find(piece)) >= 0)
    begin = correction(low, first)
    if begin is None:
        return None
    rest, low_rest = text[begin:], low[begin:]
    for piece in marked(rest):
        number = _first_that_stands(lowered(piece), decimal, True, "")
        if number is not None:
            return number, piece
    asides = Asides(low_rest)
    for match in matches_from_end(low_rest):
        start, end = _span(match)
        before = low_rest[max(0, start - _LOOK) : start]
        claimed = _CLAIMED.search(before) or not before.strip(" ,:*_$")
        if claimed and stands_for_itself(low_rest, start, end) and not asides.hold(start):
            number = value_of(match, decimal)
            if number is not None:
                return number, rest
    return None


def _first_that_stands(text: str, decimal: str, strict: bool, question: str) -> Number | None:
    """The first number of a text that stands for itself, else, unless ``strict``, the first that is not denied."""
    first = second = None
    for number in numbers_of(text, decimal):
        start, end = number.start, number.end
        if part_of_time(text, start, end):
            continue
        if stands_for_itself(text, start, end):
            if not question or not brought(text[:start], number.value, question):
                return number
            second = second or number
        first = first or (None if strict or denied(text, start) else number)
    return second or first


def _last_that_stands(text: str, decimal: str, strict: bool, question: str) -> Number | None:
    """The last number that stands for itself and is not an aside, else, unless ``strict``, the last not denied."""
    last, asides = None, Asides(text)
    secondary, sentence = None, 0
    for match in matches_from_end(text):
        start, end = _span(match)
        if secondary is not None and start < sentence:
            return secondary
        word = word_before(text, start)
        stands = stands_for_itself(text, start, end, word) and not asides.hold(start, word)
        if not (stands or last is None) or part_of_time(text, start, end):
            continue
        number = value_of(match, decimal)  # the slowest part
        if stands and number is not None:
            begin = is_secondary(text, start, end, number.value, question, word)
            if begin is None:
                return number
            secondary, sentence = secondary or number, begin if secondary is None else sentence
        last = last or (None if strict or denied(text, start) else number)
    return secondary or last


def _span(match: re.Match[str]) -> tuple[int, int]:
    return match.span("simple") if match.lastgroup == "simple" else place_of(match)
