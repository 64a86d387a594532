"""Checks of values that users type or pass in: numbers within their bounds, values that JSON can represent, and
suggestions for mistyped names. The checks of dataset rows are in ``datasets``, those of flags in ``cli``. Start with
``bounds``.
"""

__all__ = ["bounds", "suggestions"]
