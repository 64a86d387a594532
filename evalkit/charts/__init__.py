"""Charts of runs on matplotlib axes.

Each chart states its finding, its numbers and what is missing; nothing is measured here. ``catalogue`` lists all
charts and is what other folders use; ``chart`` has their base class, ``style`` their look. To add a chart: one class,
and its entry in ``catalogue``.
"""

__all__ = ["accuracy", "catalogue", "history", "safe_text"]
