"""From received to stored: messages between the two processes, the spool that outlives a kill, commits in groups,
scores on a thread of their own, and the progress counted from them. Tables are in ``runfile/schema``. Start with
``writer``, then ``spool``.
"""

__all__ = ["half_answers", "process_messages", "progress", "scoring_thread", "spool", "writer"]
