"""When a request may go and whether it is sent again: slots, requests and tokens per minute, open-loop arrivals,
retries, and answers that may be incomplete. How long a run continues is decided in ``stopping``. Start with ``slots``
and ``rate_limits``.
"""

__all__ = ["adaptive_slots", "arrivals", "incomplete_answers", "rate_limits", "retries", "slots"]
