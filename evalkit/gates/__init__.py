"""Limits that a run must keep, such as ``accuracy>=0.8``, and JUnit XML for build servers.

``gate_expression`` parses a gate, ``metrics`` lists what it can limit, ``gates`` checks a run. The values come from
``analysis``; the flags are in ``cli/gate_flags``. ``gates_file`` reads all limits of a project from one file; margins
of comparisons are in ``comparing``. Start with ``gates``.
"""

__all__ = ["gate_expression", "gates", "gates_file", "junit"]
