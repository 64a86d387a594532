"""Untrusted text on a chart: names of models, tags and conversations, drawn with the fonts that are installed."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from itertools import groupby

FONT = "DejaVu Sans"  # comes with matplotlib: Latin, Greek, Cyrillic, Hebrew, Arabic and many signs
# for characters that it lacks, if they are installed
MORE_FONTS = (
    "Noto Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Thai",
    "Noto Emoji", "Symbola", "Arial Unicode MS", "PingFang SC", "Hiragino Sans", "Apple Symbols", "Microsoft YaHei",
    "Yu Gothic", "Segoe UI Symbol", "WenQuanYi Zen Hei",
)  # fmt: skip
MAX_CHARACTERS = 40  # characters of one name
_RTL = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc"  # Hebrew, Arabic, Syriac and related scripts
_RIGHT_TO_LEFT = re.compile(f"[{_RTL}](?:[{_RTL} ]*[{_RTL}])?")


def name(text: str, most: int = MAX_CHARACTERS) -> str:
    """Return a name as matplotlib can draw it: on one line, of limited length, never read as mathematics.

    Characters that no installed font has are spelled out: an emoji by its Unicode name, ⟨rocket⟩, others by their code
    point, ⟨U+4E2D⟩. Marks that only control the direction or joining of letters are removed.

    Parameters
    ----------
    text : str
    most : int
        Maximum number of characters; the middle of a longer name is left out.
    """
    plain = "".join(map(_plain, text.strip()))
    if len(plain) > most:
        plain = f"{plain[: most - most // 3 - 1]}…{plain[-(most // 3) :]}"
    parts = [(has_font, "".join(part)) for has_font, part in groupby(plain, key=drawable)]
    text_drawn = "".join(part if has_font else _spelled_out(part) for has_font, part in parts)
    if not _orders_right_to_left():
        text_drawn = _RIGHT_TO_LEFT.sub(lambda match: match[0][::-1], text_drawn)  # visual order
    # matplotlib reads text between two dollar signs as mathematics
    return text_drawn.replace("$", r"\$") or "(no name)"


def unescaped(text: str) -> str:
    """Return text with its names as they are written outside of a chart."""
    return text.replace(r"\$", "$")


@lru_cache(maxsize=4096)
def drawable(character: str) -> bool:
    """Return whether one of the fonts of a chart has this character."""
    from matplotlib import font_manager

    return any(
        font_manager.get_font(font_manager.findfont(family)).get_char_index(ord(character)) for family in families()
    )


@cache
def families() -> tuple[str, ...]:
    """Return the installed fonts of a chart, the preferred one first."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return (FONT, *(family for family in MORE_FONTS if family in installed))


def _plain(character: str) -> str:
    kind = unicodedata.category(character)
    if character.isspace():
        return " "
    if kind == "Cf" or "\ufe00" <= character <= "\ufe0f":
        return ""
    return "\ufffd" if kind[0] == "C" else character


def _spelled_out(part: str) -> str:
    if unicodedata.category(part[0]) == "So":
        return "".join(f"⟨{unicodedata.name(character, f'U+{ord(character):04X}').lower()}⟩" for character in part)
    return f"⟨{' '.join(f'U+{ord(character):04X}' for character in part)}⟩"


@cache
def _orders_right_to_left() -> bool:
    """Return whether matplotlib orders right-to-left text itself, which it does from version 3.11 on."""
    import matplotlib as mpl

    return tuple(int(part) for part in mpl.__version__.split(".")[:2]) >= (3, 11)
