"""Elements of an HTML page: their content is text, never markup."""

from __future__ import annotations

import unicodedata
from xml.etree.ElementTree import Element, SubElement


def plain(text: str) -> str:
    """Replace what HTML forbids: control characters and halves of surrogate pairs."""
    if text.isascii() and text.isprintable():
        return text
    return "".join("\ufffd" if _forbidden(character) else character for character in text)


def _forbidden(character: str) -> bool:
    return character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cs")


def add(parent: Element, tag: str, text: str = "", **attributes: str) -> Element:
    """Add an element. Write ``class_`` and ``data_sort`` for the attributes ``class`` and ``data-sort``."""
    element = SubElement(parent, tag, {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()})
    element.text = plain(text)
    return element
