"""``evalkit view``: a page on this machine over a folder of runs, their turns and conversations, side by side.

The page fetches rows and turns in pieces, so a million turns need no more memory than a screen of them. What a
conversation looks like is in ``report``, the numbers of a run are in ``analysis``. Start with ``server``, which decides
who is answered; ``run_folder`` and ``turn_list`` say what.
"""

__all__ = ["server"]
