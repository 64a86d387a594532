"""The times of a run: quantiles by turn, times along the run, by prompt length and by answer length, gaps between
reads, one answer read by read, and what other tools would make of them. Timestamps are taken in ``client``; what the
client itself may have added to a time is in ``analysis/client_trust``. Start with ``quantiles``.
"""

__all__ = ["along_run", "by_answer_length", "by_prompt_length", "one_answer", "other_tools", "quantiles", "token_gaps"]
