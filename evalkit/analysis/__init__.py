"""A run in numbers: counts, accuracy and times with their intervals, cost, trust in the times, and warnings about the
answers. It reads a run file and never changes it. ``accuracy`` and ``times`` contain the parts; comparisons of runs are
in ``comparing``, sentences in ``wording``. Start with ``measures``.
"""

__all__ = [
    "caveats",
    "checkup_concerns",
    "client_trust",
    "costs",
    "ignored_parameters",
    "measures",
    "price_file",
    "run_list",
    "sample_size",
    "summary_json",
    "tables",
    "terminal_sketch",
    "turn_verdicts",
]
