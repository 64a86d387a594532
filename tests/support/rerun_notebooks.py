"""Run notebooks and write them back as they are committed.

    python tests/support/rerun_notebooks.py notebooks/03*.ipynb
    python tests/support/rerun_notebooks.py --record notebooks/01*.ipynb     # and records what it sends

Outputs are those of this run, except that exercises have none and widgets are left out: without its kernel a widget
shows an error, and the table beside it stays. What a reader is to predict is collapsed, and asserts are folded.

With ``--record`` the embedded model answers behind a recorder, and the recordings in ``tests/notebooks/recorded`` are
made again: ``make notebooks-recorded`` then runs the same notebooks without a model.
"""

import argparse
import base64
import contextlib
import copy
import io
import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

from evalkit.recorded import recorder

RECORDED = Path(__file__).parents[1] / "notebooks/recorded"
SET_UP = "endpoint.about()"  # in the cell that prints address and versions
KEPT = {"tags", "jupyter"}
WIDGET = "application/vnd.jupyter.widget-view+json"
PREDICT = "**Predict:**"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("paths", nargs="+", type=Path, metavar="NOTEBOOK")
    parser.add_argument("--record", action="store_true", help="make the recordings again")
    parsed = parser.parse_args()
    for path in parsed.paths:
        notebook = nbformat.read(path, as_version=4)
        before = copy.deepcopy(notebook)
        os.environ["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(path.resolve().parents[1]), os.environ.get("PYTHONPATH", "")])
        )
        with recorded(path) if parsed.record else contextlib.nullcontext():
            NotebookClient(
                notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
            ).execute()
        if parsed.record:  # readers see what the embedded endpoint is called, not the recorder
            keep_set_up(before, notebook)
        tidy(notebook)
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


@contextlib.contextmanager
def recorded(path):
    """What a notebook sends is recorded for the duration of the block."""
    RECORDED.mkdir(exist_ok=True)
    file = RECORDED / f"{path.stem}.jsonl"
    with recorder.recording(file, overwrite=True) as server:
        export(server)
        yield
    print(f"{file.name}: {file.stat().st_size / 1000:.0f} kB")


def export(server):
    """Name a server on this machine in the environment, as the command prints it."""
    os.environ["SERVICE_HOST"] = server.base_url.removesuffix("/v1")
    os.environ["ASSISTANT_ID"] = server.model
    os.environ["TASKINGAI_API_KEY"] = os.environ[server.key_env]


def keep_set_up(before, notebook):
    for old, new in zip(before.cells, notebook.cells, strict=True):
        if SET_UP in new.source:
            new.outputs = old.outputs


def tidy(notebook):
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    predicted = False
    for cell in notebook.cells:
        cell.metadata = {name: value for name, value in cell.metadata.items() if name in KEPT}
        if cell.cell_type == "markdown":
            predicted = PREDICT in cell.source
            continue
        tags = cell.metadata.get("tags", [])
        if "exercise" in tags:
            cell.outputs, cell.execution_count = [], None
        cell.outputs = _joined([output for output in cell.outputs if WIDGET not in output.get("data", {})])
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = _with_few_colours(output.data["image/png"])
            output.metadata = {} if "metadata" in output else output.get("metadata", {})
            if output.output_type not in ("display_data", "execute_result"):
                output.pop("metadata", None)
        folds = {name: True for name, wanted in _folds(tags, predicted, cell) if wanted}
        cell.metadata.pop("jupyter", None)
        if folds:
            cell.metadata["jupyter"] = folds
        predicted = predicted and not cell.outputs
    count = 0
    for cell in notebook.cells:
        if cell.cell_type == "code" and "exercise" not in cell.metadata.get("tags", []):
            count += 1
            cell.execution_count = count
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = count


def _joined(outputs):
    """The outputs, with what was printed in pieces in one."""
    kept = []
    for output in outputs:
        if kept and output.output_type == kept[-1].output_type == "stream" and output.name == kept[-1].name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def _with_few_colours(png):
    """A picture of 256 colours, which charts do not exceed visibly, in less than half the bytes."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    written = io.BytesIO()
    picture.quantize(256, dither=Image.Dither.NONE).save(written, "png", optimize=True)
    return base64.b64encode(written.getvalue()).decode() + "\n"


def _folds(tags, predicted, cell):
    yield "source_hidden", "assert" in tags
    yield "outputs_hidden", predicted and bool(cell.outputs)


if __name__ == "__main__":
    main()
