"""Scorers of text: exact, includes, regex, number, choice."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from typing import Any

from evalkit.record import Answer
from evalkit.scorers.reading.characters import UNSPACED
from evalkit.scorers.reading.letters import ALPHABET, chosen_letters
from evalkit.scorers.reading.numbers import (
    DECIMAL_MARKS,
    LONGEST_TEXT,
    Number,
    each_number,
    final_place,
    last_number,
    number_at_end,
    plain,
    read_number,
)
from evalkit.scorers.reading.units import has_unit, read_quantity, unit_after
from evalkit.scorers.registry import Problem, Verdict, cut, is_number, register, shown
from evalkit.scorers.safe_regex import HINT, pattern_problem, search

NUMBER_CHOICES = ("final", "first", "last", "any")
_QUOTES = str.maketrans("‘’‚“”„", "'''\"\"\"")
_DECIMAL = re.compile(r"\d[.,]\d")
_FOLLOWS = 60  # characters after a box that may be its unit
_SHORT = 200  # characters of a target that is cached
_LOOK = 40  # characters before a number that decide whether a text breaks off in it
_NO_DIGIT = re.compile(r"\D")
_ENDS = " .,;:!?\"'`*_()[]"
_CUT_OFF = {"length", "max_tokens", "content_filter"}  # finish reasons of incomplete answers
_OPERATOR = re.compile(r"(?:[-+×÷·*/^−–]|\b(?:plus|minus|times|over|by|and|from|to|of)\b)[ \t]*\Z", re.IGNORECASE)
# before the last number of a text without a finish reason, it shows that the text breaks off there
_BREAKS_OFF = re.compile(
    r"""(?: \\f?boxed\s*\{ | \( | (?:[.!?:]\s+|\n\s*) (?:so|thus|then|therefore|hence|next|now|and|but|finally)\b,?\s*
        ) [$€£¥₹]?\Z""",
    re.IGNORECASE | re.VERBOSE,
)
_UNSPACED = re.compile(f"[{UNSPACED}]")


def folded(text: str, case_sensitive: bool = False) -> str:
    """Text as scorers compare it: NFKC, plain quotes, single spaces, and one case unless ``case_sensitive``."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_QUOTES)
    text = " ".join(text.split())
    return text if case_sensitive else text.casefold()


def text_target(target: Any, **_options: Any) -> Problem | None:
    """Check that a target is text, a number, or a list of these."""
    if isinstance(target, str) and target.strip():
        return None
    parts = target if isinstance(target, list) else [target]
    if parts and all(is_number(part) or (isinstance(part, str) and part.strip()) for part in parts):
        return None
    return Problem("target", f"the target is {shown(target)}: this scorer compares with text, or with a list of texts")


@register("exact", check=text_target)
def exact(answer: Answer, target: Any, *, case_sensitive: bool = False, punctuation: bool = False) -> Verdict:
    """The whole answer is the target, or one of a list; by default, case and punctuation at its ends are ignored."""
    text = _bare(answer.text, case_sensitive, punctuation)
    if any(text == _bare(one, case_sensitive, punctuation) for one in texts_of(target)):
        return Verdict(1, extracted=cut(answer.text.strip()))
    return Verdict(0, f"the answer is not {_choice_of(target)}", cut(answer.text.strip()))


def _includes_check(target: Any, *, all: bool, none: bool, **_options: bool) -> Problem | None:
    if all and none:
        return Problem("scorer", "the options all and none of the scorer includes exclude each other")
    return text_target(target)


@register("includes", check=_includes_check)
def includes(
    answer: Answer,
    target: Any,
    *,
    all: bool = False,
    none: bool = False,
    case_sensitive: bool = False,
    whole_words: bool = True,
) -> Verdict:
    """The answer contains the target as whole words; any one of a list, with ``all`` every one, with ``none`` none."""
    text = folded(answer.text, case_sensitive)
    parts = texts_of(target)
    found = [part for part in parts if _occurs(folded(part, case_sensitive), text, whole_words)]
    extracted = found if isinstance(target, list) else next(iter(found), None)
    if none:
        unwanted = ", ".join(map(repr, found))
        return Verdict(0, f"in the answer, and should not be: {unwanted}", extracted) if found else Verdict(1)
    if all and len(found) < len(parts):
        missing = ", ".join(repr(part) for part in parts if part not in found)
        return Verdict(0, f"not in the answer: {missing}", extracted)
    return Verdict(1, extracted=extracted) if found else Verdict(0, f"{_choice_of(target)} is not in the answer")


def _regex_check(target: Any, *, pattern: str) -> Problem | None:
    field = "scorer" if pattern else "target"
    if pattern:
        problem = text_target(target)
        if problem:
            return problem
    elif not isinstance(target, str) or not target:
        return Problem(
            "target", f"the target is {shown(target)}: the scorer regex needs a pattern, here or as its option"
        )
    problem_text = pattern_problem(pattern or target)
    if problem_text is not None:
        return Problem(field, f"the pattern {pattern or target!r} cannot be used: {problem_text} ({HINT})")
    return None


@register("regex", check=_regex_check, version=2)
def regex(answer: Answer, target: Any, *, pattern: str = "") -> Verdict:
    """The target, a pattern, matches in the answer; or what the option ``pattern`` captures is the target.

    Patterns are in RE2 syntax: matching takes time in proportion to the text, whatever the pattern. The pattern
    captures the first group that took part in its first match, or the whole match if it has no groups. The captured
    text is compared as in ``exact``.
    """
    found = search(pattern or target, answer.text)
    if found is None:
        return Verdict(0, "the pattern does not match the answer")
    if not pattern or any(_bare(found) == _bare(text) for text in texts_of(target)):
        return Verdict(1, extracted=cut(found))
    return Verdict(0, f"the pattern captured {cut(found)!r}, not {_choice_of(target)}", cut(found))


def _number_check(target: Any, *, which: str, decimal: str, **_tolerances: float) -> Problem | None:
    for option, value, known in (("which", which, NUMBER_CHOICES), ("decimal", decimal, DECIMAL_MARKS)):
        if value not in known:
            choices = ", ".join(repr(choice) for choice in known)
            text = f"the option {option} of the scorer number is {value!r}: it must be one of {choices}"
            return Problem("scorer", text)
    if _target_number(target, decimal) is None:
        return Problem("target", f"the target is {shown(target)}: the scorer number needs a number")
    return None


@register("number", check=_number_check, version=2)
def number(
    answer: Answer,
    target: Any,
    *,
    abs_tol: float = 0.0,
    rel_tol: float = 0.0,
    which: str = "final",
    decimal: str = ".",
) -> Verdict:
    """The number that the answer gives is the target, within ``max(abs_tol, rel_tol·|target|)``.

    ``which`` number: ``final`` (``numbers.final_number``), ``first``, ``last`` (in any context) or ``any``.
    ``decimal`` is the reading of a single ``,`` or ``.`` before three digits. A target with a unit (``"12 kg"``)
    requires the unit too, in any case, singular or plural; units are compared as words, never converted.

    A number at the very end of an answer that was cut off may be incomplete or an intermediate step: it is ignored. An
    answer that is right only if it ends there is not scored.
    """
    expected, text, lost = _target_number(target, decimal), answer.text, None
    if answer.finish_reason is None or answer.finish_reason in _CUT_OFF:
        text, lost = _without_lost_number(answer, decimal)
    if expected and isinstance(target, str) and (unit := _target_unit(target, decimal)):
        verdict = _quantity(text, expected, unit, which, decimal, lost is not None, abs_tol=abs_tol, rel_tol=rel_tol)
    else:
        verdict = _plain_number(text, expected, target, which, decimal, lost is not None, abs_tol, rel_tol)
    if lost is None and answer.finish_reason in _CUT_OFF and _may_be_incomplete(verdict.extracted, target, text):
        return Verdict(
            None, f"the answer is cut off in {verdict.extracted!r}, which may be {target}", verdict.extracted
        )
    if lost is None or expected is None or verdict.value:
        return verdict
    cut_off = f"the answer is cut off at its last number, {lost.to_json()}"
    digits = _NO_DIGIT.sub("", plain(answer.text)[lost.start : lost.end])
    if lost.close_to(expected, abs_tol=abs_tol, rel_tol=rel_tol) or _digits_of(expected).startswith(digits):
        return Verdict(None, f"{cut_off}, which may be {target} or go on", verdict.extracted)
    return Verdict(0, f"{cut_off}, and {verdict.reason}", verdict.extracted)


def _without_lost_number(answer: Answer, decimal: str) -> tuple[str, Number | None]:
    """A text without the number at which it was cut off, and that number, or None if it was not cut off in one."""
    text = plain(answer.text)
    lost = number_at_end(text, decimal)
    if lost is None or not (answer.finish_reason or _breaks_off(text, lost.start)):
        return answer.text, None
    rest, operand = text[: lost.start], lost
    while (operator := _OPERATOR.search(rest, max(0, operand.start - _LOOK))) is not None:
        rest = rest[: operator.start()]
        operand = number_at_end(rest, decimal) or operand
        rest = rest[: operand.start]
    return rest, lost


def _breaks_off(text: str, at: int) -> bool:
    """Whether a text visibly breaks off in its last number, which starts at this position."""
    return text.rstrip()[-1] in "=+×·/^" or _BREAKS_OFF.search(text, max(0, at - _LOOK), at) is not None


def _may_be_incomplete(extracted: Any, target: Any, text: str) -> bool:
    """Whether a text ends with a quantity that is the beginning of the target."""
    if not (isinstance(extracted, str) and isinstance(target, str)):
        return False
    short, whole = folded(extracted), folded(target)
    return len(short) < len(whole) and whole.startswith(short) and text.rstrip().endswith(extracted.rpartition(" ")[2])


def _digits_of(number: Number) -> str:
    return _NO_DIGIT.sub("", str(number.to_json()))


def _plain_number(
    text: str,
    expected: Number | None,
    target: Any,
    which: str,
    decimal: str,
    strict: bool,
    abs_tol: float,
    rel_tol: float,
) -> Verdict:
    """The verdict of ``number`` for a target without a unit."""
    last = None
    for candidate in _candidates(text, which, decimal, strict):
        if expected and candidate.close_to(expected, abs_tol=abs_tol, rel_tol=rel_tol):
            return Verdict(1, extracted=candidate.to_json())
        last = candidate
    if last is None or expected is None:
        return Verdict(0, "no number in the answer" if not strict else "no number before it is its answer")
    return Verdict(0, f"the {which} number is {last.to_json()}, not {target}", last.to_json())


def _candidates(text: str, which: str, decimal: str, strict: bool) -> Iterable[Number]:
    if which == "final":
        final = final_place(text, decimal, strict=strict)
        return () if final is None else final[:1]
    if which == "last":
        last = last_number(text, decimal)
        return () if last is None else (last,)
    found = each_number(text, decimal)
    return islice(found, 1) if which == "first" else found


def _quantity(
    text: str, expected: Number, unit: str, which: str, decimal: str, strict: bool, *, abs_tol: float, rel_tol: float
) -> Verdict:
    """The verdict of ``number`` for a target with a unit."""
    target, quantity, where = f"{expected.to_json()} {unit}", None, plain(text)
    if which == "final":
        final = final_place(text, decimal, strict=strict)
        candidates, where = ([], where) if final is None else ([final[0]], _with_what_follows(final[1], where))
    else:
        candidates = list(_candidates(where, which, decimal, strict))
        where = where if which != "last" else where[-LONGEST_TEXT:]
    for candidate in candidates:
        quantity = f"{candidate.to_json()} {unit_after(where, candidate.end)}".rstrip()
        if candidate.close_to(expected, abs_tol=abs_tol, rel_tol=rel_tol) and has_unit(where, candidate.end, unit):
            return Verdict(1, extracted=quantity)
    if quantity is None:
        return Verdict(0, "no number in the answer" if not strict else "no number before it is its answer")
    with_unit = quantity if " " in quantity else f"{quantity} without a unit"
    return Verdict(0, f"the {which} number is {with_unit}, not {target}", quantity)


def _with_what_follows(piece: str, text: str) -> str:
    """The content of a box and the text after the box, where its unit may be."""
    at = text.rfind(f"{{{piece}}}")
    return piece if at < 0 else text[at + 1 : at + 1 + len(piece) + _FOLLOWS]


def _choice_check(target: Any, *, letters: str) -> Problem | None:
    if len(letters) < 2 or len(set(letters)) < len(letters) or not set(letters) <= set(ALPHABET):
        return Problem("scorer", f"the option letters of the scorer choice is {letters!r}: write it like 'ABCD'")
    if not isinstance(target, str) or len(target) != 1 or target.upper() not in letters:
        return Problem("target", f"the target is {shown(target)}: the scorer choice needs one of the letters {letters}")
    return None


@register("choice", check=_choice_check)
def choice(answer: Answer, target: Any, *, letters: str = ALPHABET) -> Verdict:
    """The letter that the answer chooses is the target; an answer that chooses several is not scored."""
    chosen = chosen_letters(answer.text, letters)
    if not chosen:
        return Verdict(0, "no letter is chosen in the answer")
    if len(chosen) > 1:
        return Verdict(None, f"the answer names several letters: {', '.join(chosen)}", chosen)
    right = chosen[0] == target.upper()
    return Verdict(right, None if right else f"the answer chooses {chosen[0]}, not {target.upper()}", chosen[0])


def texts_of(target: Any) -> list[str]:
    """The texts of a target: one, or those of a list."""
    return [str(part) for part in (target if isinstance(target, list) else [target])]


def _choice_of(target: Any) -> str:
    return " or ".join(repr(text) for text in texts_of(target))


def _bare(text: str, case_sensitive: bool = False, punctuation: bool = False) -> str:
    text = folded(text, case_sensitive)
    return text if punctuation else text.strip(_ENDS) or text


def _occurs(part: str, text: str, whole_words: bool) -> bool:
    """Whether a text contains a part; as whole words, "5" is neither in "25" nor in "5.5"."""
    at = text.find(part)
    if at < 0 or not whole_words:
        return at >= 0
    begins = None
    while _splits(text, at) or _splits(text, at + len(part)):
        begins = begins or _beginning(part)
        found = begins.search(text, at + 1)
        if found is None:
            return False
        at = found.start()
    return True


@lru_cache(maxsize=256)
def _beginning(part: str) -> re.Pattern[str]:
    """A pattern for a part at the start of a word, so that matches inside long words need no check."""
    boundary = rf"(?<![^\W_{UNSPACED}])" if part[0].isalnum() and not _UNSPACED.match(part) else ""
    return re.compile(boundary + re.escape(part))


def _splits(text: str, at: int) -> bool:
    """Whether this position is inside a word or a number."""
    left, right = text[max(0, at - 1) : at], text[at : at + 1]
    if left.isalnum() and right.isalnum():
        return not (_UNSPACED.match(left) or _UNSPACED.match(right))
    if right in DECIMAL_MARKS:
        return at > 0 and _DECIMAL.match(text, at - 1) is not None
    return left in DECIMAL_MARKS and at > 1 and _DECIMAL.match(text, at - 2) is not None


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


@lru_cache(maxsize=1024)
def _target_unit(target: str, decimal: str) -> str:
    """The unit of a target; empty if it has none."""
    quantity = None if read_number(target, decimal) else read_quantity(target, decimal)
    return "" if quantity is None else quantity[1]
