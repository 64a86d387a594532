"""Dates as people and models write them: ``2024-05-03``, ``3 May 2024``, ``May 3rd, 2024``, ``03/05/2024``.

A date has day, month and year, the year with four digits: "12" or "May 2024" is not a date. Months are English, or of
a language in ``month_names``. ``03/05/2024`` is two dates unless the order of day and month is known.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from evalkit.scorers.reading.answer_continuations import correction
from evalkit.scorers.reading.answer_marks import lowered, marked
from evalkit.scorers.reading.month_names import months_of

ORDERS = ("dmy", "mdy")
_LONGEST_TEXT = 20_000  # characters searched: enough for an answer, few enough for any run
_MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_NAMES = {name[:length]: number for number, name in enumerate(_MONTHS, 1) for length in (3, len(name))} | {"sept": 9}
_MONTH = rf"(?:{'|'.join(sorted(_NAMES, key=len, reverse=True))})\b\.?"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_BLANKS = re.compile(r"[^\S\n]+")
_DATE = re.compile(
    rf"""(?<![\d./-]) (?:
        (?P<year>\d{{4}}) (?P<mark>[-/.]) (?P<month>\d{{1,2}}) (?P=mark) (?P<day>\d{{1,2}}) (?![\d/-]|\.\d)
      | (?P<one>\d{{1,2}}) (?P<sep>[-/.]) (?P<two>\d{{1,2}}) (?P=sep) (?P<year_last>\d{{4}}) (?![\d/-]|\.\d)
      | (?P<day_first>{_DAY}) [ .-]\ ? (?:of\ )? (?P<name_second>{_MONTH}) [ ,-]{{0,2}} (?P<year_third>\d{{4}}) (?!\d)
      | (?<!\w) (?P<name_first>{_MONTH}) [ -] (?P<day_second>{_DAY}) (?:,\ ?|\ |-) (?P<year_end>\d{{4}}) (?!\d)
      | (?P<year_east>\d{{4}}) [ ]?[年년] [ ]? (?P<month_east>\d{{1,2}}) [ ]?[月월] [ ]?
            (?P<day_east>\d{{1,2}}) [ ]?[日号號일]
    )""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_COMPACT = re.compile(r"(?<![\w./-])([12]\d{3})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?![\d/-]|\.\d|[^\W\dT])", re.ASCII)
# a month in another language: 6 de mayo de 2022, 1er mars 2022, 2022. május 6.
_OTHER_MONTH = re.compile(
    r"""(?<![\w./-]) (?: (?P<day>[0-9]{1,2}) (?:er|[ºª°]|\.)?[ -] (?:(?:de|di|del|da)[ ])? (?P<name>[^\W\d_]{3,15})\.?
            [ ,-]{1,2} (?:(?:de|del|do)[ ])? (?P<year>[0-9]{4})
      | (?P<year_first>[0-9]{4}) \.?[ ] (?:m\.[ ])? (?P<name_second>[^\W\d_]{3,15}) [ ] (?P<day_last>[0-9]{1,2})
      ) (?![0-9])""",
    re.VERBOSE | re.IGNORECASE,
)
_UNITS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"]
_TEENS = [f"{number}teenth" for number in ("thir", "four", "fif", "six", "seven", "eigh", "nine")]
_TENS = ["twentieth", *(f"twenty-{unit}" for unit in _UNITS), "thirtieth", "thirty-first"]
_WORDS = [*_UNITS, "tenth", "eleventh", "twelfth", *_TEENS, *_TENS]
_ORDINALS = {word: number for number, word in enumerate(_WORDS, start=1)}
_ORDINAL = re.compile(
    rf"\b((?a:{'|'.join(sorted(_ORDINALS, key=len, reverse=True))})) (?=(?:day )?of {_MONTH})", re.IGNORECASE
)
_OF_MONTH = re.compile(rf" of {_MONTH}")  # in lower case, quicker to find than an ordinal before it
_LOOK = 40  # characters before a date that may deny it
_DENIED = re.compile(
    r"(?:\b(?:not|never|rather than|instead of)|n['’]t)\s+(?:(?:be|on|in|the)\s+)*[*_(\"]*\Z", re.IGNORECASE
)
# between two dates of a sentence, it says that the second only places the first in time
_PLACED_BY = re.compile(r"\b(?:after|before|following|since|prior to)\b[^.;\n]*\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class WrittenDate:
    """A date found in a text.

    Parameters
    ----------
    text : str
        As written in the text.
    readings : tuple of date
        The possible dates: two if the order of day and month is unknown, none if the calendar has no such date.
    """

    text: str
    readings: tuple[date, ...]


def find_dates(text: str, order: str = "") -> list[WrittenDate]:
    """Every date of a text, in order.

    Parameters
    ----------
    text : str
    order : str
        Order of a date in digits that ends with the year: ``dmy``, ``mdy``, or empty if unknown.

    Returns
    -------
    list of WrittenDate
    """
    return [date for _, date in _dates(text, order)]


def final_date(text: str, order: str = "") -> WrittenDate | None:
    """The date that a text gives as its answer.

    The first one marked (``answer_marks.marked``), unless the text takes it back, else the last that is not denied and
    not only there to place another in time ("after the launch on 16 July 1969"). Digits without marks, ``20240503``,
    count if the text has no other date.

    Parameters
    ----------
    text : str
        Its last 20,000 characters are read.
    order : str
        As for ``find_dates``.

    Returns
    -------
    WrittenDate or None
        None if the text has no date, or each is denied.

    Raises
    ------
    ImportError
        The only date may have a month in another language, and Babel is not installed.
    """
    text = text[-_LONGEST_TEXT:]
    text = text if text.isascii() else unicodedata.normalize("NFKC", text)
    if "  " in text or not text.isprintable():  # no blank but a single space is printable
        text = _BLANKS.sub(" ", text)
    if _OF_MONTH.search(lowered(text)):
        text = _ORDINAL.sub(lambda match: f"{_ORDINALS[match[1].lower()]} ", text)
    for find in (_dates, _other_dates, _compact_dates):
        if dates := list(find(text, order)):
            return _final(text, dates, order, find)
    return None


_Dates = Iterable[tuple[re.Match[str], WrittenDate]]
_Find = Callable[[str, str], _Dates]


def _final(text: str, dates: _Dates, order: str, find: _Find) -> WrittenDate | None:
    pieces = marked(text)
    if pieces:
        begin = correction(lowered(text), max(text.find(pieces[-1]), 0))
        if begin is not None and (last := _last(rest := text[begin:], find(rest, order))) is not None:
            return last
    for piece in pieces:
        for match, found in find(piece, order):
            if not _denied(piece, match):
                return found
    return _last(text, dates)


def _last(text: str, found: _Dates) -> WrittenDate | None:
    """The last date that is not denied; one that only places the date before it in time gives way to that."""
    dates = [(match, written) for match, written in found if not _denied(text, match)]
    while len(dates) > 1 and _PLACED_BY.search(text, dates[-2][0].end(), dates[-1][0].start()):
        dates.pop()
    return dates[-1][1] if dates else None


def _denied(text: str, match: re.Match[str]) -> bool:
    begin, end = max(0, match.start() - _LOOK), match.start()
    before = lowered(text[begin:end])
    # a quick test: nearly no text has any of these words
    if not (
        "not" in before
        or "n't" in before
        or "n’t" in before
        or "never" in before
        or "rather than" in before
        or "instead of" in before
    ):
        return False
    return _DENIED.search(text, begin, end) is not None


def read_iso(text: str) -> date | None:
    """The date of a text in the form ``2024-05-03``; None for any other text."""
    try:
        return date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) else None
    except ValueError:
        return None


def _dates(text: str, order: str) -> Iterator[tuple[re.Match[str], WrittenDate]]:
    for match in _DATE.finditer(text):
        yield match, WrittenDate(match[0], tuple(dict.fromkeys(_readings(match, order))))


def _other_dates(text: str, _order: str) -> Iterator[tuple[re.Match[str], WrittenDate]]:
    """Dates with a month in another language."""
    for match in _OTHER_MONTH.finditer(text):
        months = months_of(match["name"] or match["name_second"])
        year, day = match["year"] or match["year_first"], match["day"] or match["day_last"]
        if months:
            yield match, WrittenDate(match[0], tuple(_in_calendar((year, str(month), day) for month in sorted(months))))


def _compact_dates(text: str, _order: str) -> Iterator[tuple[re.Match[str], WrittenDate]]:
    """Dates of eight digits, in the calendar: other numbers have as many."""
    for match in _COMPACT.finditer(text):
        readings = tuple(_in_calendar([(match[1], match[2], match[3])]))
        if readings:
            yield match, WrittenDate(match[0], readings)


def _readings(match: re.Match[str], order: str) -> Iterator[date]:
    if match["year_east"]:
        triples = [(match["year_east"], match["month_east"], match["day_east"])]
    elif match["year"]:
        triples = [(match["year"], match["month"], match["day"])]
    elif match["year_last"]:
        dmy, mdy = (match["year_last"], match["two"], match["one"]), (match["year_last"], match["one"], match["two"])
        triples = {"dmy": [dmy], "mdy": [mdy]}.get(order, [dmy, mdy])
    else:
        name = (match["name_second"] or match["name_first"]).rstrip(".").lower()
        day = re.sub(r"\D", "", match["day_first"] or match["day_second"])
        triples = [(match["year_third"] or match["year_end"], str(_NAMES[name]), day)]
    yield from _in_calendar(triples)


def _in_calendar(triples: Iterable[tuple[str, str, str]]) -> Iterator[date]:
    for triple in triples:
        try:
            yield date(*map(int, triple))
        except ValueError:  # not in the calendar
            continue
