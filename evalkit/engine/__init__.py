"""A session of a run: it starts the asking process, keeps what that hands over, and stops it.

``asking`` holds what runs in that process, ``pacing`` when a request may go, ``stopping`` when no more do, ``saving``
how answers reach the run file. The doors for users are ``evaluation`` and ``run``. Start with ``runner``.
"""

__all__ = ["child_process", "runner", "session_thread"]
