"""Two or more runs compared turn by turn: the turns they share, what differs and how certain that is, and the turns
that flipped; verdicts: whether a run is better, no worse or worse, by margins; and the ranks of several runs.
Statistical tests are in ``stats``, sentences in ``wording/comparison`` and ``wording/verdicts``. Start with
``comparison``, then ``verdicts``.
"""

__all__ = [
    "comparison",
    "conditions",
    "effects",
    "history",
    "margin_expression",
    "pairing",
    "ranks",
    "shared_conversations",
    "verdicts",
]
