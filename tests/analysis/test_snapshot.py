"""One command shows a growing run in one state."""

import json
import re
import signal
import threading
from contextlib import contextmanager
from itertools import count

import junitparser
import pytest
from comparing import said
from records import finished
from runfiles import T, record, talk

from evalkit.analysis import tables
from evalkit.analysis.measures import measure, snapshot
from evalkit.analysis.terminal_sketch import sketch
from evalkit.charts import catalogue
from evalkit.cli.main import main
from evalkit.comparing.comparison import compare
from evalkit.gates import junit
from evalkit.record import Score
from evalkit.report import run_contents
from evalkit.run import Run
from evalkit.runfile.store import RunFile


class Growing:
    """A run file whose writer adds conversations of one turn, each third of them failed."""

    def __init__(self, path):
        settings = {"history": "own", "repeats": 1, "concurrency": 4, "stream": True}
        about = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "params": {}}
        dataset = {"path": "d.jsonl", "hash": "h", "turns": 10**6, "conversations": 10**6}
        self.path, self.numbers = path, count()
        self.file = RunFile.create(path, name=path.stem, settings=settings, dataset=dataset, endpoint=about)
        self.file.begin_session(0, {})

    def add(self, turns=30):
        done, scores = [], []
        for number in (next(self.numbers) for _ in range(turns)):
            turn = T(f"c{number}", 1, latency_ms=300.0 + number % 97, error="server" if number % 3 == 0 else None)
            done.append(finished(number, talk(turn.conversation, (35,)), record(turn)))
            if turn.error is None:
                scores.append((number, 1, 1, Score("number", float(number % 2))))
        self.file.add(done, scores)

    @contextmanager
    def steadily(self):
        ended = threading.Event()
        thread = threading.Thread(target=lambda: [self.add() for _ in iter(ended.is_set, True)])
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@pytest.fixture
def growing(tmp_path):
    run = Growing(tmp_path / "grow.evalkit")
    run.add()
    yield run
    run.file.close()


def readings(path, tmp_path):
    """How many turns each reading of a run finds: finished ones, or those that failed."""
    run, measured = Run(path), measure(path)
    out = tmp_path / "out"
    yield measured.all.turns
    yield len(tables.turns(path))
    yield tables.export(path, "jsonl", out / "x.jsonl")
    yield 3 * sum(number for _, _, number in run.failures())
    yield 3 * int(sketch(path).failed.sum())
    yield junit.write(path, out / "x.xml", measured)
    part = run_contents.read_run(path, drawn=False)
    yield part.result["turns"]
    yield part.transcripts.total
    yield catalogue.charts(path)["accuracy"].run.all.turns


def test_all_readings_in_a_block_are_of_one_state(growing, tmp_path):
    (tmp_path / "out").mkdir()
    found = []
    with snapshot(growing.path):
        for number in readings(growing.path, tmp_path):
            found.append(number)
            growing.add()
    assert found == [30] * len(found)
    assert set(readings(growing.path, tmp_path)) == {30 + 30 * len(found)}


def test_runs_are_compared_and_read_again_in_one_state(growing, tmp_path):
    other = Growing(tmp_path / "other.evalkit")
    other.add()
    with snapshot(growing.path, other.path):
        before = compare(growing.path, other.path)
        for run in (growing, other):
            run.add()
        assert compare(growing.path, other.path).contrasts[0].all == before.contrasts[0].all
        assert len(before.flips()) == 0
    other.file.close()


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_show_of_a_growing_run_is_of_one_state(growing, tmp_path, capsys, more):
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    xml = tmp_path / "out.xml"
    try:
        with growing.steadily():
            assert main(["show", str(growing.path), "--junit", str(xml), *more]) == 0
    finally:
        signal.signal(signal.SIGTERM, handlers[0])
        signal.signal(signal.SIGINT, handlers[1])
    out = capsys.readouterr().out
    (suite,) = junitparser.JUnitXml.fromfile(str(xml))
    if more:
        assert json.loads(out)["turns"] == suite.tests == len(list(suite))
        return
    answered, turns = map(int, re.search(r"^all +(\d+) of (\d+)", out, re.MULTILINE).groups())
    (spread,) = map(int, re.findall(r"latency, spread.*?(\d+) turns:", out))
    (line,) = map(int, re.findall(r"^(\d+) turns in", out, re.MULTILINE))
    assert (spread, line) == (answered, turns)
    assert suite.tests == len(list(suite)) == turns


def test_a_name_that_leads_to_the_same_file_is_the_same_run(growing, tmp_path):
    link = tmp_path / "link.evalkit"
    link.symlink_to(growing.path)
    with snapshot(growing.path):
        growing.add()
        assert measure(link).all.turns == 30
    assert measure(said(growing.path)).all.turns == 60
