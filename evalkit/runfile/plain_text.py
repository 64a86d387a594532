"""Untrusted text made safe to show: without control characters, and cut to a length."""

from __future__ import annotations

MOST = 4_000  # characters of one text


def clipped(text: str, most: int = MOST) -> str:
    """A text; if it is longer than ``most`` characters, it is cut and a note is added."""
    return text if len(text) <= most else f"{text[:most]}… (cut: {len(text):,} characters in all)"


def plain(text: str) -> str:
    """Untrusted text with control characters, which could control a terminal, replaced."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in text)
