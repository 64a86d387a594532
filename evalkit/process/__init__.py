"""What belongs to the user's process rather than to a run: signals while a run goes, copies made by ``fork``,
standard streams whose readers leave, API keys in the environment, and garbage collection kept away from timed
code. The process that sends the requests is in ``engine/asking``. Start with ``interrupts``.
"""

__all__ = ["api_keys", "forks", "gc_freeze", "interrupts", "standard_streams"]
