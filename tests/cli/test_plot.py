"""``evalkit plot`` from the command line."""

import json
from pathlib import Path

import matplotlib as mpl
import pytest

mpl.use("agg")

import charted
from matplotlib import pyplot
from runfiles import S, T, talk, write

from evalkit.charts.chart import Chart
from evalkit.cli.main import main


def evalkit(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code and the text on both streams."""
    code = main(list(map(str, ["plot", *arguments])))
    told = capsys.readouterr()
    return code, told.out, told.err


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files without a picture in them, where only their names count."""
    monkeypatch.setattr(Chart, "save", lambda chart, path: path.touch())


def test_a_run_becomes_a_folder_of_pictures_each_with_its_finding(capsys, tmp_path: Path) -> None:
    run, folder = charted.run(tmp_path / "run.evalkit", conversations=12), tmp_path / "new" / "charts"
    code, out, err = evalkit(capsys, run, "-o", folder)
    assert (code, err) == (0, "")
    files = sorted(path.name for path in folder.iterdir())
    assert len(files) == 11
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in files)
    assert f"{folder}/timeline.png: 36 turns in" in out
    assert pyplot.get_fignums() == []


def test_json_tells_alt_texts_and_why_charts_are_missing(capsys, tmp_path: Path) -> None:
    run = write(tmp_path / "run.evalkit", [S([T("a", 1, ttft_ms=None, score=1.0)])], stream=False)
    code, out, err = evalkit(capsys, run, "-o", tmp_path / "charts", "--format", "svg", "--json")
    told = json.loads(out)
    assert (code, err, out.count("\n")) == (0, "", 1)
    drawn = {each["chart"]: each for each in told["drawn"]}
    assert set(drawn) == {"accuracy", "latency", "latency-distribution", "timeline"}
    assert drawn["accuracy"]["alt"].startswith("Accuracy: 100 % in turn 1. Accuracy over answered and scored turns: ")
    assert Path(drawn["accuracy"]["file"]).read_text(encoding="utf-8").lstrip().startswith("<?xml")
    missing = {each["chart"]: each["reason"] for each in told["missing"]}
    assert missing["tags"] == "No conversation of this run has a tag"
    assert missing["first-token-distribution"] == "TTFT is missing: no answer was streamed"
    assert missing["prompt-length"] == "No prompt length is known: the endpoint reported no prompt tokens (usage)"


def test_several_runs_have_folders_of_their_own_and_are_compared(capsys, tmp_path: Path, unrendered) -> None:
    talks = [talk(f"c{n}", targets=(1,)) for n in range(6)]
    files = [tmp_path / place / "same.evalkit" for place in ("x", "y")]
    for path, right in zip(files, (2, 5), strict=True):
        write(path, [S([T(f"c{n}", 1, score=float(n < right)) for n in range(6)])], talks)
    code, _, err = evalkit(capsys, *files, "-o", tmp_path / "charts")
    assert (code, err) == (0, "")
    made = {str(path.relative_to(tmp_path / "charts")) for path in (tmp_path / "charts").rglob("*.png")}
    assert {"same-1/accuracy.png", "same-2/accuracy.png", "same-2/differences.png", "same-2/flips.png"} < made
    assert "accuracy-latency.png" in made


def test_runs_that_cannot_be_compared_are_drawn_with_a_note(capsys, tmp_path: Path, unrendered) -> None:
    a = write(tmp_path / "a.evalkit", [S([T("a", 1, score=1.0)])])
    b = write(tmp_path / "b.evalkit", [S([T("b", 1, score=1.0)])])
    code, out, _ = evalkit(capsys, a, b, "-o", tmp_path / "charts")
    assert code == 0
    assert "not drawn: comparison: " in out
    assert "cannot be compared" in out


def test_bad_input_ends_with_2_and_says_what_to_do(capsys, tmp_path: Path) -> None:
    code, _, err = evalkit(capsys, tmp_path / "none.evalkit", "-o", tmp_path / "charts")
    assert code == 2
    assert "there is no run file" in err
    run = write(tmp_path / "run.evalkit", [S([T("a", 1, score=1.0)])])
    code, _, err = evalkit(capsys, run, "-o", run)
    assert code == 2
    assert "cannot be written" in err
    assert "Choose another folder" in err


@pytest.mark.parametrize("form", ["png", "svg"])
def test_earlier_charts_are_replaced_only_with_overwrite_and_other_pictures_never(capsys, tmp_path: Path, form) -> None:
    run, folder = write(tmp_path / "run.evalkit", [S([T("a", 1, score=1.0)])]), tmp_path / "charts"
    assert evalkit(capsys, run, "-o", folder, "--format", form)[0] == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    code, out, err = evalkit(capsys, run, "-o", folder, "--format", form)
    assert (code, out) == (2, "")
    assert "is a chart from before: add --overwrite, or choose another folder" in err
    assert evalkit(capsys, run, "-o", folder, "--format", form, "--overwrite")[0] == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before  # the same chart makes the same file
    pyplot.figure().savefig(folder / f"accuracy.{form}")
    pyplot.close()
    mine = (folder / f"accuracy.{form}").read_bytes()
    code, _, err = evalkit(capsys, run, "-o", folder, "--format", form, "--overwrite")
    assert (code, (folder / f"accuracy.{form}").read_bytes()) == (2, mine)
    assert "evalkit did not write it" in err


def test_every_chart_that_is_listed_is_there(capsys, tmp_path: Path, unrendered) -> None:
    """Numbered names meet names that end in a number, differ only in case, or are dots."""
    places = ["x/same", "y/same", "z/same-1", "z/same-2", "x/other", "y/Other", "x/..", "y/.."]
    files = [write_in(tmp_path / f"{place}.evalkit") for place in places]
    code, out, _ = evalkit(capsys, *files, "-o", tmp_path / "charts" / "in", "--json")
    assert code == 0
    listed = [each["file"] for each in json.loads(out)["drawn"]]
    there = {str(path) for path in (tmp_path / "charts" / "in").rglob("*.png")}
    assert len(listed) == len({name.casefold() for name in listed}) == len(there)
    assert set(listed) == there
    assert [path.name for path in (tmp_path / "charts").iterdir()] == ["in"]


def write_in(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    return write(path, [S([T("a", 1, score=1.0)])])
