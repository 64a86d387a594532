"""Every command checks what it reads before it complains about what it would write."""

import pytest
from commands import evalkit
from runfiles import S, T, write

TAKEN = "not made by evalkit"
CASES = {
    "report": ["report", "bad.evalkit", "-o", "taken.html"],
    "report of two": ["report", "good.evalkit", "bad.evalkit", "-o", "taken.html"],
    "show": ["show", "bad.evalkit", "--junit", "taken.xml"],
    "resume": ["resume", "bad.evalkit", "--junit", "taken.xml"],
    "compare": ["compare", "good.evalkit", "bad.evalkit", "--allow", "accuracy -2%", "--junit", "taken.xml"],
    "export": ["export", "bad.evalkit", "-o", "taken.csv"],
    "plot": ["plot", "bad.evalkit", "-o", "taken.png"],
    "history": ["history", "bad.jsonl", ".", "-o", "taken.png"],
    "run": ["run", "bad.jsonl", "--junit", "taken.xml"],
    "load": ["load", "bad.jsonl", "-o", "taken.png"],
    "import": ["import", "bad.jsonl", "-o", "taken.evalkit"],
}


@pytest.mark.parametrize("arguments", CASES.values(), ids=CASES)
def test_what_is_wrong_with_an_input_is_said_first(tmp_path, arguments):
    write(tmp_path / "good.evalkit", [S([T("a", 1, score=1.0)])])
    for name in ("bad.evalkit", "bad.jsonl"):
        (tmp_path / name).write_text("no run, no dataset")
    for ending in ("html", "xml", "csv", "png", "evalkit"):
        (tmp_path / f"taken.{ending}").write_text(TAKEN)
    done = evalkit(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "bad." in done.stderr
    assert "taken" not in done.stderr
    assert all(path.read_text() == TAKEN for path in tmp_path.glob("taken.*"))
