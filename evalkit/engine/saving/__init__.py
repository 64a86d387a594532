"""From received to stored: messages between the two processes, the spool that outlives a kill, commits in groups,
scores on a thread of their own, and the progress counted from them. Tables are in ``runfile/schema``. Start with
``writer``, then ``spool``.
"""

__all__ = ["process_messages", "progress", "retracted_answers", "scoring_thread", "spool", "writer"]
