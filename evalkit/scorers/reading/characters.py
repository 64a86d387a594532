"""Characters of scripts that do not separate words by spaces."""

from __future__ import annotations

# ranges for a character class in a pattern
UNBROKEN = "\u0e00-\u0eff\u0f00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # no spaces between words
UNSPACED = UNBROKEN + "\uac00-\ud7af"  # and Hangul, whose suffixes join the word, so that it has no boundary
