"""How fast a run is: quantiles by turn, times along the run and against prompt length, gaps between reads, one answer
read by read. Stamps are taken in ``client``; what the client itself may have added is in
``analysis/client_trust``. Start with ``quantiles``.
"""

__all__ = ["along_run", "by_prompt_length", "one_answer", "quantiles", "token_gaps"]
