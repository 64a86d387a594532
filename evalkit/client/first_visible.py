"""When a user first saw something of an answer whose text holds reasoning too."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from evalkit.client.answer_parts import AnswerParts


def first_visible(
    parts: AnswerParts, start: int | None, arrivals: Sequence[int], events: Sequence[int], without_text: int | None
) -> int | None:
    """The stamp of the read that brought the first character of the answer, or of an earlier refusal or call.

    Parameters
    ----------
    parts : AnswerParts
        Of a whole stream.
    start : int or None
        Place of the first character of the answer in its text; None: the text is all reasoning.
    arrivals, events : sequence of int
        As in ``Timing``.
    without_text : int or None
        Stamp of the first refusal or call.

    Returns
    -------
    int or None
        None: nothing but reasoning was received.
    """
    stamps = [] if without_text is None else [without_text]
    if start is not None:
        ends = list(accumulate(map(len, parts.text)))
        piece = min(bisect_right(ends, start), len(ends) - 1)
        event = piece + bisect_right(parts.textless, piece)  # every event brings one piece of text, or none
        read = bisect_right(list(accumulate(events)), event)
        stamps.append(arrivals[min(read, len(arrivals) - 1)])
    return min(stamps, default=None)
