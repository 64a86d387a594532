"""From received to stored: messages between the two processes, the spool that survives a kill, commits in groups,
scores made on their own thread, answers taken back, and progress. Tables are in ``runfile/schema``. Start with
``writer``, then ``spool``.
"""

__all__ = [
    "cut_off_answers", "process_messages", "progress", "retracted_answers", "scoring_thread", "spool", "writer",
]  # fmt: skip
