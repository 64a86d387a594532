"""Scripts: which of them part their words by blanks."""

from __future__ import annotations

# ranges for a class of characters in a pattern
UNBROKEN = "\u0e00-\u0eff\u0f00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # no blanks between words
UNSPACED = UNBROKEN + "\uac00-\ud7af"  # and Hangul, whose endings join the word: no boundary to look for
