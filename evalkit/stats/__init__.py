"""Pure statistics: arrays in, small results out. Random draws are seeded, and a value is None with a reason where there
is too little data. Nothing here depends on runs, turns or files; ``analysis`` and ``comparing`` pass the arrays in.
``evalkit/docs/statistics.md`` lists the formulas and what each is checked against. Start with ``estimate``, then
``proportions`` and ``quantiles``.
"""

__all__ = [
    "agreement",
    "anytime_interval",
    "arrays",
    "bradley_terry",
    "checked_samples",
    "clusters",
    "corrected_rate",
    "estimate",
    "groups",
    "means",
    "multiple_tests",
    "paired",
    "power",
    "prediction_powered",
    "proportions",
    "quantiles",
    "ratios",
    "repeats",
    "stratified_labels",
    "survival",
]
