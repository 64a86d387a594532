"""When a session sends nothing more: an accuracy known well enough, a budget spent, an endpoint that only fails; and
how a session can end. Ctrl-C is in ``process/interrupts``. Start with ``outcome``.
"""

__all__ = ["accuracy_goal", "giving_up", "session_outcome", "spending_caps"]
