"""The accuracy of a run: by turn, by tag, by whole conversation, and by scoring.

Scores are read here; ``scorers`` makes them. Start with ``by_turn``.
"""

__all__ = ["by_conversation", "by_scoring", "by_tag", "by_turn", "incomplete_answers"]
