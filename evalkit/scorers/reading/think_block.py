"""The block in which a model reasons before it answers: ``<think>…</think>``."""

from __future__ import annotations

import re

_BEGIN, _END = (re.compile(text, re.IGNORECASE) for text in (r"\s*<think(?:ing)?>", "</think(?:ing)?>"))


def without_think_block(text: str) -> str:
    """Remove a leading ``<think>…</think>`` block: some endpoints send the model's reasoning as text.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        Empty if the block never ends.
    """
    begin = _BEGIN.match(text)
    if begin is None:
        return text
    end = _END.search(text, begin.end())
    return text[end.end() :] if end else ""
