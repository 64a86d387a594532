"""Load tests: a dataset run under rising load, step by step, until the endpoint is saturated.

``load_plan`` says which loads, ``sweep`` runs them, ``step`` measures one, ``saturation`` says when more load is of no
use, ``slo`` holds the service-level objectives, ``accuracy_over_load`` tests whether answers get worse. ``step_files``
finds the steps in a folder again, ``turn_times`` places their turns in time. Rates and slots themselves are in
``engine/pacing``. Start with ``sweep``.
"""

__all__ = ["accuracy_over_load", "load_plan", "slo", "step", "sweep"]
