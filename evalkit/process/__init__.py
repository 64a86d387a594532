"""What belongs to the user's process rather than to a run: signals during a run, copies made by ``fork``, standard
streams whose readers have gone, API keys in the environment, and garbage collection kept out of timed code. The
process that sends the requests is in ``engine/asking``. Start with ``interrupts``.
"""

__all__ = ["api_keys", "forks", "gc_freeze", "interrupts", "standard_streams"]
