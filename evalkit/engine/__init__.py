"""A session of a run: it starts the asking process, stores what that process receives, and stops it.

``asking`` is what runs in that process, ``pacing`` decides when a request may go, ``stopping`` when no more are sent,
``saving`` brings answers into the run file. Users call ``evaluation`` and ``run``. Start with ``runner``.
"""

__all__ = ["child_process", "runner", "session_thread"]
