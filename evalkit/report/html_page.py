"""The frame of an HTML page that loads nothing and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
from xml.etree.ElementTree import Element, SubElement, tostring

from evalkit.report.html_elements import plain


def new_page(title: str, *, style: str, script: str) -> tuple[Element, Element]:
    """Return a page and its body. Its policy allows this style and this script and nothing else."""
    page = Element("html", lang="en")
    head = SubElement(page, "head")
    SubElement(head, "meta", charset="utf-8")
    policy = "; ".join((
        "default-src 'none'", "img-src data:", f"style-src {_hash(style)}", f"script-src {_hash(script)}",
        "base-uri 'none'", "form-action 'none'",
    ))  # fmt: skip
    SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": policy})
    SubElement(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    SubElement(head, "title").text = plain(title)
    SubElement(head, "style").text = style
    return page, SubElement(page, "body")


def page_text(page: Element, body: Element, script: str) -> str:
    """Return the page as text, its script at the end of the body."""
    SubElement(body, "script").text = script
    return "<!DOCTYPE html>\n" + tostring(page, encoding="unicode", method="html") + "\n"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
