"""One load after another against an endpoint, until it gives no more: steps, service-level objectives, and whether
answers get worse. Rates and slots themselves are in ``engine/pacing``. Start with ``sweep``.
"""

__all__ = ["accuracy_over_load", "slo", "step", "sweep"]
