"""Pictures of runs on matplotlib axes.

Each chart states its finding, its numbers and what is missing; nothing is measured here. ``catalogue`` lists every
chart and is what others use; how all of them look is in ``style``. To add a chart: one file, and its entry in
``catalogue``.
"""

__all__ = ["catalogue"]
