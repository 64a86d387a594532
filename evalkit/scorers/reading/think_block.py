"""The block in which a model thinks before it answers: ``<think>…</think>``."""

from __future__ import annotations

import re

_SCRATCH, _SCRATCH_END = (re.compile(text, re.IGNORECASE) for text in (r"\s*<think(?:ing)?>", "</think(?:ing)?>"))


def without_scratch(text: str) -> str:
    """Leave out a leading ``<think>…</think>`` block: some endpoints send the model's reasoning as text.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        Empty when the block never ends.
    """
    begin = _SCRATCH.match(text)
    if begin is None:
        return text
    end = _SCRATCH_END.search(text, begin.end())
    return text[end.end() :] if end else ""
