"""The character set of text that is not Unicode, as spreadsheets save it.

A byte is one letter in one character set and another in the next, so a short text can often be read in several ways. A
reading with signs inside of words, ``caf‰s``, or with capital letters after small ones, ``cafÈ``, is left out. chardet
ranks the others by language: the first counts if it is clearly more likely than each that reads differently.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import NamedTuple

from evalkit.errors import DatasetError

# Python's name, and the one that iconv and messages use
NAMES = {
    "cp1252": "WINDOWS-1252",
    "mac_roman": "MACINTOSH",
    "cp1250": "WINDOWS-1250",
    "cp1251": "WINDOWS-1251",
    "cp1253": "WINDOWS-1253",
    "cp1254": "WINDOWS-1254",
    "cp1255": "WINDOWS-1255",
    "cp1256": "WINDOWS-1256",
    "cp1257": "WINDOWS-1257",
    "cp932": "CP932",
    "gb18030": "GB18030",
    "cp949": "CP949",
    "big5": "BIG5",
    "cp850": "CP850",
}
_CODECS = {codecs.lookup(name).name: name for name in NAMES}
_USUAL = ("cp1252", "mac_roman")
_LIKELIER = 1.1  # the usual ones
_CLEARLY = 1.15  # times as likely as the next
_MOST_ODD = 0.3  # of the characters beyond ASCII, in a text
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_IN_WORDS = "’-‐–—…·"
_OPENING = "‘“„‚«¿¡"
_EAST_ASIAN = "\u2e80"
SAVE_AS_UTF8 = "save it as UTF-8 ('CSV UTF-8' in Excel)"


class _Reading(NamedTuple):
    codec: str
    text: str
    odd: int
    likelihood: float


def character_set(sample: bytes) -> str:
    """Python's name of the character set of a text.

    Parameters
    ----------
    sample : bytes
        Whole lines, all of which hold bytes beyond ASCII.

    Raises
    ------
    DatasetError
        It is no text, or several readings are as likely.
    """
    readings = _readings(sample)
    fewest = min((reading.odd for reading in readings), default=0)
    likely = [reading for reading in readings if reading.odd == fewest]
    if not likely or fewest > _MOST_ODD * len(_BEYOND_ASCII.findall(likely[0].text)):
        raise DatasetError(f"is neither UTF-8 nor text in a character set of spreadsheets: {SAVE_AS_UTF8}")
    first = likely[0]
    other = next((reading for reading in likely if reading.text != first.text), None)
    if other is not None and first.likelihood < _CLEARLY * other.likelihood:
        both = ((first, other), (other, first))
        shown = " or ".join(f"{NAMES[each.codec]} ({_differing(each, than)!r})" for each, than in both)
        raise DatasetError(
            f"is not UTF-8 and can be read as {shown}: {SAVE_AS_UTF8}, or convert it: "
            f"iconv -f {NAMES[first.codec]} -t UTF-8 OLD > NEW"
        )
    return first.codec


def _readings(sample: bytes) -> list[_Reading]:
    """The text in each character set, the most likely first."""
    import chardet  # for files that are not in UTF-8 only

    readings = []
    for found in chardet.detect_all(sample, ignore_threshold=True, include_encodings=list(NAMES)):
        codec = _CODECS.get(codecs.lookup(found["encoding"] or "ascii").name)
        try:
            text = sample.decode(codec) if codec else ""
        except UnicodeDecodeError:
            continue
        if codec and text:
            likelihood = found["confidence"] * (_LIKELIER if codec in _USUAL else 1)
            readings.append(_Reading(codec, text, _odd_places(text), likelihood))
    return sorted(readings, key=lambda reading: -reading.likelihood)


def _differing(reading: _Reading, than: _Reading) -> str:
    """The first word that another reading spells differently."""
    words = zip(reading.text.split(), than.text.split(), strict=False)
    return next((word for word, other in words if word != other), "")[:40]


def _odd_places(text: str) -> int:
    padded = f" {text} "
    return sum(_is_odd(*padded[at.start() - 1 : at.start() + 2]) for at in _BEYOND_ASCII.finditer(padded))


def _is_odd(before: str, mark: str, after: str) -> bool:
    """Whether a character does not belong between these two, as people write."""
    category = unicodedata.category(mark)
    if category in ("Cc", "Cn", "Co", "Sk", "Lm", "Mn") or mark in "ﬁﬂ":
        return True
    if mark >= _EAST_ASIAN:
        return max(before, after) < _EAST_ASIAN
    if mark == "µ":
        return before.isalpha()
    if mark.isalpha():
        neighbours = [letter for letter in (before, after) if letter.isalpha()]
        return (
            (mark.isupper() and before.islower())
            or (mark.islower() and after.isupper())
            or any(_script(letter) != _script(mark) for letter in neighbours)
        )
    inside = before.isalpha() and after.isalpha() and mark not in _IN_WORDS
    return inside or (before.isalpha() and mark in _OPENING)


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]
