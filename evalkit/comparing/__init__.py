"""Two or more runs compared turn by turn: the turns they share, what differs and how certain that is, and the turns
that flipped. Statistical tests are in ``stats``, sentences in ``wording/comparison``. Start with ``comparison``.
"""

__all__ = ["comparison", "conditions", "effects"]
