"""Pure statistics: arrays in, small results out, seeded where they draw, and None with a reason where there is too
little data. Nothing here knows of runs, turns or files; ``analysis`` and ``comparing`` bring the arrays.
``evalkit/docs/statistics.md`` has the formulas and what each is checked against. Start with ``estimate``, then
``proportions`` and ``quantiles``.
"""

__all__ = [
    "agreement",
    "anytime_interval",
    "arrays",
    "checked_samples",
    "clusters",
    "estimate",
    "means",
    "multiple_tests",
    "paired",
    "power",
    "proportions",
    "quantiles",
    "repeats",
    "survival",
]
