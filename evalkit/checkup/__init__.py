"""How an endpoint and this client behave, rather than what a model answers.

``endpoint_check`` sends the calls of all probes for ``evalkit check``, and its result is in ``checkup``; the probes
themselves are in ``probes``. ``local_servers`` finds servers for ``evalkit find``. ``client_bias`` compares the times
of the client with those of a test server, for ``evalkit calibrate``. Start with ``endpoint_check``.
"""

__all__ = ["checkup", "client_bias", "endpoint_check", "local_servers"]
