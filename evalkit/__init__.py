"""Teaches and measures any OpenAI-compatible chat-completion endpoint.

>>> import evalkit as ek
>>> with ek.local_endpoint() as endpoint:  # doctest: +SKIP
...     run = ek.evaluate("data/primary_math.jsonl", endpoint, name="demo", concurrency=4)
>>> run.summary()  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from evalkit import errors

__version__ = "0.1.0"

# Imported when first used, so that `import evalkit` and `evalkit --help` are quick.
_HOMES = {
    "compare": "comparing.comparison",
    "history": "comparing.history",
    "Answer": "record",
    "Conversation": "conversation",
    "Message": "conversation",
    "ScorerSpec": "conversation",
    "ToolCall": "conversation",
    "Turn": "conversation",
    "Endpoint": "endpoint",
    "connect": "endpoint",
    "local_endpoint": "endpoint",
    "DatasetError": "errors",
    "EndpointError": "errors",
    "EvalkitError": "errors",
    "InputError": "errors",
    "LocalError": "errors",
    "MissingExtra": "errors",
    "RunFileError": "errors",
    "SettingsError": "errors",
    "check": "gates.gates",
    "check_endpoint": "checkup.endpoint_check",
    "import_run": "importing.import_run",
    "judge": "judging.judging",
    "rank_judged": "judging.judged_ranks",
    "Run": "run",
    "browse": "widgets.display",
    "controls": "widgets.controls",
    "converse": "evaluation",
    "evaluate": "evaluation",
    "resume": "evaluation",
    "from_curl": "replaying.pasted_curl",
    "plan": "analysis.sample_size",
    "runs": "analysis.run_list",
    "score": "rescoring",
    "corrected_rate": "stats.corrected_rate",
    "Sweep": "loadtest.sweep",
    "load": "loadtest.sweep",
    "recorded_endpoint": "recorded.player",
    "playground": "widgets.display",
}

if TYPE_CHECKING:
    from evalkit.analysis.run_list import runs
    from evalkit.analysis.sample_size import plan
    from evalkit.checkup.endpoint_check import check_endpoint
    from evalkit.comparing.comparison import compare
    from evalkit.comparing.history import history
    from evalkit.conversation import Conversation, Message, ScorerSpec, ToolCall, Turn
    from evalkit.endpoint import Endpoint, connect, local_endpoint
    from evalkit.errors import (
        DatasetError,
        EndpointError,
        EvalkitError,
        InputError,
        LocalError,
        MissingExtra,
        RunFileError,
        SettingsError,
    )
    from evalkit.evaluation import converse, evaluate, resume
    from evalkit.gates.gates import check
    from evalkit.importing.import_run import import_run
    from evalkit.judging.judged_ranks import rank_judged
    from evalkit.judging.judging import judge
    from evalkit.loadtest.sweep import Sweep, load
    from evalkit.record import Answer
    from evalkit.recorded.player import recorded_endpoint
    from evalkit.replaying.pasted_curl import from_curl
    from evalkit.rescoring import score
    from evalkit.run import Run
    from evalkit.stats.corrected_rate import corrected_rate
    from evalkit.widgets.controls import controls
    from evalkit.widgets.display import browse, playground

__all__ = [
    "Answer",
    "Conversation",
    "DatasetError",
    "Endpoint",
    "EndpointError",
    "EvalkitError",
    "InputError",
    "LocalError",
    "Message",
    "MissingExtra",
    "Run",
    "RunFileError",
    "ScorerSpec",
    "SettingsError",
    "Sweep",
    "ToolCall",
    "Turn",
    "browse",
    "check",
    "check_endpoint",
    "compare",
    "connect",
    "controls",
    "converse",
    "corrected_rate",
    "evaluate",
    "from_curl",
    "history",
    "import_run",
    "judge",
    "load",
    "local_endpoint",
    "plan",
    "playground",
    "rank_judged",
    "recorded_endpoint",
    "resume",
    "runs",
    "score",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'evalkit' has no attribute {name!r}")
    if _HOMES[name] != "errors":
        errors.check_platform()
    value = getattr(import_module(f"evalkit.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
