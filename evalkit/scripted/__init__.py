"""A test server whose answers, timing and faults are known, for tests, benchmarks and ``evalkit calibrate``.

It shares no code with ``client``, so that the two cannot be wrong together; it is no model, and never stands in for
one. Start with ``script``, which says what a server can be given, then ``server``.
"""

__all__ = ["server"]
