"""How right a run is: by turn, by tag, by whole conversation, and by which scoring.

Scores are read here, and made in ``scorers``. Start with ``by_turn``.
"""

__all__ = ["by_conversation", "by_scoring", "by_tag", "by_turn"]
