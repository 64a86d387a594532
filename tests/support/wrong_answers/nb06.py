"""Wrong answers to the exercises of notebook 06."""

import math

import numpy as np


def _known(values):
    return [value for value in values if value is not None]


WRONG = {
    "06.1": [
        lambda values: None,
        95.05,
        lambda values: sorted(_known(values))[94],
        lambda values: values[int(0.95 * len(values))],
        lambda values: np.quantile(values, 0.95),
        lambda values: float(np.quantile(_known(values), 0.95)) if len(values) >= 20 else None,
        lambda values: float(np.quantile(_known(values), 0.95)) if len(_known(values)) > 20 else None,
        lambda values: float(np.quantile(_known(values), 0.95)) if len(_known(values)) >= 20 else 0,
        lambda values: float(np.quantile(_known(values), 0.95)) if len(_known(values)) >= 20 else math.nan,
        lambda values: float(np.quantile([v or 0 for v in values], 0.95)) if len(_known(values)) >= 20 else None,
    ],
    "06.2": [None, "2,610", 4319.9, 2562.2, 2568.9, 2217.2, 2823.2, 4922.1, 5969.0, 2.6097651695, 345.26, True],
    "06.3": [
        None,
        "left",
        ["left", "cut off"],
        ("left", "axis"),
        ("left", "too few"),
        ("left", "client"),
        ("right", "axis"),
        ("right", "cut off"),
        ("right", "too few"),
        ("right", "client"),
        ("cut off", "left"),
    ],
    "06.4": [
        lambda half_width, conversations, wanted: None,
        48,
        lambda half_width, conversations, wanted: math.ceil(conversations * half_width / wanted),
        lambda half_width, conversations, wanted: conversations * (half_width / wanted) ** 2,
        lambda half_width, conversations, wanted: int(conversations * (half_width / wanted) ** 2),
        lambda half_width, conversations, wanted: round(conversations * (half_width / wanted) ** 2),
        lambda half_width, conversations, wanted: 4 * conversations,
        lambda half_width, conversations, wanted: max(
            conversations, math.ceil(conversations * (half_width / wanted) ** 2)
        ),
        lambda half_width: half_width,
    ],
}
