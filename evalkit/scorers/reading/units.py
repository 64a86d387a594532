"""Units as words behind a number: ``12 kg``, ``35 apples``, ``5 km/h``; compared as words, never converted."""

from __future__ import annotations

import re
from functools import lru_cache

from evalkit.scorers.reading.numbers import Number, first_number

_MOST_WORDS = 3
_UNIT = re.compile(r"(?:[^\W\d_]|°)(?:[\w°/^·'-]|\ (?=[^\W\d_]|°)){0,30}")
# what may stand between a number and its unit: blanks, emphasis, the dress of LaTeX, the hyphen of "a 12-kg bag"
_BETWEEN = r"(?:[\s*_`~$)\]}]|\\[,;:!\ ]|\\(?:text|mathrm|mathbf|textbf|operatorname)\s*\{)*+-?"
_SAID = re.compile(rf"{_BETWEEN}(?P<unit>(?:[^\W\d_]|°)[\w°/^·]{{0,30}})")
_END = r"(?![\w°²³^·⋅×%]|-\w|\*[^\W_]|\s*(?:/|per\b))"
_IRREGULAR = {"feet": "foot"}


def read_quantity(text: str, decimal: str = ".") -> tuple[Number, str] | None:
    """The number and the unit that a text is, with nothing around them.

    Parameters
    ----------
    text : str
    decimal : str
        How a mark that could be either is read: ``.`` or ``,``.

    Returns
    -------
    (Number, str) or None
        The unit as written; three words at most.
    """
    text = text.strip()
    number = first_number(text, decimal)
    unit = "" if number is None else text[number.end :].strip()
    if number is None or not _UNIT.fullmatch(unit) or len(unit.split()) > _MOST_WORDS:
        return None
    return number, unit


def has_unit(text: str, end: int, unit: str) -> bool:
    """Whether the number that ends at this place of a text carries this unit, but for case and plural."""
    return _pattern(unit).match(text, end) is not None


def unit_said(text: str, end: int) -> str:
    """The word behind the number that ends at this place; empty: none follows."""
    found = _SAID.match(text, end)
    return "" if found is None else found["unit"]


@lru_cache(maxsize=256)
def _pattern(unit: str) -> re.Pattern[str]:
    words = r"\s+".join(map(_forms, unit.casefold().split()))
    return re.compile(rf"{_BETWEEN}{words}{_END}", re.IGNORECASE)


def _forms(word: str) -> str:
    """A word in singular and plural; a lone letter has no plural: 5 m is not 5 ms."""
    singulars = {word, _IRREGULAR.get(word, word)}
    if word.endswith(("ses", "xes", "zes", "ches", "shes")):
        singulars.add(word[:-2])
    if len(word) > 2 and word.endswith("s") and not word.endswith("ss"):
        singulars.add(word[:-1])
    plurals = {plural for plural, singular in _IRREGULAR.items() if singular == word}
    ending = r"(?:e?s)?" if len(word) > 1 and word[-1].isalpha() else ""
    return f"(?:{'|'.join(map(re.escape, sorted(singulars | plurals)))}){ending}"
