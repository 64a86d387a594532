"""Statements that give no single number: "10 to 12", "2 or 3", "±2", "less than 12", "at least 12"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from evalkit.scorers.reading.answer_marks import lowered
from evalkit.scorers.reading.final_number import final_place
from evalkit.scorers.reading.numbers import Number, read_number
from evalkit.scorers.reading.numbers_in_passing import CURRENCY, word_before

_LOOK = 48  # characters on either side of a number that are read
_NEAR = 20  # characters that decide whether more are read
_MARKS = f"*_($){CURRENCY} \t\n"
_MARKS_AFTER = _MARKS + "."
_SIGNS = frozenset("-–—±<>≤≥=+")
_WORDS = frozenset(
    [
        "or",
        "to",
        "and",
        "than",
        "under",
        "below",
        "over",
        "above",
        "most",
        "least",
        "of",
        "exceed",
        "exceeds",
        "exceeding",
    ]
)
_NUMERAL = rf"[-−]?[{CURRENCY}]?[-−]?\d[\d.,/]*(?<![.,])\s?%?"
_DRESS = rf"[*_({CURRENCY}\\]*"
_JOINT = rf"(?P<joint>\bor\b|\bto\b|\band\b|[-–—])\s*(?:[a-z]\s*=\s*)?{_DRESS}"
_UNIT = r"(?P<unit>[a-z°%]+)?"
_BEFORE = re.compile(rf"(?P<other>{_NUMERAL})[*_)$]*,?\s*{_UNIT}\s*{_JOINT}\Z")
_AFTER = re.compile(rf"[*_)$]*\s*{_UNIT}\s*{_JOINT}(?P<other>{_NUMERAL})")
_BETWEEN = re.compile(rf"\bbetween\b\s*{_DRESS}\Z")
_FROM = re.compile(rf"(?P<verb>[a-z]+)?\s*\bfrom\b\s*{_DRESS}\Z")
_STATES = {None, "is", "are", "was", "be", "range", "ranges", "takes", "take", "anywhere", "anything", "lasts", "costs"}
_PLUS_MINUS = re.compile(rf"(?:(?P<other>{_NUMERAL})\s*[a-z]*\s*)?(?:±|\\pm\b|\+/-|\+-)\s*{_DRESS}\Z")
_PLUS_MINUS_AFTER = re.compile(rf"\s*[a-z]*\s*(?:±|\\pm\b|\+/-)\s*{_DRESS}(?P<other>{_NUMERAL})")
_BOUNDS = [
    ("at_most", r"\bat most|\bno (?:more|greater|higher|larger) than|\bup to|\b(?:a )?maximum of|≤|<=|\\leq?\b"),
    ("at_least", r"\bat least|\bno (?:less|fewer|smaller|lower) than|\b(?:a )?minimum of|≥|>=|\\geq?\b"),
    ("less_than", r"(?<!no )\b(?:less|fewer|smaller|lower) than|\bunder|\bbelow|<|\\lt\b"),
    ("more_than", r"(?<!no )\b(?:more|greater|larger|higher|bigger) than|\bover|\babove|>|\bexceed(?:s|ing)?|\\gt\b"),
]
_BOUND_BEFORE = re.compile(rf"(?:{'|'.join(f'(?P<{name}>{words})' for name, words in _BOUNDS)})[ ]*{_DRESS}[ ]*\Z")
_BOUND_AFTER = re.compile(
    r"[*_)$]*\s*(?:[a-z]+\s+)?"
    r"(?:(?P<at_least>or (?:more|greater|higher|above|over)\b|at least\b|at (?:a|the) minimum\b)"
    r"|(?P<at_most>or (?:less|fewer|lower|below|under)\b|at most\b|at (?:a|the) maximum\b))"
)
# a question for a bound itself: "at least 12" answers it
_ASKS_LEAST = re.compile(r"\b(?:at least|minimum|minimal|least|fewest|smallest|lowest)\b")
_ASKS_MOST = re.compile(r"\b(?:at most|maximum|maximal|most|largest|greatest|highest|up to)\b")


@dataclass(frozen=True, slots=True)
class OpenNumber:
    """A statement that allows several numbers.

    Parameters
    ----------
    kind : str
        ``range``, ``or``, ``±``, ``less than``, ``more than``, ``at least``, ``at most``.
    numbers : tuple of Number
        The ends of a range, the alternatives, the middle and the distance, or the bound.
    text : str
        As written.
    """

    kind: str
    numbers: tuple[Number, ...]
    text: str

    def allows(self, target: Number, *, abs_tol: float = 0.0, rel_tol: float = 0.0) -> bool:
        """Whether the target is one of the numbers that it leaves open."""
        values, wanted = [number.value for number in self.numbers], target.value
        if any(number.percent != target.percent for number in self.numbers):
            return any(number.close_to(target, abs_tol=abs_tol, rel_tol=rel_tol) for number in self.numbers)
        inside = {
            "range": lambda: min(values) <= wanted <= max(values),
            "±": lambda: abs(wanted - values[0]) <= abs(values[1]),
            "less than": lambda: wanted < values[0],
            "more than": lambda: wanted > values[0],
            "at most": lambda: wanted <= values[0],
            "at least": lambda: wanted >= values[0],
        }.get(self.kind)
        if inside is not None and inside():
            return True
        near = self.numbers if self.kind in ("range", "or") else ()
        return any(number.close_to(target, abs_tol=abs_tol, rel_tol=rel_tol) for number in near)

    def gives(self, target: Number, *, abs_tol: float = 0.0, rel_tol: float = 0.0) -> bool:
        """Whether each number that it leaves open is the target within the tolerance."""
        return self.kind in ("range", "or") and all(
            number.close_to(target, abs_tol=abs_tol, rel_tol=rel_tol) for number in self.numbers
        )

    def same(self, other: OpenNumber, *, abs_tol: float = 0.0, rel_tol: float = 0.0) -> bool:
        """Whether both state the same."""
        if self.kind != other.kind or len(self.numbers) != len(other.numbers):
            return False
        mine, others = (sorted(each.numbers, key=lambda number: number.value) for each in (self, other))
        return all(a.close_to(b, abs_tol=abs_tol, rel_tol=rel_tol) for a, b in zip(mine, others, strict=True))


def read_open(text: str, decimal: str = ".") -> OpenNumber | None:
    """The statement of a target such as ``"10 to 12"``; None if it has none."""
    placed = final_place(text, decimal)
    return None if placed is None else open_number(placed[1], placed[0], decimal)


def open_number(text: str, number: Number, decimal: str = ".", question: str = "") -> OpenNumber | None:
    """The statement that a number of a text belongs to; None if it stands alone.

    Parameters
    ----------
    text : str
    number : Number
        Its ``start`` and ``end`` refer to the text.
    decimal : str
        How an ambiguous mark is read: ``.`` or ``,``.
    question : str
        What was asked: a question for the least or the most is answered by "at least" and "at most".
    """
    start, end = number.start, number.end
    if not _may_be_open(text, start, end):
        return None
    before, after = lowered(text[max(0, start - _LOOK) : start]), lowered(text[end : end + _LOOK])
    for kind, numbers, left, right in _statements(before, after, number, decimal, text[start:end]):
        if kind == "at least" and _ASKS_LEAST.search(lowered(question)):
            return None
        if kind == "at most" and _ASKS_MOST.search(lowered(question)):
            return None
        return OpenNumber(kind, numbers, text[start - left : end + right].strip(" *_$("))
    return None


def _may_be_open(text: str, start: int, end: int) -> bool:
    """A quick test by the neighbours of a number: nearly every number stands alone."""
    word = word_before(text, start)
    if word.isalpha():
        if word.lower() in _WORDS or "\\" in text[max(0, start - _NEAR) : start]:
            return True
    elif start:
        before = text[max(0, start - _NEAR) : start].rstrip(_MARKS)
        if before[-1:] in _SIGNS or before[before.rfind(" ") + 1 :].lower() in _WORDS:
            return before[-1:] != "=" or " or" in text[max(0, start - _LOOK) : start]
        if "\\" in before:
            return True
    after = text[end : end + _NEAR].lstrip(_MARKS_AFTER)
    return after != "" and (
        "or " in after
        or "to " in after
        or "at " in after
        or "-" in after
        or "–" in after
        or "—" in after
        or "±" in after
        or "\\pm" in after
        or "+/" in after
    )


def _statements(
    before: str, after: str, number: Number, decimal: str, written: str
) -> Iterator[tuple[str, tuple[Number, ...], int, int]]:
    if bound := _BOUND_BEFORE.search(before):
        yield str(bound.lastgroup).replace("_", " "), (number,), len(before) - bound.start(), 0
    if bound := _BOUND_AFTER.match(after):
        yield str(bound.lastgroup).replace("_", " "), (number,), 0, bound.end()
    if found := _PLUS_MINUS.search(before):
        middle = read_number(found["other"], decimal) if found["other"] else Number(Fraction(0))
        if found["other"] is None:
            yield "or", (number, Number(-number.value, number.percent)), len(before) - found.start(), 0
        elif middle is not None:
            yield "±", (middle, number), len(before) - found.start(), 0
    elif (found := _PLUS_MINUS_AFTER.match(after)) and (distance := read_number(found["other"], decimal)):
        yield "±", (number, distance), 0, found.end()
    if (found := _BEFORE.search(before)) and (other := read_number(found["other"], decimal)):
        unit = _first_word(after)
        kind = _kind(found, before[: found.start()], other, number, after, unit)
        if kind:
            yield kind, (other, number), len(before) - found.start(), 0
    elif (found := _AFTER.match(after)) and (other := read_number(found["other"], decimal)):
        rest = after[found.end() :]
        kind = _kind(found, before, number, other, rest, _first_word(rest))
        if kind:
            yield kind, (number, other), 0, found.end()


def _kind(found: re.Match[str], before: str, low: Number, high: Number, after: str, unit: str) -> str | None:
    """``range``, ``or``, or None if the two are one number in other words, a subtraction or a change."""
    joint = found["joint"]
    if low.close_to(high) or after.lstrip(" *_$)").startswith("="):
        return None
    if joint == "or":
        two_units = found["unit"] and unit and found["unit"].rstrip("s") != unit.rstrip("s")
        return None if two_units else "or"
    if joint == "and":
        return "range" if _BETWEEN.search(before) else None
    if joint == "to":
        origin = _FROM.search(before)
        return None if origin and origin["verb"] not in _STATES else "range"
    spaced = found[0][found.start("joint") - found.start() - 1] == " "
    return "range" if low.value < high.value and not (joint == "-" and spaced) else None


def _first_word(text: str) -> str:
    found = re.match(r"[*_)$\s]*([a-z°]+)", text)
    return "" if found is None else found[1]
