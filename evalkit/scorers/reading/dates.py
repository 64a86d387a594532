"""Dates as people and models write them: ``2024-05-03``, ``3 May 2024``, ``May 3rd, 2024``, ``03/05/2024``.

A date has day, month and year, the year with four digits: "12" or "May 2024" is not a date. Months are English.
``03/05/2024`` is two dates unless the order of day and month is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from evalkit.scorers.reading.answer_marks import marked

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
    )""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


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
    return list(_dates(text, order))


def final_date(text: str, order: str = "") -> WrittenDate | None:
    """The date that a text gives as its answer: the first one marked (``answer_marks.marked``), else the last.

    Parameters
    ----------
    text : str
        Its last 20,000 characters are read.
    order : str
        As for ``find_dates``.

    Returns
    -------
    WrittenDate or None
        None if the text has no date.
    """
    text = _BLANKS.sub(" ", text[-_LONGEST_TEXT:])
    for piece in marked(text):
        found = next(_dates(piece, order), None)
        if found is not None:
            return found
    last = None
    for last in _dates(text, order):  # noqa: B007
        pass
    return last


def read_iso(text: str) -> date | None:
    """The date of a text in the form ``2024-05-03``; None for any other text."""
    try:
        return date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) else None
    except ValueError:
        return None


def _dates(text: str, order: str) -> Iterator[WrittenDate]:
    for match in _DATE.finditer(text):
        yield WrittenDate(match[0], tuple(dict.fromkeys(_readings(match, order))))


def _readings(match: re.Match[str], order: str) -> Iterator[date]:
    if match["year"]:
        triples = [(match["year"], match["month"], match["day"])]
    elif match["year_last"]:
        dmy, mdy = (match["year_last"], match["two"], match["one"]), (match["year_last"], match["one"], match["two"])
        triples = {"dmy": [dmy], "mdy": [mdy]}.get(order, [dmy, mdy])
    else:
        name = (match["name_second"] or match["name_first"]).rstrip(".").lower()
        day = re.sub(r"\D", "", match["day_first"] or match["day_second"])
        triples = [(match["year_third"] or match["year_end"], str(_NAMES[name]), day)]
    for triple in triples:
        try:
            yield date(*map(int, triple))
        except ValueError:  # not in the calendar
            continue
