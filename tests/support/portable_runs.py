"""Run files without the paths of the machine that recorded them.

    python tests/support/portable_runs.py data/course/own_history.evalkit

The dataset's path becomes ``data/NAME``. A run file keeps its absolute path, so that ``evalkit resume`` finds it.
"""

import contextlib
import json
import sqlite3
import sys
from pathlib import Path


def make_portable(path):
    """Shorten the dataset's path in a run file, and drop the old one from its pages."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        (text,) = connection.execute("SELECT dataset FROM run").fetchone()
        dataset = json.loads(text)
        dataset["path"] = f"data/{Path(dataset['path']).name}"
        connection.execute("UPDATE run SET dataset = ?", (json.dumps(dataset),))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        make_portable(Path(name))
