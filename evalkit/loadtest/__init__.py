"""Load tests: a dataset run under rising load, step by step, until the endpoint is saturated.

``load_plan`` says which loads, ``sweep`` runs them, ``step`` measures one, ``slo`` holds the service-level objectives,
``accuracy_over_load`` tests whether answers get worse. Rates and slots themselves are in ``engine/pacing``. Start with
``sweep``.
"""

__all__ = ["accuracy_over_load", "load_plan", "slo", "step", "sweep"]
