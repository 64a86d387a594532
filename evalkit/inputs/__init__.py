"""What people type and pass in, checked before it is used: numbers within their bounds, values that JSON can hold,
and what a mistyped name was meant to be. What a whole dataset row may hold is in ``datasets``, what a flag is in
``cli``. Start with ``bounds``.
"""

__all__ = ["bounds", "suggestions"]
