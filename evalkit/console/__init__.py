"""Text for a terminal: tables, small charts made of characters, the progress line.

One file for the output of each command; ``terminal`` holds what they share and makes text from strangers plain. Flags
and exit codes are in ``cli``, sentences in ``wording``. Start with ``terminal``, then ``summary``.
"""

__all__ = [
    "compare",
    "dataset",
    "history",
    "import_answers",
    "judge",
    "load",
    "plan",
    "progress_line",
    "run_list",
    "score",
    "summary",
    "terminal",
    "transcript",
]
