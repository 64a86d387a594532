"""Elements of an HTML page: their content is text, never markup."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
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


def add_facts(parent: Element, facts: Iterable[tuple[str, str]]) -> None:
    """Add a list of names and values."""
    box = SubElement(parent, "dl", {"class": "facts"})
    for name, value in facts:
        pair = SubElement(box, "div")
        add(pair, "dt", name)
        add(pair, "dd", value, dir="auto")


def add_folded(parent: Element, title: str, *, is_open: bool = False) -> Element:
    """Add a part that its reader opens."""
    folded = SubElement(parent, "details", {"open": "open"} if is_open else {})
    add(SubElement(folded, "summary"), "h2", title)
    return folded


def add_table(parent: Element, caption: str, class_: str = "") -> Element:
    """Add a table in a box that scrolls sideways, also by keyboard."""
    box = SubElement(parent, "div", {"class": "wide", "tabindex": "0", "role": "region", "aria-label": plain(caption)})
    table = SubElement(box, "table", {"class": class_} if class_ else {})
    add(table, "caption", caption)
    return table


def add_headings(table: Element, headings: Iterable[str]) -> None:
    """Add the row of headings."""
    head = SubElement(SubElement(table, "thead"), "tr")
    for heading in headings:
        add(head, "th", heading, scope="col")


def add_rows(table: Element, rows: Iterable[tuple[str, ...]], *, last_is_words: bool = False) -> None:
    """Add rows, each with its heading first; ``last_is_words``: the last cell holds text of any language."""
    body = SubElement(table, "tbody")
    for heading, *cells in rows:
        line = SubElement(body, "tr")
        add(line, "th", heading, scope="row")
        for cell in cells:
            add(line, "td", cell)
        if last_is_words:
            line[-1].set("dir", "auto")
