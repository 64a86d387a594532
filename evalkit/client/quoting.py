"""Text from an endpoint made safe to quote in a message."""

from __future__ import annotations

import html
import re

QUOTE_LIMIT = 300  # characters of the endpoint's text in a message
_HTML_LIMIT = 8_192  # bytes of an error page that are searched for text

_ANSI = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.?")
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_NOT_TEXT = re.compile(r"<(script|style|head)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>?", re.IGNORECASE | re.DOTALL)


def one_line(text: str, limit: int = QUOTE_LIMIT) -> str:
    """Text that is safe on one line: no control characters, no terminal escapes, at most ``limit`` characters."""
    text = _ANSI.sub("", text[: limit * 8])
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def first_words(body: bytes) -> str:
    """The beginning of a body's text, for a message; of HTML its title or its text."""
    text = body[:_HTML_LIMIT].decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if not text.startswith("<"):
        return one_line(text)
    title = _TITLE.search(text)
    return one_line(html.unescape(title.group(1) if title else "")) or one_line(html.unescape(_NOT_TEXT.sub(" ", text)))
