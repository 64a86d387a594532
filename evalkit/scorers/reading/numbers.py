"""Numbers as people and models write them: ``1,234.5``, ``1 234,5``, ``-$5``, ``35 %``, ``3/4``, ``thirty-five``.

Of the ambiguous marks, one ``,`` before exactly three digits groups thousands, and one ``.`` is the decimal mark
(``decimal=","`` swaps the two). All else follows from the digits around the mark. Numbers are exact fractions, so that
0.1 + 0.2 is 0.3.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from evalkit.scorers.reading.answer_marks import lowered
from evalkit.scorers.reading.numbers_in_passing import CURRENCY

DECIMAL_MARKS = (".", ",")
_LONGEST = 400  # digits: longer ones are not answers, and slow to compute with
_LOOK = 24  # characters before a number that decide its sign
LONGEST_TEXT = 20_000  # characters searched: enough for an answer, few enough for any run
VULGAR = "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SHORT_SCALES = {"k": 10**3, "m": 10**6, "b": 10**9, "bn": 10**9}  # 5k; the others after a currency sign only, $2m
_GAP = " \u00a0\u2009\u202f"

_NO_DIGITS = "abcdefghijklmnopqrstuvwxyz .,:;!?*()'\"\n"
_NOT_IN_NUMBERS = ("= ", ": ", "+ ", "- ", "− ", "– ", "/ ", "÷ ", "** ", " **", "\n**")
_LONGEST_COMMAND = len(r"\times 1")
_PIECE, _LONGEST_PIECE = 200, 600  # characters of a text that are searched for numbers together
_FIRST = rf"-+−–{CURRENCY}.,\d{VULGAR}"  # a number starts with one of these
_RAISED = "⁰¹²³⁴-⁹"
# For text in lower case. A match is a number if its last group is simple or number. Characters that start no number are
# consumed in whole runs before it, and most numbers are a few digits without any continuation.
_NUMBER = re.compile(
    rf"""
    (?: [^{_FIRST}]++ | [.,](?!\d) | [-+−–](?![\d.,{CURRENCY}{VULGAR}]) )*+
    (?: \Z | (?P<simple>\d{{1,15}}+)
            (?! [\d'’_/^{VULGAR}{_RAISED}exk×·\\€£¥₹%٪p-] | [.,]\d | \*(?:[\d{_GAP}]|\*[\d{{])
              | [{_GAP}] (?: [\d{VULGAR}x×*·\\€£¥₹%٪] | per | hund | thou | mill | bill | trill ) )
      | (?P<number> (?P<sign>[-+−–])? (?: (?P<money>[{CURRENCY}]) [{_GAP}]? (?P<late>[-−–])? )?
        (?: (?P<grouped> [1-9]\d{{0,2}} (?P<sep>[.,'’_{_GAP}]) \d{{3}} (?:(?P=sep)\d{{3}}){{0,20}}+ (?!(?P=sep)?\d) )
                (?P<point> (?!(?P=sep)) [.,]\d++ (?![.,]\d) )?
          | (?P<indian> [1-9]\d? (?:,\d\d){{1,9}} ,\d{{3}} (?!,?\d) ) (?P<tail> \.\d++ (?![.,]\d) )?
          | (?<!/) (?: (?P<whole>\d{{1,9}}+) [{_GAP}] )?
                (?P<over>\d{{1,9}}+) / (?P<under> (?!0++(?!\d)) \d{{1,9}}+ ) (?![/.,]?\d)
          | (?P<base>\d{{1,9}}+) (?: (?:\^|\*\*) \{{? (?P<power>\d\d?) \}}? (?!\d) | (?P<raised>[{_RAISED}]{{1,2}}) )
          | (?<!\d[.,]) (?P<plain>\d++) (?P<part> [.,]\d++ (?![.,]\d) )?
          | (?P<listed>\d++)
          | (?<![\d.,]) (?P<bare> [.,]\d++ ) (?![.,]\d)
          | (?=[{VULGAR}]) )
        (?: [{_GAP}]? (?P<vulgar>[{VULGAR}]) )?
        (?: e (?P<e>[-+−]?\d{{1,3}}) (?!\w)
          | [{_GAP}]? (?:[×x*·]|\\times|\\cdot) [{_GAP}]? 10
                (?: (?:\^|\*\*) \{{? (?P<ten>[-−]?\d{{1,3}}) \}}? | (?P<tens>[⁻{_RAISED}]{{1,4}}) ) (?!\d) )?
        (?: (?P<short>k) (?![\w²³/^·-]) | (?(money) (?P<money_short>m|bn?)(?!\w) | (?!)) )?
        (?: [{_GAP}-] (?P<scale>{"|".join(SCALES)})s?\b )?
        (?: [{_GAP}]? [€£¥₹] )?
        (?P<percent> [{_GAP}]? (?:%|٪|per\ ?cent\b) )? )
      | [{_FIRST}] )
    """,
    re.VERBOSE,
)
_FRACTION = r"\\[dt]?frac\s*(?:\{\s*(\d{1,9})\s*\}\s*\{\s*(\d{1,9})\s*\}|(\d)(\d))"
# LaTeX that only sets the number: 2\frac{1}{2}, \frac{3}{4}, 1{,}234, 1\,234, 35\%, \$5
_LATEX = [
    (re.compile(rf"(?<=\d)\s?{_FRACTION}"), r" \1\3/\2\4"),
    (re.compile(_FRACTION), r"\1\3/\2\4"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[,;:!](?=\d)"), "\u2009"),
    (re.compile(r"\\([%$])"), r"\1"),
]

_MINUS_WORD = re.compile(r"(?<![\d)%] )\b(?:minus|negative) $")


class Number(NamedTuple):
    """A number found in a text.

    Parameters
    ----------
    value : Fraction
        Exact; for a percentage the number before the sign: 35 for ``35 %``.
    percent : bool
        It has a percent sign or word.
    start, end : int
        Its position in the searched text.
    """

    value: Fraction
    percent: bool = False
    start: int = 0
    end: int = 0

    def to_json(self) -> int | float:
        """An int if it is whole and exact as a JSON number in every parser, else the nearest float."""
        whole = self.value.denominator == 1 and -(2**53) < self.value.numerator < 2**53
        return self.value.numerator if whole else float(self.value)

    def close_to(self, target: Number, *, abs_tol: float = 0.0, rel_tol: float = 0.0) -> bool:
        """Whether it is within ``max(abs_tol, rel_tol·|target|)`` of the target.

        If only one of the two is a percentage, it is also read as a fraction: 35 % equals 35 and 0.35.
        """
        if self.percent == target.percent and not abs_tol and not rel_tol:
            return self.value == target.value
        values, target_values = {self.value}, {target.value}
        if self.percent != target.percent:
            for number, readings in ((self, values), (target, target_values)):
                if number.percent:
                    readings.add(number.value / 100)
        abs_part, rel_part = Fraction(str(abs_tol)), Fraction(str(rel_tol))
        return any(abs(a - b) <= max(abs_part, rel_part * abs(b)) for a in values for b in target_values)


def read_number(text: str, decimal: str = ".") -> Number | None:
    """The number of a text that is nothing but a number and spaces; None for any other text.

    Parameters
    ----------
    text : str
    decimal : str
        How an ambiguous mark is read: ``.`` or ``,``.

    Returns
    -------
    Number or None
    """
    text = text.strip()
    found = list(numbers_of(lowered(text), decimal))
    return found[0] if len(found) == 1 and (found[0].start, found[0].end) == (0, len(text)) else None


def first_number(text: str, decimal: str = ".") -> Number | None:
    """The number at the start of a text, whatever follows it; None if it does not start with one."""
    number = next(numbers_of(lowered(text), decimal), None)
    return number if number is not None and number.start == 0 else None


def find_numbers(text: str, decimal: str = ".") -> list[Number]:
    """Every number written with digits in the first 20,000 characters, in order.

    Parameters
    ----------
    text : str
    decimal : str
        How an ambiguous mark is read: ``.`` or ``,``.

    Returns
    -------
    list of Number
    """
    return list(each_number(text, decimal))


def each_number(text: str, decimal: str = ".") -> Iterator[Number]:
    """The numbers of ``find_numbers``, one at a time."""
    return numbers_of(lowered(plain(text[:LONGEST_TEXT])), decimal)


def last_number(text: str, decimal: str = ".") -> Number | None:
    """The last number with digits in the last 20,000 characters, in any context; None if there is none."""
    found = (value_of(match, decimal) for match in matches_from_end(lowered(plain(text[-LONGEST_TEXT:]))))
    return next((number for number in found if number is not None), None)


def numbers_of(text: str, decimal: str) -> Iterator[Number]:
    """The numbers of a text in lower case, in order."""
    for match in number_matches(text):
        number = value_of(match, decimal)
        if number is not None:
            yield number


def number_matches(text: str) -> Iterator[re.Match[str]]:
    """Where a text in lower case has numbers, in order; ``value_of`` reads one."""
    return _matches(text, 0, len(text), len(text))


def matches_from_end(text: str) -> Iterator[re.Match[str]]:
    """``number_matches``, the last one first; the text is searched piece by piece, since most callers need no more."""
    end, last = len(text), len(text.rstrip(_NO_DIGITS))
    begin = _last_piece(text, last)
    while end > 0:
        found = list(_matches(text, begin, end, last))
        while found:
            yield found.pop()
        last, end, begin = begin, begin, _piece(text, begin)


def _matches(text: str, begin: int, end: int, last: int) -> Iterator[re.Match[str]]:
    """The numbers in a part of a text, which has no digit from ``last`` on."""
    # a call for each match is faster than finditer, which prepares itself for long texts
    while begin < last and (match := _NUMBER.match(text, begin, end)):
        begin, kind = match.end(), match.lastgroup
        if kind == "simple" or (kind == "number" and len(match["number"]) <= _LONGEST):
            yield match


def _last_piece(text: str, last: int) -> int:
    """Where the last digits of a text and their sign start, if they follow a word or a mark that no number contains."""
    at = len(text[:last].rstrip("0123456789.,$-"))
    if text.endswith(_NOT_IN_NUMBERS, 0, at):
        return at
    after_word = at > 1 and text[at - 1] == " " and text[at - 2].isalpha() and text[at - 2] != "x"
    # \times 10^3 is a part of a number
    if after_word and "\\" not in text[max(0, at - _LONGEST_COMMAND) : at]:
        return at
    return _piece(text, len(text))


def _piece(text: str, end: int) -> int:
    """A line break or a full stop before a space, which no number contains, some way before a position; else 0."""
    if end <= _PIECE:
        return 0
    first, last = max(0, end - _LONGEST_PIECE), end - _PIECE
    return max(text.rfind("\n", first, last), text.rfind(". ", first, last)) + 1


def plain(text: str) -> str:
    """A text without LaTeX spacing, grouping and fractions inside numbers."""
    if "\\" not in text and "{,}" not in text:
        return text
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    return text


def place_of(match: re.Match[str]) -> tuple[int, int]:
    """The position of a number, without a sign that is not its own."""
    start, end = match.span("number")
    joined = match["sign"] and _joins(match.string[max(0, start - _LOOK) : start])
    return (start + 1 if joined else start), end


def value_of(match: re.Match[str], decimal: str) -> Number | None:
    """The number of a match; None if it is too large."""
    if match.lastgroup == "simple":
        start, end = match.span("simple")
        whole = _whole(match["simple"])
        return Number(-whole if _after_minus_word(match.string, start) else whole, False, start, end)
    start, end = place_of(match)
    value = _magnitude(match, decimal)
    try:
        float(value)
    except OverflowError:
        return None
    return Number(-value if _negative(match, start) else value, bool(match["percent"]), start, end)


@lru_cache(maxsize=1024)
def _whole(digits: str) -> Fraction:
    """The value of digits, cached: to make a fraction takes longer than to find a number in a sentence."""
    return Fraction(int(digits))


def _negative(match: re.Match[str], start: int) -> bool:
    if match["sign"] and start > match.start("sign"):
        return False
    sign = match["sign"] or match["late"]
    return (sign or "+") in "-−–" or _after_minus_word(match.string, start)


def _after_minus_word(text: str, start: int) -> bool:
    # a quick test by two letters
    if text[start - 3 : start] not in ("us ", "ve "):
        return False
    return _MINUS_WORD.search(text[max(0, start - _LOOK) : start]) is not None


def _magnitude(match: re.Match[str], decimal: str) -> Fraction:
    if match["over"] and match["under"]:
        value = Fraction(int(match["over"]), int(match["under"])) + int(match["whole"] or 0)
    elif match["base"]:
        value = Fraction(int(match["base"])) ** int(match["power"] or (match["raised"] or "").translate(_SUPERSCRIPTS))
    else:
        value = _written(match, decimal)
    if match["vulgar"]:
        value += Fraction(unicodedata.numeric(match["vulgar"])).limit_denominator(10)
    exponent = match["e"] or match["ten"] or (match["tens"] or "").translate(_SUPERSCRIPTS)
    if exponent.lstrip("-+−"):
        value *= Fraction(10) ** int(exponent.replace("−", "-"))
    if short := match["short"] or match["money_short"]:
        value *= _SHORT_SCALES[short]
    return value * SCALES[match["scale"]] if match["scale"] else value


def _written(match: re.Match[str], decimal: str) -> Fraction:
    """The value of the digits, grouped or not, with or without a decimal mark."""
    whole = match["plain"] or match["grouped"] or match["indian"] or match["listed"] or "0"
    fraction = match["part"] or match["point"] or match["tail"] or match["bare"] or ""
    if match["grouped"] and match["sep"] == decimal and not fraction and whole.count(decimal) == 1:
        at = whole.index(decimal)
        whole, fraction = whole[:at], whole[at:]
    if not whole.isdecimal():
        whole = re.sub(r"\D", "", whole)
    decimals = len(fraction) - 1
    return Fraction(int(whole + fraction[1:]), 10**decimals) if decimals > 0 else Fraction(int(whole))


def _joins(before: str) -> bool:
    """Whether a sign after this text joins or separates (``12-5``, ``5–10``, ``GPT-4``) and is not a number's own."""
    if before[-1:].isalnum():
        return True
    left = before.rstrip(" \t")[-1:]
    return left.isdigit() or (left != "" and left in ")]}%")
