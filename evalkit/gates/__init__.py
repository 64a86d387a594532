"""Limits that a run must keep, such as ``accuracy>=0.8``, and JUnit XML for build servers.

What is measured comes from ``analysis``; flags are in ``cli/gate_flags``. Start with ``gates``.
"""

__all__ = ["gates", "junit"]
