"""The rooms: which module may import which. A lower layer knows nothing of a higher one, and there are no cycles."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import evalkit

PACKAGE = Path(evalkit.__file__).parent

# The rooms, lowest layer first. A module may import from lower layers and from its own room.
TRANSPORT = {"transport", "exchange", "connection", "dialling", "mishaps", "proxy", "redaction"}
CHARTED = {"chunks", "lengths", "timeline", "anatomy"}  # what only charts ask of a run file
PLOTS = {
    "plots", "plots_accuracy", "plots_latency", "plots_prompts", "plots_timeline", "plots_load", "plots_comparison",
    "findings", "style", "lettering",
}  # fmt: skip
STATISTICS = {
    *(
        "stats",
        "orderstatistics",
        "clusters",
        "samples",
        "intervals",
        "bootstrap",
        "redrawn",
        "paired",
        "corrections",
        "repeats",
    ),
    *("sequential", "power", "agreement", "survival"),
}
COMMANDS = {path.stem for path in PACKAGE.glob("*.py") if path.stem.startswith(("cli", "console"))} | {
    "flags",
    "sparklines",
    "usage",
}
SCRIPTED = {"scripted"}  # the server that knows the truth, which only the calibration asks
LAYERS = [
    [{"errors"}, {"conversation"}, {"heap"}, {"words"}, {"outcome"}],
    [{"forks"}, {"interrupts"}, {"code_version"}, {"standard_streams"}],
    [
        {"record"},
        {"bounds"},
        STATISTICS,
        {"slo"},
        {"outputs"},
        {"keys"},
        {"snippets"},
        {"origin"},
        {"numbers", "markers", "asides", "units", "dates"},
        {"patterns"},
        {"scripts"},
        {"values"},
        {"model_names"},
    ],
    [
        {"wire", "parts", "sse", "failures", "buffering", "provenance"},
        {"messages"},
        {"tool_functions"},
        {"datasets", "lines", "rows", "shapes", "sheets"},
        {"scorers", "scorer", "text_scorers", "letters", "date_scorer", "similarity_scorers", "limit_scorers"}
        | {"data_scorers", "calls", "schemas", "functions"},
        {"ruling"},
        {"pacing", "arrivals", "budget", "gate", "knee"},
        {"concessions", "unconfirmed"},
        {"local", "modelfile", "fetchbar", "toolfront"},
    ],
    [
        {"endpoint"},
        {"rubric"},
        {"settings"},
        {"prices"},
        {"trust"},
        {"until"},
    ],
    [{"store", "schema", "disk", "done", "filenames", "reader", "integrity", "contents", "resumption"}],
    [
        TRANSPORT,
        {
            "measures",
            "tagged",
            "sketch",
            "verdicts",
            "conversations",
            "standings",
            "times",
            "columns",
            "sessions",
            "costs",
            "answering_models",
            "ignored_parameters",
            "caveats",
        }
        | CHARTED,
        {"steps", "loadaccuracy"},
        {"writer", "scoring_thread", "rescoring", "scorings", "retraction"},
        {"exports", "turnrows", "transcripts", "reportturns"},
        {"schedule", "source"},
        {"spool"},
        {"spending"},
    ],
    [{"comparison", "effects", "pairing", "strata", "sides", "flips", "wording"}],
    [{"dialogue"}, {"tables"}, PLOTS, {"gates", "junit"}, {"planning"}],
    [{"report", "reportparts", "reportcomparison", "reportcharts", "markdown", "definitions", "elements"}, {"chat"}],
    [{"widgets", "livewidget", "browsewidget", "playgroundwidget", "livestate", "sidedoor", "widgetparts"}],
    [{"asking", "line", "surrender"}],
    [{"launch"}],
    [{"runner"}],
    [{"session"}],
    [{"run", "evaluation"}],
    [{"sweep"}, {"calibration"} | SCRIPTED, {"hearing", "judging", "pairwise", "labels"}],
    [COMMANDS],
    [{"__init__"}],
]


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "evalkit":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("evalkit.")}
    return found - {"__version__"}


@cache
def modules() -> dict[str, set[str]]:
    return {path.stem: imports_of(path) for path in PACKAGE.glob("*.py") if not path.stem.startswith("scripted")}


def test_every_module_has_a_room():
    known = {name for layer in LAYERS for room in layer for name in room}
    assert set(modules()) == known - SCRIPTED


def test_imports_go_downwards_or_stay_in_the_room():
    lower: set[str] = set()
    wrong = []
    for layer in LAYERS:
        for room in layer:
            wrong += [f"{name} imports {other}" for name in room - SCRIPTED for other in modules()[name] - lower - room]
        lower = lower.union(*layer)
    assert not wrong


def test_there_are_no_cycles():
    TopologicalSorter(modules()).prepare()


def test_the_scripted_server_shares_no_code_with_the_reader():
    for path in PACKAGE.glob("scripted*.py"):
        strangers = {name for name in imports_of(path) if not name.startswith("scripted")}
        assert strangers <= {"errors"}, path.name


def test_importing_evalkit_is_quick_because_it_loads_nothing_big():
    heavy = {"numpy", "scipy", "pandas", "matplotlib", "pyarrow", "rich", "openai", "orjson", "asyncio"}
    code = "import sys, evalkit; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert heavy.isdisjoint(loaded)


def test_at_most_thirty_public_names_and_all_of_them_exist():
    assert len(evalkit.__all__) <= 30
    for name in evalkit.__all__:
        assert getattr(evalkit, name) is not None
