"""The scorer of numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

from evalkit.record import Answer
from evalkit.scorers.reading.final_number import final_place, number_at_end
from evalkit.scorers.reading.numbers import (
    DECIMAL_MARKS,
    LONGEST_TEXT,
    Number,
    each_number,
    last_number,
    plain,
    read_number,
)
from evalkit.scorers.reading.numbers_in_passing import word_before
from evalkit.scorers.reading.open_numbers import OpenNumber, open_number, read_open
from evalkit.scorers.reading.question_language import writes_decimal_comma
from evalkit.scorers.reading.units import has_unit, read_quantity, unit_after
from evalkit.scorers.registry import Problem, Verdict, is_number, register, shown
from evalkit.scorers.text import folded

NUMBER_CHOICES = ("final", "first", "last", "any")
_FOLLOWS = 60  # characters after a box that may be its unit
_SHORT = 200  # characters of a target that is cached
_LOOK = 40  # characters before a number that decide whether a text breaks off in it
_LONGEST_CALCULATION = 600  # characters before such a number whose operands are left out with it
_NO_DIGIT = re.compile(r"\D")
_CUT_OFF = {"length", "max_tokens", "content_filter"}  # finish reasons of incomplete answers
_OPERATOR = re.compile(r"(?:[-+×÷·*/^−–]|\b(?:plus|minus|times|over|by|and|from|to|of)\b)[ \t]*\Z", re.IGNORECASE)
_CONNECTIVES = frozenset(["so", "thus", "then", "therefore", "hence", "next", "now", "and", "but", "finally"])
# before the last number of a text without a finish reason, it shows that the text breaks off there
_BREAKS_OFF = re.compile(
    rf"""(?: \\f?boxed\s*\{{ | \( | (?:[.!?:]\s+|\n\s*) (?:{"|".join(sorted(_CONNECTIVES))})\b,?\s* ) [$€£¥₹]?\Z""",
    re.IGNORECASE | re.VERBOSE,
)


def _number_check(target: Any, *, which: str, decimal: str, **_tolerances: float) -> Problem | None:
    if which not in NUMBER_CHOICES:
        return _not_one_of("which", which, NUMBER_CHOICES)
    if decimal not in DECIMAL_MARKS:
        return _not_one_of("decimal", decimal, DECIMAL_MARKS)
    if _target_number(target, decimal) is None and (which != "final" or _target_open(target, decimal) is None):
        return Problem("target", f"the target is {shown(target)}: the scorer number needs a number")
    return None


def _not_one_of(option: str, value: str, known: tuple[str, ...]) -> Problem:
    choices = ", ".join(repr(choice) for choice in known)
    return Problem("scorer", f"the option {option} of the scorer number is {value!r}: it must be one of {choices}")


@register("number", check=_number_check, version=3)
def number(
    answer: Answer,
    target: Any,
    question: str = "",
    *,
    abs_tol: float = 0.0,
    rel_tol: float = 0.0,
    which: str = "final",
    decimal: str = ".",
) -> Verdict:
    """The number that the answer gives is the target, within ``max(abs_tol, rel_tol·|target|)``.

    ``which`` number: ``final`` (``final_number``), ``first``, ``last`` (in any context) or ``any``. ``decimal`` is the
    reading of a single ``,`` or ``.`` before three digits. A target with a unit (``"12 kg"``) requires the unit too, in
    any case, singular or plural, short or written out; nothing is converted.

    A final number that leaves others open ("10 to 12", "at least 12") is wrong if it excludes the target, else not
    scored; a target can be such a statement too. A number at the very end of an answer that was cut off may be
    incomplete or an intermediate step: it is ignored. An answer that is right only if it ends there is not scored.
    """
    expected, text, lost = _target_number(target, decimal), answer.text, None
    if answer.finish_reason is None or answer.finish_reason in _CUT_OFF:
        text, lost = _without_lost_number(answer, decimal)
    way = _Way(target, expected, which, decimal, lost is not None, abs_tol, rel_tol)
    verdict = _verdict(text, way, question)
    if not verdict.value and decimal == "." and writes_decimal_comma(question):
        other = _verdict(text, way._replace(decimal=","), question)
        verdict = other if other.value == 1 else verdict
    if lost is None and answer.finish_reason in _CUT_OFF and _may_be_incomplete(verdict.extracted, target, text):
        return Verdict(
            None, f"the answer is cut off in {verdict.extracted!r}, which may be {target}", verdict.extracted
        )
    if lost is None or expected is None or verdict.value or verdict.value is None:
        return verdict
    cut_off = f"the answer is cut off at its last number, {lost.to_json()}"
    digits = _NO_DIGIT.sub("", plain(answer.text)[lost.start : lost.end])
    if lost.close_to(expected, abs_tol=abs_tol, rel_tol=rel_tol) or _digits_of(expected).startswith(digits):
        return Verdict(None, f"{cut_off}, which may be {target} or go on", verdict.extracted)
    return Verdict(0, f"{cut_off}, and {verdict.reason}", verdict.extracted)


class _Way(NamedTuple):
    """How the number of an answer is read and compared."""

    target: Any
    expected: Number | None
    which: str
    decimal: str
    strict: bool
    abs_tol: float
    rel_tol: float


def _verdict(text: str, way: _Way, question: str) -> Verdict:
    target, expected = way.target, way.expected
    unit = _target_unit(target, way.decimal) if expected and isinstance(target, str) else ""
    if way.which != "final":
        return _quantity(text, way, unit, None) if unit else _plain_number(_candidates(text, way), way)
    final = final_place(text, way.decimal, strict=way.strict, question=question)
    if final is None:
        return _nothing(way)
    stated = open_number(final[1], final[0], way.decimal, question)
    if stated is not None:
        return _open_verdict(stated, way)
    return _quantity(text, way, unit, final) if unit else _plain_number(final[:1], way)


def _open_verdict(stated: OpenNumber, way: _Way) -> Verdict:
    """The verdict on an answer that leaves several numbers open."""
    expected = way.expected
    if expected is None:
        wanted = _target_open(way.target, way.decimal)
        same = wanted is not None and stated.same(wanted, abs_tol=way.abs_tol, rel_tol=way.rel_tol)
        return Verdict(same, None if same else f"the answer is {stated.text!r}, not {way.target}", stated.text)
    if stated.gives(expected, abs_tol=way.abs_tol, rel_tol=way.rel_tol):
        return Verdict(1, extracted=stated.text)
    if stated.allows(expected, abs_tol=way.abs_tol, rel_tol=way.rel_tol):
        return Verdict(None, f"the answer leaves more than {way.target} open: {stated.text!r}", stated.text)
    return Verdict(0, f"the answer is {stated.text!r}, which excludes {way.target}", stated.text)


def _without_lost_number(answer: Answer, decimal: str) -> tuple[str, Number | None]:
    """A text without the number at which it was cut off, and that number, or None if it was not cut off in one."""
    text = plain(answer.text)
    lost = number_at_end(text, decimal)
    if lost is None or not (answer.finish_reason or _breaks_off(text, lost.start)):
        return answer.text, None
    begin = max(0, lost.start - _LONGEST_CALCULATION)
    rest = text[begin : lost.start]
    at = len(rest)
    while (operator := _OPERATOR.search(rest, max(0, at - _LOOK))) is not None:
        rest = rest[: operator.start()]
        operand = number_at_end(rest, decimal)
        at = at if operand is None else operand.start
        rest = rest[:at]
    return text[:begin] + rest, lost


def _breaks_off(text: str, at: int) -> bool:
    """Whether a text visibly breaks off in its last number, which starts at this position."""
    if text.rstrip()[-1] in "=+×·/^":
        return True
    word = word_before(text, at)
    if (word.isascii() and word and word.lower() not in _CONNECTIVES) or text.endswith(("*", "* "), 0, at):
        return False
    return _BREAKS_OFF.search(text, max(0, at - _LOOK), at) is not None


def _may_be_incomplete(extracted: Any, target: Any, text: str) -> bool:
    """Whether a text ends with a quantity that is the beginning of the target."""
    if not (isinstance(extracted, str) and isinstance(target, str)):
        return False
    short, whole = folded(extracted), folded(target)
    return len(short) < len(whole) and whole.startswith(short) and text.rstrip().endswith(extracted.rpartition(" ")[2])


def _digits_of(number: Number) -> str:
    return _NO_DIGIT.sub("", str(number.to_json()))


def _plain_number(candidates: Iterable[Number], way: _Way) -> Verdict:
    """The verdict for a target without a unit."""
    last, expected = None, way.expected
    for candidate in candidates:
        if expected and candidate.close_to(expected, abs_tol=way.abs_tol, rel_tol=way.rel_tol):
            return Verdict(1, extracted=candidate.to_json())
        last = candidate
    if last is None:
        return _nothing(way)
    return Verdict(0, f"the {way.which} number is {last.to_json()}, not {way.target}", last.to_json())


def _nothing(way: _Way) -> Verdict:
    return Verdict(0, "no number before it is its answer" if way.strict else "no number in the answer")


def _candidates(text: str, way: _Way) -> Iterable[Number]:
    if way.which == "last":
        last = last_number(text, way.decimal)
        return () if last is None else (last,)
    found = each_number(text, way.decimal)
    return islice(found, 1) if way.which == "first" else found


def _quantity(text: str, way: _Way, unit: str, final: tuple[Number, str] | None) -> Verdict:
    """The verdict for a target with a unit."""
    expected, where = way.expected, plain(text)
    assert expected is not None
    target, quantity = f"{expected.to_json()} {unit}", None
    if final is not None:
        candidates, where = [final[0]], _with_what_follows(final[1], where)
    else:
        candidates = list(_candidates(where, way))
        where = where if way.which != "last" else where[-LONGEST_TEXT:]
    for candidate in candidates:
        quantity = f"{candidate.to_json()} {unit_after(where, candidate.end)}".rstrip()
        if candidate.close_to(expected, abs_tol=way.abs_tol, rel_tol=way.rel_tol) and has_unit(
            where, candidate.end, unit
        ):
            return Verdict(1, extracted=quantity)
    if quantity is None:
        return _nothing(way)
    with_unit = quantity if " " in quantity else f"{quantity} without a unit"
    return Verdict(0, f"the {way.which} number is {with_unit}, not {target}", quantity)


def _with_what_follows(piece: str, text: str) -> str:
    """The content of a box and the text after the box, where its unit may be."""
    at = text.rfind(f"{{{piece}}}")
    return piece if at < 0 else text[at + 1 : at + 1 + len(piece) + _FOLLOWS]


def _target_number(target: Any, decimal: str) -> Number | None:
    if isinstance(target, str):
        return _read_target(target, decimal) if len(target) <= _SHORT else _read_target.__wrapped__(target, decimal)
    return _read_target(target, decimal) if is_number(target) else None


@lru_cache(maxsize=1024, typed=True)
def _read_target(target: float | str, decimal: str) -> Number | None:
    """The number of a target, cached: it is read for the check and for every answer."""
    if isinstance(target, str):
        number = read_number(target, decimal)
        if number is None and (quantity := read_quantity(target, decimal)) is not None:
            number = quantity[0]
        return number
    return Number(Fraction(repr(target))) if math.isfinite(target) else None


def _target_open(target: Any, decimal: str) -> OpenNumber | None:
    """The statement of a target such as ``"10 to 12"``; None if it is another text."""
    return _read_open(target, decimal) if isinstance(target, str) and len(target) <= _SHORT else None


@lru_cache(maxsize=1024)
def _read_open(target: str, decimal: str) -> OpenNumber | None:
    stated = read_open(target, decimal)
    return stated if stated is not None and stated.text == target.strip() else None


@lru_cache(maxsize=1024)
def _target_unit(target: str, decimal: str) -> str:
    """The unit of a target; empty if it has none."""
    quantity = None if read_number(target, decimal) else read_quantity(target, decimal)
    return "" if quantity is None else quantity[1]
