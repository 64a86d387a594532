"""The table of docs/statistics.md against the code: every public function of ``stats`` is in it, with its tests."""

import ast
import re
from pathlib import Path

import evalkit

PACKAGE, TESTS = Path(evalkit.__file__).parent, Path(__file__).parent
MODULES = (
    *("estimate", "proportions", "quantiles", "means", "bootstrap", "paired", "multiple_tests", "repeats", "power"),
    *("anytime_interval", "survival", "corrected_rate", "prediction_powered", "ratios", "groups", "bradley_terry"),
    "stratified_labels",
)
PAGE = (PACKAGE / "docs" / "statistics.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `")]


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"]
    return {
        node.name for node in own if isinstance(node, ast.FunctionDef) or not node.decorator_list
    }  # no result types


def test_every_public_function_stands_in_the_table_and_nothing_else() -> None:
    files = [PACKAGE / "stats" / f"{module}.py" for module in MODULES]
    public = {f"{path.stem}.{name}" for path in files if path.exists() for name in functions(path)}
    assert {"proportions.proportion", "paired.difference", "repeats.pass_at_k"} < public
    assert [row[0].strip("`") for row in ROWS if row[0].strip("`") not in public] == []
    assert public - {row[0].strip("`") for row in ROWS} == set()


def test_every_row_names_a_source_and_a_test_that_exists() -> None:
    there = {name for path in TESTS.rglob("test_*.py") for name in functions(path)}
    for name, source, checked, *_ in ROWS:
        assert source, name
        tests = re.findall(r"`(test_\w+)`", checked)
        files = re.findall(r"`(test_\w+\.py)`", checked)
        assert tests or files or checked.startswith("as `"), name
        assert [each for each in tests if each not in there] == [], name
        assert all(any(TESTS.rglob(each)) for each in files), name
