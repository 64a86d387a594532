"""What runs in the asking process, which sends the requests and does nothing else: the schedule of what is still
missing, one dialogue per conversation, tool rounds, and the link to the parent. Nothing here writes the run file.
Start with ``dialogue``, then ``session``.
"""

__all__ = [
    "dataset_fingerprint",
    "dialogue",
    "event_loop",
    "readiness",
    "request_fallbacks",
    "request_sender",
    "schedule",
    "session_task",
    "single_conversation",
    "tool_functions",
]
