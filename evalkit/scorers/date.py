"""The scorer of dates."""

from __future__ import annotations

from typing import Any

from evalkit.record import Answer
from evalkit.scorers.reading.dates import ORDERS, WrittenDate, final_date, read_iso
from evalkit.scorers.registry import Problem, Verdict, need, register, shown


def _date_check(target: Any, *, order: str) -> Problem | None:
    if order and order not in ORDERS:
        return Problem("scorer", f"the option order of the scorer date is {order!r}: it must be 'dmy' or 'mdy'")
    if not isinstance(target, str) or read_iso(target) is None:
        return Problem("target", f'the target is {shown(target)}: the scorer date needs a date such as "2024-05-03"')
    return None


@register("date", check=_date_check, version=2)
def date(answer: Answer, target: Any, *, order: str = "") -> Verdict:
    """The date that the answer gives, in digits or with a month's name, is the target.

    Of several dates the marked one counts, else the last that is not denied (``dates.final_date``). ``order``, ``dmy``
    or ``mdy``, decides how 03/05/2024 is read; without it, such a date is scored only if both readings are wrong.
    """
    try:
        found = final_date(answer.text, order)
    except ImportError:
        need("babel", "the scorer date, for a month that is not English")
        raise
    if found is None:
        return Verdict(0, "no date with day, month and year in the answer")
    if read_iso(target) not in found.readings:
        return Verdict(0, f"the date is {_readings(found)}, not {target}", _extracted(found))
    if len(found.readings) > 1:
        return Verdict(None, f"{found.text} is {_readings(found)}: set the option order to dmy or mdy", found.text)
    return Verdict(1, extracted=target)


def _readings(found: WrittenDate) -> str:
    if not found.readings:
        return f"{found.text}, which is not in the calendar"
    return " or ".join(reading.isoformat() for reading in found.readings)


def _extracted(found: WrittenDate) -> str:
    return found.readings[0].isoformat() if len(found.readings) == 1 else found.text
