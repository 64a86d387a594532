"""Units as words after a number: ``12 kg``, ``35 apples``, ``5 km/h``; compared as words, never converted.

A symbol and its name are one unit: ``kg`` and ``kilograms``.
"""

from __future__ import annotations

import re
from functools import lru_cache

from evalkit.scorers.reading.numbers import Number, first_number

_MOST_WORDS = 3
_UNIT = re.compile(r"(?:[^\W\d_]|°)(?:[\w°/^·'-]|\ (?=[^\W\d_]|°)){0,30}")
# between a number and its unit: spaces, emphasis, LaTeX commands, the hyphen of "a 12-kg bag"
_BETWEEN = r"(?:[\s*_`~$)\]}]|\\[,;:!\ ]|\\(?:text|mathrm|mathbf|textbf|operatorname)\s*\{)*+-?"
_WRITTEN = re.compile(rf"{_BETWEEN}(?P<unit>(?:[^\W\d_]|°)[\w°/^·]{{0,30}})")
_END = r"(?![\w°²³^·⋅×%]|-\w|\*[^\W_]|\s*(?:/|per\b))"
_IRREGULAR = {"feet": "foot"}
_SAME = [
    ("kg", "kilogram", "kilogramme", "kilo"),
    ("g", "gram", "gramme"),
    ("mg", "milligram", "milligramme"),
    ("t", "tonne", "metric ton"),
    ("km", "kilometre", "kilometer"),
    ("m", "metre", "meter"),
    ("cm", "centimetre", "centimeter"),
    ("mm", "millimetre", "millimeter"),
    ("mi", "mile"),
    ("yd", "yard"),
    ("ft", "foot", "feet"),
    ("in", "inch"),
    ("lb", "pound"),
    ("oz", "ounce"),
    ("l", "litre", "liter"),
    ("ml", "millilitre", "milliliter"),
    ("h", "hr", "hour"),
    ("min", "minute"),
    ("s", "sec", "second"),
    ("ms", "millisecond"),
    ("km/h", "kph", "kmh", "kilometres per hour", "kilometers per hour", "kilometres an hour", "kilometers an hour"),
    ("mph", "miles per hour", "miles an hour"),
    ("m/s", "metres per second", "meters per second"),
    ("°c", "degrees celsius", "degree celsius"),
    ("°f", "degrees fahrenheit", "degree fahrenheit"),
    ("cm²", "cm^2", "cm2", "square centimetre", "square centimeter"),
    ("m²", "m^2", "m2", "square metre", "square meter"),
    ("km²", "km^2", "km2", "square kilometre", "square kilometer"),
    ("m³", "m^3", "m3", "cubic metre", "cubic meter"),
    ("cm³", "cm^3", "cm3", "cubic centimetre", "cubic centimeter"),
]
_NAMES = {name: names for names in _SAME for name in names}


def read_quantity(text: str, decimal: str = ".") -> tuple[Number, str] | None:
    """The number and the unit of a text that consists of nothing else.

    Parameters
    ----------
    text : str
    decimal : str
        How an ambiguous mark is read: ``.`` or ``,``.

    Returns
    -------
    (Number, str) or None
        The unit as written, at most three words. None for any other text.
    """
    text = text.strip()
    number = first_number(text, decimal)
    unit = "" if number is None else text[number.end :].strip()
    if number is None or not _UNIT.fullmatch(unit) or len(unit.split()) > _MOST_WORDS:
        return None
    return number, unit


def has_unit(text: str, end: int, unit: str) -> bool:
    """Whether the number that ends at this position has this unit, in any case and number, as symbol or as name."""
    return _pattern(unit).match(text, end) is not None


def unit_after(text: str, end: int) -> str:
    """The word after the number that ends at this position; empty if none follows."""
    found = _WRITTEN.match(text, end)
    return "" if found is None else found["unit"]


@lru_cache(maxsize=256)
def _pattern(unit: str) -> re.Pattern[str]:
    unit = " ".join(unit.casefold().split())
    singulars = (unit, unit.removesuffix("s"), unit.removesuffix("es"))
    names = next((_NAMES[name] for name in singulars if name in _NAMES), ())
    written = "|".join(r"\s+".join(map(_forms, name.split())) for name in dict.fromkeys((unit, *names)))
    return re.compile(rf"{_BETWEEN}(?:{written}){_END}", re.IGNORECASE)


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
