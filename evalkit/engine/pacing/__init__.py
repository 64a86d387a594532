"""When a request may go and whether it is sent again: slots, requests and tokens per minute, open-loop arrivals,
retries, answers that may be incomplete, and streams without a cause. How long a run continues is decided in
``stopping``. Start with ``slots`` and ``rate_limits``.
"""

__all__ = [
    "adaptive_slots",
    "arrivals",
    "incomplete_answers",
    "loading_wait",
    "minute_window",
    "pause",
    "rate_limits",
    "retries",
    "silent_streams",
    "slots",
]
