"""From an answer and a target to a score.

``registry`` defines what a scorer is and how to add one; ``scoring`` picks the scorer of a turn and makes its score.
The other files contain the scorers of one kind, or keep a stranger's pattern or schema harmless. Numbers and dates in
text are read in ``reading``; ``engine/saving`` and ``runfile`` store scores. Start with ``registry``.
"""

__all__ = ["function_version", "json_equality", "own_functions", "registry", "scoring"]
