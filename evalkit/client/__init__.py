"""One HTTP exchange, accurately timed: request bodies, connections and proxies, streams, answers and errors of every
form. Every read is stamped before it is decoded. Retries, rates and histories are in ``engine``. Start with
``transport``; ``answer_reader`` turns bytes into an answer without a socket.
"""

__all__ = [
    "connection",
    "connection_setup",
    "error_answers",
    "error_events",
    "exchange",
    "lenient_http",
    "model_names",
    "origin",
    "proxy",
    "quoting",
    "redaction",
    "refusals",
    "request_as_code",
    "request_body",
    "request_head",
    "sse",
    "transport",
]
