"""A test server with known answers, timing and faults, for tests, benchmarks and ``evalkit calibrate``.

It shares no code with ``client``, so that both cannot make the same mistake, and it never replaces a model. Start with
``script``, which describes what a server can do, then ``server``.
"""

__all__ = ["server"]
