"""What an endpoint and this client do when they are examined, rather than what a model answers.

Today: the bias of the client's own times against a server that knows the truth, for ``evalkit calibrate``. Start with
``client_bias``.
"""

__all__ = ["client_bias"]
