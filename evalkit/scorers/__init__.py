"""From an answer and a target to a score.

``registry`` says what a scorer is and how to add one; each other file holds the scorers of one kind, or what keeps a
stranger's pattern or schema harmless. Numbers and dates in text are read in ``reading``; when scores are made and
stored is for ``engine/saving`` and ``runfile``. Start with ``registry``.
"""

__all__ = ["function_version", "json_equality", "own_functions", "registry", "scoring"]
