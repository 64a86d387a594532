"""Text for a terminal: tables, small charts made of characters, the progress line; and the same as HTML in a notebook.

One file for the output of each command; ``terminal`` holds what they share and makes text from strangers plain. Flags
and exit codes are in ``cli``, sentences in ``wording``. Start with ``terminal``, then ``summary``.
"""

__all__ = [
    "check",
    "compare",
    "dataset",
    "dry_run",
    "history",
    "import_answers",
    "judge",
    "load",
    "notebook_cell",
    "other_tools",
    "plan",
    "progress_line",
    "replay",
    "run_list",
    "score",
    "summary",
    "terminal",
    "transcript",
]
