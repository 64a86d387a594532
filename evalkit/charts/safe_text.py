"""Text from strangers on a chart: names of models, tags and conversations, drawn with the fonts that are there."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from itertools import groupby

FONT = "DejaVu Sans"  # comes with matplotlib: Latin, Greek, Cyrillic, Hebrew, Arabic and many signs
# for what it lacks, where a machine has them
MORE_FONTS = (
    "Noto Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Thai",
    "Noto Emoji", "Symbola", "Arial Unicode MS", "PingFang SC", "Hiragino Sans", "Apple Symbols", "Microsoft YaHei",
    "Yu Gothic", "Segoe UI Symbol", "WenQuanYi Zen Hei",
)  # fmt: skip
MOST = 40  # characters of one name
_RTL = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc"  # Hebrew, Arabic, Syriac and their kin
_LEFTWARDS = re.compile(f"[{_RTL}](?:[{_RTL} ]*[{_RTL}])?")


def name(text: str, most: int = MOST) -> str:
    """A name as matplotlib can draw it: in one line, bounded, never read as mathematics.

    Characters that no font here has are said: an emoji by its Unicode name, ⟨rocket⟩, others by their number,
    ⟨U+4E2D⟩. Marks that only steer the direction or the joining of letters are left out.

    Parameters
    ----------
    text : str
    most : int
        Characters; a longer name loses its middle.
    """
    plain = "".join(map(_plain, text.strip()))
    if len(plain) > most:
        plain = f"{plain[: most - most // 3 - 1]}…{plain[-(most // 3) :]}"
    told = "".join("".join(part) if there else _said("".join(part)) for there, part in groupby(plain, key=drawable))
    if not _shapes():
        told = _LEFTWARDS.sub(lambda found: found[0][::-1], told)  # in the order in which it is seen
    # a pair of dollar signs would make mathematics of what stands between them
    return told.replace("$", r"\$") or "(no name)"


def unescaped(text: str) -> str:
    """Text with names as they are read outside of a chart."""
    return text.replace(r"\$", "$")


@lru_cache(maxsize=4096)
def drawable(character: str) -> bool:
    """Whether one of the fonts of a chart has this character."""
    from matplotlib import font_manager

    return any(
        font_manager.get_font(font_manager.findfont(family)).get_char_index(ord(character)) for family in families()
    )


@cache
def families() -> tuple[str, ...]:
    """The fonts of a chart, the first before the others."""
    from matplotlib import font_manager

    there = {font.name for font in font_manager.fontManager.ttflist}
    return (FONT, *(family for family in MORE_FONTS if family in there))


def _plain(character: str) -> str:
    kind = unicodedata.category(character)
    if character.isspace():
        return " "
    if kind == "Cf" or "\ufe00" <= character <= "\ufe0f":
        return ""
    return "\ufffd" if kind[0] == "C" else character


def _said(part: str) -> str:
    if unicodedata.category(part[0]) == "So":
        return "".join(f"⟨{unicodedata.name(character, f'U+{ord(character):04X}').lower()}⟩" for character in part)
    return f"⟨{' '.join(f'U+{ord(character):04X}' for character in part)}⟩"


@cache
def _shapes() -> bool:
    """Whether matplotlib itself puts right-to-left text into its order: from version 3.11."""
    import matplotlib as mpl

    return tuple(int(part) for part in mpl.__version__.split(".")[:2]) >= (3, 11)
