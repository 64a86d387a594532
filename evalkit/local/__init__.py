"""The embedded endpoint: SmolLM2-135M-Instruct on llama.cpp's server, in a process of its own, on loopback.

Its model file, the download, and the front that makes required function calls possible. Users start it with
``endpoint.local_endpoint``. Start with ``server``.
"""

__all__ = ["server"]
