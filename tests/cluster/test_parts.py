"""A dataset that is split, with a run of each part: their tables are read as one."""

import re
from pathlib import Path

import pyarrow.parquet
import pytest
from commands import evalkit

import evalkit as ek
from evalkit.scripted.server import Arithmetic, Fault, Law, Script, serve

DOCUMENT = Path(ek.__file__).parent / "docs" / "cluster.md"
EVERY = {"scored": (Script(answer=Arithmetic(wrong=0.5), law=Law()), ()),
         "failed": (Script(answer=Arithmetic(), faults=[Fault("server_error", 1.0)]), ("--retries", "0")),
         "whole answers": (Script(answer=Arithmetic(), law=Law()), ("--no-stream",))}  # fmt: skip


@pytest.fixture
def tables(sums, tmp_path):
    """A folder with the tables of runs that differ in what they lack, and the runs."""
    (tmp_path / "tables").mkdir()
    runs = {}
    for name, (script, more) in EVERY.items():
        out = tmp_path / f"{name}.evalkit"
        with serve(script) as server:
            flags = ("--base-url", server.base_url, "--model", "scripted", "--out", out)
            evalkit("run", sums(4, 2), *flags, *more)
        done = evalkit("export", out, "-o", tmp_path / "tables" / f"{name}.parquet")
        assert done.returncode == 0, done.stderr
        runs[name] = ek.Run(out)
    return tmp_path, runs


def test_every_table_has_the_same_columns_of_the_same_types(tables):
    folder, _ = tables
    schemas = [pyarrow.parquet.read_schema(file) for file in (folder / "tables").iterdir()]
    assert len(schemas) == len(EVERY)
    assert all(schema.equals(schemas[0]) for schema in schemas)


def test_the_documented_lines_read_them_as_one(tables, monkeypatch, capsys):
    folder, runs = tables
    monkeypatch.chdir(folder)
    (lines,) = re.findall(r"```\n(import pyarrow.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    exec(lines, {})
    scores = [score for run in runs.values() for score in run.turns()["score"].dropna()]
    assert capsys.readouterr().out == f"{sum(scores) / len(scores):.1%} of {len(scores)} scored turns\n"
    assert 0 < sum(scores) < len(scores)
