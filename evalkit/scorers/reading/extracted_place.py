"""Where in an answer a scorer has read what it extracted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from evalkit.scorers.reading.answer_marks import lowered, marked
from evalkit.scorers.reading.dates import find_dates, read_iso
from evalkit.scorers.reading.numbers import DECIMAL_MARKS, LONGEST_TEXT, numbers_of, read_number

Place = tuple[int, int]
_DECIMAL = re.compile(r"[.,]\d")
_LOOK = 120  # characters before a piece that mark it
_MARK = re.compile(
    r"(?:\{|####|\banswer\b(?:[^.!?\n]|\.(?=\d)){0,100}?(?:[:=]|\b(?:is|equals|be)\b))[*_`\s:=]*\Z", re.IGNORECASE
)


def extracted_place(text: str, extracted: Any) -> Place | None:
    """The part of an answer from which a scorer has read its value.

    Scorers do not store it, so it is searched for: in what the text marks as its answer (``answer_marks.marked``), then
    the last place in the text that reads as the value. Only the last 20,000 characters are searched.

    Parameters
    ----------
    text : str
    extracted : any JSON value
        ``Score.extracted``: a number, a text, or a date in the form ``2024-05-03``.

    Returns
    -------
    (int, int) or None
        Start and end; None: no place reads as the value.
    """
    begin = max(0, len(text) - LONGEST_TEXT)
    searched = text[begin:]
    for places in _ways(extracted):
        for piece in marked(searched):
            if (found := next(places(piece), None)) is not None:
                at = begin + _marked_at(searched, piece)
                return at + found[0], at + found[1]
        *_, last = (None, *places(searched))
        if last is not None:
            return begin + last[0], begin + last[1]
    return None


def _marked_at(text: str, piece: str) -> int:
    """Where a piece of a text is marked: the last place that follows a mark, else the last one."""
    last = at = text.rfind(piece)
    while at >= 0:
        if _MARK.search(text, max(0, at - _LOOK), at):
            return at
        at = text.rfind(piece, 0, at + len(piece) - 1)
    return last


def _ways(extracted: Any) -> Iterator[Callable[[str], Iterator[Place]]]:
    """Ways to find a value, the most certain first."""
    if isinstance(extracted, bool):
        return
    if isinstance(extracted, int | float):
        yield lambda text: _numbers(text, extracted)
    elif isinstance(extracted, str) and extracted.strip():
        words = extracted.strip()
        yield lambda text: _words(text, words)
        yield lambda text: _words(lowered(text), lowered(words))
        if read_iso(words) is not None:
            yield lambda text: _dates(text, words)
        number = read_number(words) or read_number(words.partition(" ")[0])  # 5 km
        if number is not None:
            value = number.to_json()
            yield lambda text: _numbers(text, value)


def _numbers(text: str, value: float) -> Iterator[Place]:
    for decimal in DECIMAL_MARKS if _DECIMAL.search(text) else DECIMAL_MARKS[:1]:
        numbers = (number for number in numbers_of(lowered(text), decimal) if number.to_json() == value)
        if found := [(number.start, number.end) for number in numbers]:
            yield from found
            return


def _words(text: str, words: str) -> Iterator[Place]:
    at = text.find(words)
    while at >= 0:
        end = at + len(words)
        if not (_joined(text[at - 1 : at], words[0]) or _joined(words[-1], text[end : end + 1])):
            yield at, end
        at = text.find(words, end)


def _joined(before: str, after: str) -> bool:
    """Whether there is no end of a word between two characters."""
    return before.isalnum() and after.isalnum()


def _dates(text: str, iso: str) -> Iterator[Place]:
    day = read_iso(iso)
    for written in find_dates(text):
        if day in written.readings and (at := text.rfind(written.text)) >= 0:
            yield at, at + len(written.text)
