"""A run in numbers: counts, accuracy and times with their intervals, cost, trust in the times, and what has to be
known of the answers. It reads a run file and never changes it. ``accuracy`` and ``times`` hold the parts; two runs
side by side are in ``comparing``, words in ``wording``. Start with ``measures``.
"""

__all__ = [
    "caveats",
    "client_trust",
    "costs",
    "ignored_parameters",
    "measures",
    "price_file",
    "sample_size",
    "tables",
    "terminal_sketch",
]
