"""How an endpoint and this client behave, rather than what a model answers.

At present: the bias of the client's times, measured against a test server that records the true times, for
``evalkit calibrate``. Start with ``client_bias``.
"""

__all__ = ["client_bias"]
