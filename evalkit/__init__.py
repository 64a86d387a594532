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
    "judge": "judging.judging",
    "Run": "run",
    "browse": "widgets.display",
    "converse": "evaluation",
    "evaluate": "evaluation",
    "resume": "evaluation",
    "plan": "analysis.sample_size",
    "Sweep": "loadtest.sweep",
    "load": "loadtest.sweep",
    "playground": "widgets.display",
}

if TYPE_CHECKING:
    from evalkit.analysis.sample_size import plan
    from evalkit.comparing.comparison import compare
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
    from evalkit.judging.judging import judge
    from evalkit.loadtest.sweep import Sweep, load
    from evalkit.run import Run
    from evalkit.widgets.display import browse, playground

__all__ = [
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
    "compare",
    "connect",
    "converse",
    "evaluate",
    "judge",
    "load",
    "local_endpoint",
    "plan",
    "playground",
    "resume",
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
