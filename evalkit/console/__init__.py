"""Text for a terminal: tables, small charts made of characters, progress.

One file per command's output; what strangers wrote is made plain in ``terminal``. Flags and exit codes are in
``cli``, sentences in ``wording``. Start with ``terminal``, then ``summary``.
"""

__all__ = ["compare", "judge", "load", "plan", "score", "summary", "terminal", "transcript"]
