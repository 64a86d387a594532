"""Two or more runs compared turn by turn: the turns they share, what differs and how sure that is, and the turns that
flipped. The tests themselves are in ``stats``, the sentences in ``wording/comparison``. Start with ``comparison``.
"""

__all__ = ["comparison", "conditions", "effects"]
