"""The form of the notebooks; that their cells run is for nbval to see (``make notebooks``)."""

import re
from pathlib import Path
from statistics import median

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
SOLUTIONS = sorted((FOLDER / "solutions").glob("*.ipynb"))
MOST_BYTES = 300_000
MOST_LINES, MOST_SHELL_LINES = 12, 32  # the guide's own commands are long
KEY = re.compile(
    r"(?<![\w-])(?:tk\w{8,}|sk-\w+|[\w-]{43}(?![\w-]))"  # TaskingAI's form, OpenAI's, that of the embedded endpoint
    r"|Bearer\s+(?!\$)\S+"
)
MACHINE = re.compile(r"(?<![\w.])/(?:work|root|home|tmp|Users|usr|var)/")
PICTURE = re.compile(r"!\[(.*?)\]\((.*?)\)")


@pytest.fixture(params=PATHS, ids=[path.stem for path in PATHS])
def notebook(request):
    return nbformat.read(request.param, as_version=4)


@pytest.fixture(params=[*PATHS, *SOLUTIONS], ids=lambda path: f"{path.parent.name}/{path.stem}")
def path(request):
    return request.param


def code(notebook, tag=None):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell for cell in cells if tag is None or tag in cell.metadata.get("tags", [])]


def prose(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def mimes(cell):
    return {mime for output in cell.outputs for mime in output.get("data", {})}


def shown(cell):
    """All text of a cell's outputs; pictures are not text."""
    data = [item for output in cell.outputs for item in output.get("data", {}).items()]
    texts = [str(value) for mime, value in data if mime != "image/png"]
    return "".join([output.get("text", "") for output in cell.outputs] + texts)


def test_the_readme_lists_every_notebook():
    listed = re.findall(
        r"^\| \[.*?\]\((\S+\.ipynb)\)", (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert listed == [path.name for path in PATHS]


def test_it_is_a_valid_notebook_without_traces_of_a_machine(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert all(set(cell.metadata) <= {"tags", "jupyter"} for cell in notebook.cells)
    assert path.stat().st_size < MOST_BYTES


def test_every_cell_but_the_exercises_was_run_once_in_order_and_none_failed(path):
    notebook = nbformat.read(path, as_version=4)
    exercises = code(notebook, "exercise")
    cells = [cell for cell in code(notebook) if cell not in exercises]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [cell.id for cell in exercises if cell.outputs or cell.execution_count]
    failed = [cell.id for cell in cells if any(output.output_type == "error" for output in cell.outputs)]
    assert failed == [cell.id for cell in code(notebook, "raises-exception")]
    assert not [cell.id for cell in cells if any(output.get("name") == "stderr" for output in cell.outputs)]


def test_it_has_the_length_and_the_shape_of_a_lesson(notebook):
    texts = prose(notebook)
    assert 25 <= len(notebook.cells) <= 45
    assert 2 * len(texts) >= len(notebook.cells)
    assert 30 <= median(len(text.split()) for text in texts) <= 60
    for cell in code(notebook):
        most = MOST_SHELL_LINES if cell.source.startswith("%%bash") else MOST_LINES
        assert len(cell.source.splitlines()) <= most, cell.id
    heads = re.findall(r"^#+ (.*)", "\n".join(texts), re.MULTILINE)
    exercises = [f"Exercise {number}" for number in range(1, 1 + len(code(notebook, "exercise")))]
    order = ["Set up", "Words to remember", "Questions", *exercises, "What next"]
    assert [head for head in heads if head in order] == order
    assert sum("**Predict:**" in text for text in texts) >= 4


def test_its_first_cell_says_what_comes_of_it_and_its_last_what_it_does_not_prove(notebook):
    first, last = notebook.cells[0].source, notebook.cells[-1].source
    assert re.match(r"# \d\d · \S", first)
    assert re.search(r"^> ", first, re.MULTILINE), "the headline result"
    assert "you can" in first
    assert re.search(r"About \d+ minutes. You need ", first)
    assert "## What next" in last
    assert "**What this does not prove.**" in last
    assert "endpoint.about()" in "".join(cell.source for cell in code(notebook)[:2])


def test_one_cell_holds_what_a_reader_may_change(notebook):
    assert len(code(notebook, "parameters")) == 1


def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)#]+)\)", "\n".join(prose(nbformat.read(path, as_version=4)))):
        assert link.startswith("https://") or (path.parent / link).exists(), link


def test_pictures_are_files_with_a_text_for_those_who_do_not_see_them(path):
    for text, file in PICTURE.findall("\n".join(prose(nbformat.read(path, as_version=4)))):
        assert len(text.split()) >= 8, text
        assert (path.parent / file).suffix == ".svg"


def test_nothing_is_installed_stored_or_embedded(path):
    for cell in code(nbformat.read(path, as_version=4)):
        assert not re.search(r"[!%]\s*(pip|conda|store)\b", cell.source), cell.id
        assert mimes(cell) <= {"text/plain", "text/html", "image/png", "application/json"}, cell.id
        assert "base64" not in cell.source + shown(cell), cell.id


def test_only_public_names_are_used(path):
    for cell in code(nbformat.read(path, as_version=4)):
        assert not re.search(r"(?:from|import) evalkit\.|\bek\.[a-z_]+\.|\._[a-z]", cell.source), cell.id


def test_no_key_and_no_path_of_a_machine_is_in_it(path):
    for cell in nbformat.read(path, as_version=4).cells:
        text = cell.source + (shown(cell) if cell.cell_type == "code" else "")
        assert not KEY.search(text), cell.id
        assert not MACHINE.search(text), cell.id


@pytest.mark.parametrize(
    "text",
    ["Bearer abc", "tkAbCdEfGhIjKlMn", "key sk-1", f"X={'aB3_-' * 8}xyz", "in /root/x", "File '/tmp/a'"],
)  # fmt: skip
def test_what_must_not_be_there_would_be_seen(text):
    assert KEY.search(text) or MACHINE.search(text)


def test_what_depends_on_a_model_or_a_clock_is_asserted_in_the_next_cell(notebook):
    cells = code(notebook)
    free = code(notebook, "nbval-ignore-output")
    assert free
    for cell in free:
        after = cells[cells.index(cell) + 1]
        assert "assert " in after.source, cell.id
        assert after not in free, after.id
    assert not [cell.id for cell in free if not cell.outputs and "widget" not in cell.metadata.tags]


def test_asserts_are_folded_and_say_why_they_are_there(notebook):
    cells = code(notebook, "assert")
    assert cells == [cell for cell in code(notebook) if re.search(r"^\s*assert ", cell.source, re.MULTILINE)]
    for cell in cells:
        assert cell.source.startswith("# In CI: "), cell.id
        assert cell.metadata.jupyter.source_hidden


def test_what_is_to_be_predicted_is_not_in_sight(notebook):
    predicted = False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            predicted = "**Predict:**" in cell.source
        elif predicted and cell.outputs:
            assert cell.metadata.get("jupyter", {}).get("outputs_hidden"), cell.id
            predicted = False


def test_a_chart_stands_beside_its_table(notebook):
    for cell in code(notebook):
        assert "image/png" not in mimes(cell) or "text/html" in mimes(cell) or shown(cell).count("\n") > 2, cell.id


def test_each_exercise_is_checked_where_it_is_edited_and_solved_in_a_notebook_of_its_own(notebook):
    number = notebook.cells[0].source[2:4]
    exercises = code(notebook, "exercise")
    assert 3 <= len(exercises) <= 5
    (solved,) = [nbformat.read(path, as_version=4) for path in SOLUTIONS if path.name.startswith(number)]
    solutions = code(solved, "solution")
    assert len(solutions) == len(exercises)
    for at, (exercise, solution) in enumerate(zip(exercises, solutions, strict=True), 1):
        call = exercise.source.splitlines()[-1]
        assert call.startswith(f'check("{number}.{at}", ')
        assert solution.source.splitlines()[-1] == call
        assert shown(solution) == "Right."
        text = notebook.cells[notebook.cells.index(exercise) - 1].source
        assert text.startswith(f"## Exercise {at}")
        assert text in prose(solved), "the solution repeats the exercise"
