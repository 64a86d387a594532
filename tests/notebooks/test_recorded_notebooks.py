"""Notebooks on recorded answers: every output is compared, also where nbval alone would ignore it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook, new_output

from evalkit.recorded.exchange import Exchange, Piece
from evalkit.recorded.recording_file import RecordingWriter

ROOT = Path(__file__).parents[2]
ASK = """\
import evalkit as ek
endpoint = ek.connect()
reply = endpoint.openai().chat.completions.create(model=endpoint.model, messages=[{"role": "user", "content": "Hi"}])
print(reply.id)"""
SET_UP = "import evalkit as ek\nendpoint = ek.connect()\nprint(endpoint.about())"


def cell(source, output):
    outputs = [new_output("stream", name="stdout", text=output)]
    metadata = {"tags": ["nbval-ignore-output"]}
    return new_code_cell(source, outputs=outputs, metadata=metadata, execution_count=1)


def test_an_output_that_differs_from_the_recording_fails_and_the_set_up_cell_does_not(tmp_path):
    notebooks, recorded = tmp_path / "notebooks", tmp_path / "tests/notebooks/recorded"
    notebooks.mkdir()
    recorded.mkdir(parents=True)
    shutil.copy(ROOT / "notebooks/conftest.py", notebooks)
    body = {"id": "recorded-1", "choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}]}
    request = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
    pieces = (Piece(0.0, json.dumps(body).encode()),)
    with RecordingWriter(recorded / "one.jsonl", "tiny") as writer:
        writer.add(Exchange("POST /chat/completions", request, 200, {"content-type": "application/json"}, pieces))
    cells = [cell(SET_UP, "another address\n"), cell(ASK, "recorded-1\n"), cell(ASK, "recorded-2\n")]
    nbformat.write(new_notebook(cells=cells), notebooks / "one.ipynb")
    command = [sys.executable, "-m", "pytest", "-q", "--nbval", "-p", "no:cacheprovider", "-c", os.devnull, "one.ipynb"]
    environment = {**os.environ, "NOTEBOOKS_RECORDED": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=notebooks, env=environment, capture_output=True, text=True, check=False)
    assert "1 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    assert "recorded-2" in done.stdout
