"""The embedded endpoint: SmolLM2-135M-Instruct on llama.cpp's server, in a process of its own, on loopback.

Its model file, the download, and the front that makes demanded function calls possible. ``endpoint.local_endpoint``
is its door. Start with ``server``.
"""

__all__ = ["server"]
