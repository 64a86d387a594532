"""When a session stops sending requests: an accuracy known well enough, a spending cap reached, an endpoint that only
fails; and how a session can end. Ctrl-C is in ``process/interrupts``. Start with ``session_outcome``.
"""

__all__ = ["accuracy_goal", "giving_up", "session_outcome", "spending_caps"]
