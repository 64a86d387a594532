"""Checks of values that users type or pass in: numbers within their bounds, addresses of endpoints, values that JSON
can represent, headers, and suggestions for mistyped names. The checks of dataset rows are in ``datasets``, those of
flags in ``cli``. Start with ``bounds``.
"""

__all__ = ["addresses", "bounds", "quantities", "request_headers", "secret_names", "suggestions"]
