"""Numbers written in English words: "thirty-five", "minus two hundred and six"."""

from __future__ import annotations

import re
from fractions import Fraction

from evalkit.scorers.reading.answer_marks import lowered
from evalkit.scorers.reading.numbers import SCALES, Number

_LOOK = 24  # characters before "one" that decide whether it is a number
_UNITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_TEENS = ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SMALL = {word: n for n, word in enumerate(_UNITS + _TEENS)} | {word: 20 + 10 * n for n, word in enumerate(_TENS)}
_UNDER_100 = rf"(?:(?:{'|'.join(_TENS)})(?:[- ](?:{'|'.join(_UNITS[1:])}))?|{'|'.join(_TEENS + _UNITS)})\b"
_UNDER_1000 = rf"(?:(?:{'|'.join(_UNITS[1:])}) hundred\b(?:(?: and)? {_UNDER_100})?|{_UNDER_100})"
_WORDS = re.compile(
    rf"\b(?P<minus>(?:minus|negative) )?"
    rf"(?P<number>{_UNDER_1000}(?: (?:thousand|million|billion|trillion)\b(?:,? (?:and )?{_UNDER_1000})?)*)"
)
_ANY_WORD = re.compile("|".join(_SMALL))
_LONGEST_SIGN = len("negative ")
_BEFORE_ONE = re.compile(r"(?:^|= ?|: ?|\b(?:is|has|have|had|only|exactly|just|equals) )[*_]*$")
_AFTER_ONE = re.compile(r"(?! (?:of|that|who|which|another|more|can|could|should|must)\b)")


def number_in_words(text: str) -> Number | None:
    """The last number written in English words ("thirty-five", "minus two hundred and six").

    "one" counts only at the start of the text and after words such as "is", "has" or "only"; elsewhere it is a pronoun.

    Parameters
    ----------
    text : str

    Returns
    -------
    Number or None
    """
    low = lowered(text)
    first = _ANY_WORD.search(low)
    if first is None:
        return None
    last = None
    for match in _WORDS.finditer(low, max(0, first.start() - _LONGEST_SIGN)):
        before = low[max(0, match.start() - _LOOK) : match.start()].lstrip()
        if match["number"] != "one" or (_BEFORE_ONE.search(before) and _AFTER_ONE.match(low, match.end())):
            last = match
    if last is None:
        return None
    total = current = 0
    for word in re.findall(r"[a-z]+", text[slice(*last.span("number"))].lower()):
        if word == "hundred":
            current *= 100
        elif word in SCALES:
            total, current = total + current * SCALES[word], 0
        else:
            current += _SMALL.get(word, 0)
    value = total + current
    return Number(Fraction(-value if last["minus"] else value), False, last.start(), last.end())
