"""The mark of what a scorer extracted from an answer, with the part of a number that is wrong."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

from evalkit.scorers.reading.extracted_place import extracted_place
from evalkit.scorers.registry import is_number


def extracted_mark(answer: str | None, extracted: Any, target: Any, *, wrong: bool) -> list[int] | None:
    """Where an answer has what the scorer extracted.

    Parameters
    ----------
    answer : str or None
        As it is shown.
    extracted, target : any JSON value
    wrong : bool
        The score is below 1.

    Returns
    -------
    list of int or None
        Start, start and end of the wrong part, and end, in UTF-16 units; start and end of the wrong part are equal
        where no part is. None: no place of the answer reads as the extracted value.
    """
    place = extracted_place(answer, extracted) if answer else None
    if answer is None or place is None:
        return None
    start, end = place
    first, last = _wrong_part(answer[start:end], target) if wrong else (0, 0)
    return [_utf_16_units(answer[:at]) for at in (start, start + first, start + last, end)]


def _wrong_part(written: str, target: Any) -> tuple[int, int]:
    """The part of a number that differs from the target between a common start and a common end; else all of it."""
    if not (is_number(target) or (isinstance(target, str) and target[:1].isdigit())) or not written[-1:].isdigit():
        return 0, len(written)
    expected = str(target)
    before = _common(written, expected)
    after = _common(written[before:][::-1], expected[before:][::-1])
    return (before, len(written) - after) if before < len(written) - after else (0, len(written))


def _common(first: str, second: str) -> int:
    """The number of characters that two texts start with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def _utf_16_units(text: str) -> int:
    """The length of a text as a browser counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
