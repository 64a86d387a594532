"""The house: which folder may import which. Nothing imports upwards, and there are no cycles."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import evalkit

PACKAGE = Path(evalkit.__file__).parent
MOST_AT_THE_TOP = 11
MOST_LINES = 420

NOUNS = {"errors", "conversation", "record", "endpoint", "settings"}
FREE = {"inputs", "process", "static_files"}  # values that people give, and what belongs to a process: needed anywhere

# Rooms, and what each may import beside itself, the nouns and what is free. A floor sees only the floors above it here.
FLOORS: list[dict[str, set[str]]] = [
    {"errors": set(), "conversation": set(), "static_files": set()},
    {"inputs": set(), "process": set(), "record": set()},
    {"stats": set(), "scripted": set(), "local": set(), "scorers/reading": set()},
    {"endpoint": {"local", "scripted"}, "scorers": {"scorers/reading"}, "engine/pacing": set()},
    {"client": {"scorers/reading"}, "datasets": {"scorers", "scorers/reading"}},
    {"settings": {"datasets", "scorers", "engine/pacing"}},
    {"checkup/probes": {"client"}},
    {"runfile": {"client", "datasets", "scorers", "scorers/reading", "checkup/probes"}},
    {"exporting": {"client", "datasets", "runfile"}},
    {
        "engine/stopping": {"engine/pacing", "stats"},
        "engine/saving": {"datasets", "runfile", "scorers", "engine/pacing"},
    },
    {
        "engine/asking": {
            *{"client", "datasets", "runfile", "scorers"},
            *{"engine/pacing", "engine/saving", "engine/stopping"},
        },
    },
    {"engine": {"runfile", "scorers", "engine/asking", "engine/saving", "engine/stopping"}},
    {"analysis/accuracy": {"runfile", "stats"}, "analysis/times": {"runfile", "stats"}, "wording": {"stats"}},
    {
        "analysis": {
            *{"client", "datasets", "runfile", "stats", "checkup/probes"},
            *{"engine/stopping", "analysis/accuracy", "analysis/times"},
        },
    },
    {
        "gates": {"analysis", "runfile", "stats", "wording"},
        "comparing": {"analysis", "runfile", "stats", "wording"},
        "rescoring": {"runfile", "scorers"},
    },
    {"run": {"analysis", "analysis/accuracy", "runfile", "rescoring"}},
    {
        "cluster": {
            *{"client", "runfile", "engine"},
            *{"engine/asking", "engine/pacing", "engine/saving", "engine/stopping"},
        },
    },
    {
        "evaluation": {
            *{"analysis", "client", "cluster", "runfile", "run", "scorers", "wording"},
            *{"engine", "engine/asking", "engine/saving"},
        },
    },
    {
        "judging": {
            *{"datasets", "engine", "engine/stopping", "evaluation", "run", "runfile"},
            *{"scorers", "scorers/reading", "stats"},
        },
        "loadtest": {
            *{"analysis", "datasets", "engine", "engine/pacing", "evaluation", "runfile", "stats", "wording"},
        },
        "replaying": {
            *{"client", "datasets", "runfile"},
            *{"engine/asking"},
        },
        "importing": {"client", "datasets", "exporting", "run", "runfile", "scorers"},
        "checkup": {
            *{"analysis", "client", "engine", "engine/asking", "evaluation", "runfile", "scripted", "stats"},
            "checkup/probes",
        },
        "recorded": {"client", "datasets", "local", "runfile", "engine/asking"},
    },
]
# may import all that is above, and of each other:
VIEWS = {"charts", "report", "viewer", "console", "widgets", "jupyterlab", "cli"}
AMONG_VIEWS = {
    "charts": set(),
    "console": set(),
    "report": {"charts"},
    "viewer": {"report"},
    "widgets": {"report"},
    "jupyterlab": {"report"},
    "cli": {"charts", "console", "report", "viewer"},
}
# Doors that show a result of theirs: they import a view in the very method that shows it, and nowhere else.
DOORS = {
    "run": {"charts", "console", "widgets"}, "evaluation": {"widgets"}, "loadtest": {"charts", "console"},
    "comparing": {"charts", "console"}, "analysis": {"console"}, "checkup": {"console"},
}  # fmt: skip


def room_of(module: str) -> str:
    parts = module.split(".")
    return "/".join(parts[:-1]) or parts[0]


@cache
def modules() -> dict[str, Path]:
    """The modules by their names below the package, such as ``engine.runner``."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts != ("__init__",):
            found[".".join(parts)] = path
    return found


@cache  # many tests look at every file
def imports_in(path: Path) -> list[tuple[str, bool]]:
    """What a file imports of the package when it runs, and whether it does so inside of a function."""
    return list(_imports_in(path, set(modules())))


def _imports_in(path: Path, known: set[str]) -> Iterator[tuple[str, bool]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    local = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    annotations = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and isinstance(branch.test, ast.Name) and branch.test.id == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if id(node) in annotations:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "evalkit":
            base = node.module.removeprefix("evalkit").lstrip(".")
            for alias in node.names:
                whole = f"{base}.{alias.name}".lstrip(".")
                if (name := whole if whole in known else base) and name in known:
                    yield name, id(node) in local
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if (name := alias.name.removeprefix("evalkit.")) in known:
                    yield name, id(node) in local


def wrong_imports(files: dict[str, Path]) -> list[str]:
    """What the house does not allow."""
    allowed: dict[str, set[str]] = {}
    above: set[str] = set()
    for floor in FLOORS:
        for room, rooms in floor.items():
            assert rooms <= above, f"{room} looks up: {rooms - above}"
            allowed[room] = {room, *rooms, *((NOUNS | FREE) & above)}
        above |= floor.keys()
    for room in VIEWS:
        allowed[room] = {room, *above, *AMONG_VIEWS[room]}
    wrong = []
    for name, path in files.items():
        room = room_of(name)
        for other, local in imports_in(path):
            if room_of(other) not in allowed[room] and not (local and room_of(other) in DOORS.get(room, ())):
                wrong.append(f"{name} imports {other}")
    return wrong


def test_every_folder_is_in_the_house():
    rooms = {room for floor in FLOORS for room in floor} | VIEWS
    assert {room_of(name) for name in modules()} == rooms


def test_nothing_imports_upwards():
    assert not wrong_imports(modules())


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("stats.paired", "from evalkit.runfile import store"),
        ("client.transport", "from evalkit.engine.asking.dialogue import drive"),
        ("analysis.measures", "from evalkit.charts.chart import Chart"),
        ("datasets.reader", "import evalkit.runfile.store"),
        ("run", "from evalkit.widgets import display"),
        ("wording.numbers", "from evalkit.analysis import measures"),
    ],
)
def test_an_import_upwards_is_found(tmp_path, name, line):
    changed = tmp_path / "changed.py"
    changed.write_text(modules()[name].read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    (found,) = wrong_imports({**modules(), name: changed})
    assert found.startswith(f"{name} imports ")


def graph(rooms: bool) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, path in modules().items():
        room = room_of(name)
        for other, local in imports_in(path):
            if local and room_of(other) in DOORS.get(room, ()):
                continue
            one, two = (room, room_of(other)) if rooms else (name, other)
            if one != two:
                found.setdefault(one, set()).add(two)
    return found


def test_there_are_no_cycles_between_files():
    TopologicalSorter(graph(rooms=False)).prepare()


def test_there_are_no_cycles_between_folders():
    TopologicalSorter(graph(rooms=True)).prepare()


def test_the_scripted_server_shares_no_code_with_the_client():
    for name, path in modules().items():
        if room_of(name) == "scripted":
            assert {room_of(other) for other, _ in imports_in(path)} <= {"errors", "scripted"}, name


def folders() -> list[Path]:
    return sorted({path.parent for path in PACKAGE.rglob("*.py")} - {PACKAGE})


def test_every_folder_says_what_lives_there():
    for folder in folders():
        said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
        assert said, folder
        assert len(said.split()) >= 25, f"{folder}: a paragraph says what lives here, what does not, where to start"


def test_other_folders_use_what_a_folder_opens_to_them():
    used: dict[str, set[str]] = {}
    for name, path in modules().items():
        for other, _ in imports_in(path):
            if room_of(other) != room_of(name) and "." in other:
                used.setdefault(room_of(other), set()).add(other.rpartition(".")[2])
    for folder in folders():
        room = "/".join(folder.relative_to(PACKAGE).parts)
        tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
        named = [node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"]
        assert (set(ast.literal_eval(named[0])) if named else set()) == used.get(room, set()), room


def test_files_are_short_and_the_top_is_small():
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_AT_THE_TOP
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert not {name: count for name, count in lines.items() if count > MOST_LINES}


def test_no_folder_hides_a_public_function():
    assert not {folder.name for folder in folders() if folder.parent == PACKAGE} & set(evalkit.__all__)


def test_every_module_can_be_imported():
    names = [module.name for module in pkgutil.walk_packages(evalkit.__path__, "evalkit.")]
    assert len(names) > 200
    for name in names:
        if not name.endswith("__main__"):
            importlib.import_module(name)


def test_importing_evalkit_is_quick_because_it_loads_nothing_big():
    heavy = {"numpy", "scipy", "pandas", "matplotlib", "pyarrow", "rich", "openai", "orjson", "asyncio"}
    code = "import sys, evalkit; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert heavy.isdisjoint(loaded)


def test_public_names_are_few_and_all_of_them_exist():
    assert len(evalkit.__all__) <= 40
    for name in evalkit.__all__:
        assert getattr(evalkit, name) is not None
