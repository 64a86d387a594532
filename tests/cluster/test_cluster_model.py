"""What the document says of large clusters is what the model gives for the measured costs."""

import subprocess
import sys
from pathlib import Path

import evalkit

ROOT = Path(__file__).parents[2]
DOCUMENT = Path(evalkit.__file__).parent / "docs" / "cluster.md"


def test_the_table_in_the_document_is_that_of_the_model():
    command = [sys.executable, ROOT / "tests/benchmarks/cluster_model.py"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout in DOCUMENT.read_text("utf-8")
