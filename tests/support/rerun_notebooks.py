"""Run notebooks and write them back as they are committed.

    python tests/support/rerun_notebooks.py notebooks/03*.ipynb

Outputs are those of this run, except that exercises have none and widgets are left out: without its kernel a widget
shows an error, and the table beside it stays. What a reader is to predict is collapsed, and asserts are folded.
"""

import base64
import io
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

KEPT = {"tags", "jupyter"}
WIDGET = "application/vnd.jupyter.widget-view+json"
PREDICT = "**Predict:**"


def main(paths):
    for path in map(Path, paths):
        notebook = nbformat.read(path, as_version=4)
        os.environ["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(path.resolve().parents[1]), os.environ.get("PYTHONPATH", "")])
        )
        NotebookClient(
            notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
        ).execute()
        tidy(notebook)
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


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
    main(sys.argv[1:])
