"""What a probe sends to an endpoint, what came back byte for byte, and the verdict on it.

One file a subject: ``answers``, ``streams``, ``parameters``, ``tools``, ``errors``, ``connection``. A probe names the
calls it needs and a function that judges their replies; it sends nothing itself. Running them is in
``checkup.endpoint_check``. Start with ``probe``.
"""

__all__ = [
    "all_probes",
    "call",
    "client",
    "probe",
    "reply",
    "verdicts",
]
