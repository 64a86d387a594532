"""What belongs to the user's process rather than to a run: signals during a run, copies made by ``fork``, standard
streams whose readers have gone, API keys and certificates that the environment names, the installed official client,
the versions and the machine that a run file stores, and garbage collection kept out of timed code. The process that
sends the requests is in ``engine/asking``. Start with ``interrupts``.
"""

__all__ = [
    "about_session",
    "api_keys",
    "certificates",
    "forks",
    "gc_freeze",
    "interrupts",
    "official_client",
    "standard_streams",
]
