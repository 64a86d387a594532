"""Run files from strangers: whatever is in them, a command says what is wrong or gives the right answer, and ends."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import hostile_runfiles as hostile
import pytest

import evalkit as ek
from evalkit.cli.main import Terminated, main
from evalkit.errors import RunFileError
from evalkit.runfile import migrations, reader
from evalkit.runfile.store import RunFile
from evalkit.scripted.server import Arithmetic, Script, serve

COMMANDS = {
    "show": ["show", "{0}"],
    "transcript": ["show", "{0}", "--conversation", "sum-1"],
    "export": ["export", "{0}", "--format", "csv", "-o", "out.csv", "--overwrite"],
    "compare": ["compare", "{good}", "{0}"],
    "score": ["score", "{0}", "--scorer", "includes"],
    "judge": ["judge", "{0}", "--base-url", "http://127.0.0.1:9/v1", "--model", "m"],
    "resume": ["resume", "{0}"],
    "report": ["report", "{0}", "-o", "out.html", "--overwrite"],
    "plan": ["plan", "{0}"],
}
ENDED_S = 20.0  # what hangs never ends; a busy machine is slow


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    data = folder / "sums.jsonl"
    turns = [[{"user": f"What is {c} + {t}?", "target": c + t} for t in (1, 2)] for c in range(3)]
    rows = [json.dumps({"id": f"sum-{c}", "turns": asked}) + "\n" for c, asked in enumerate(turns)]
    data.write_text("".join(rows), encoding="utf-8")
    with serve(Script(answer=Arithmetic())) as server:
        ek.evaluate(data, ek.Endpoint(server.base_url, "scripted"), out=folder / "good.evalkit")
        yield folder / "good.evalkit"


def run(name, path, good, capsys):
    """Exit code, what was said, and the seconds of processor time it took."""
    copy = Path(f"{name}.evalkit").resolve()
    shutil.copy(path, copy)
    began = time.process_time()
    code = main([part.format(copy, good=good) for part in COMMANDS[name]])
    return code, capsys.readouterr().err.replace("\n", " "), time.process_time() - began


@pytest.mark.parametrize("name", ["show", "score", "resume"])
def test_a_database_that_is_more_or_less_than_a_run_file_is_refused(name, good, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for path in hostile.make(good, tmp_path, hostile.SCHEMAS):
        code, said, took_s = run(name, path, good, capsys)
        assert code == 2, (path.stem, said)
        assert f"{name}.evalkit" in said, path.stem
        assert took_s < ENDED_S, path.stem


@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_run_file_with_values_that_cannot_be_is_refused_or_read(name, good, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    every = 4 if name in {"report", "resume", "judge"} else 1  # they take longer
    for path in hostile.make(good, tmp_path, dict(itertools.islice(hostile.VALUES.items(), 0, None, every))):
        code, said, took_s = run(name, path, good, capsys)
        assert code in ((2, 3) if name == "judge" else (0, 2)), (path.stem, said)
        if code == 2:
            assert f"{name}.evalkit" in said, path.stem
        assert took_s < ENDED_S, path.stem


def test_every_value_that_cannot_be_is_named_once_reading_it_has_failed(good, tmp_path):
    changes = {name: change for name, change in hostile.VALUES.items() if "UTF-8" not in name}  # SQLite says so itself
    for path in hostile.make(good, tmp_path, changes):
        wrong = reader.why_unreadable(path)
        assert str(path) in str(wrong), path.stem
    assert reader.why_unreadable(good) is None


def test_what_a_client_records_about_itself_in_another_form_is_named(good, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for path in hostile.make(good, tmp_path, hostile.TRUST):
        code, said, _ = run("show", path, good, capsys)
        assert code in (0, 2), (path.stem, said)
        assert "numbers about the client" in str(reader.why_unreadable(path)), path.stem
    for path in hostile.make(good, tmp_path, hostile.HARMLESS):
        assert reader.why_unreadable(path) is None, path.stem


def test_names_from_a_file_lead_nowhere(good, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for path in hostile.make(good, tmp_path, hostile.HARMLESS):
        for name in ("show", "export", "score", "resume"):
            assert run(name, path, good, capsys)[0] == 0, (name, path.stem)
    made = {path.name for path in tmp_path.iterdir() if path.stem not in {*COMMANDS, "out"}}
    assert made == {path.name for path in hostile.make(good, tmp_path, hostile.HARMLESS)}
    assert not (tmp_path / ".." / "elsewhere").exists()


def test_pages_that_lead_to_one_page_many_times_are_more_rows_than_fit(good, tmp_path):
    """Ten levels of pages, each of which leads three hundred times to the next: 300 to the power of 10 rows."""
    path = tmp_path / "r.evalkit"
    shutil.copy(good, path)
    with sqlite3.connect(path) as connection:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'attempt'").fetchone()
    connection.close()
    pages = path.stat().st_size // size
    content = bytearray(path.read_bytes())
    leaf = bytes(content[(root - 1) * size : root * size])
    levels = [root, *range(pages + 1, pages + 11)]
    content += bytes(10 * size)
    content[28:32] = (pages + 10).to_bytes(4)
    for page, child in itertools.pairwise(levels):
        content[(page - 1) * size : page * size] = _many_times(child, size)
    content[(levels[-1] - 1) * size :] = leaf
    path.write_bytes(content)
    with pytest.raises(RunFileError, match="its table attempt has more rows than fit into it"), reader.reading(path):
        pass


def _many_times(child, size, times=300):
    cells = b"".join(child.to_bytes(4) + bytes([0x81, 0x01]) for _ in range(times))
    start = size - len(cells)
    head = b"\x05\0\0" + times.to_bytes(2) + start.to_bytes(2) + b"\0" + child.to_bytes(4)
    places = b"".join((start + 6 * number).to_bytes(2) for number in range(times))
    return (head + places).ljust(start, b"\0") + cells


@pytest.mark.parametrize("error", [KeyboardInterrupt, Terminated])
def test_an_interrupt_ends_a_query_as_what_it_is(error, good):
    def interrupt(number, frame):
        raise error

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(error), reader.reading(good) as connection:
            connection.execute(f"{hostile.ENDLESS} SELECT max(x) FROM c").fetchone()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_interrupt_is_not_lost_to_who_reads_in_another_way(good):
    """A live view leaves out a look that fails, and an interrupt is no such failure."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with contextlib.closing(reader.open_to_read(good)) as connection:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(KeyboardInterrupt):
                connection.execute(
                    f"{hostile.ENDLESS.replace('FROM c)', 'FROM c LIMIT 3000000)')} SELECT max(x) FROM c"
                )
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_old_file_that_takes_without_end_to_bring_up_is_refused(tmp_path, monkeypatch):
    """A row with so many turns is parsed for each of them."""
    path = tmp_path / "r.evalkit"
    with monkeypatch.context() as then:
        then.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:1])
        parts = {"settings": {}, "dataset": {"path": "d"}, "endpoint": {"model": "m"}}
        RunFile.create(path, name="old", **parts).close()
    monkeypatch.setattr(reader, "_LIMIT_S", 0.3)
    count = 30_000
    row = json.dumps({"id": "c", "turns": [{"user": "?"}] * count})
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO conversation VALUES (0, 'c', 'hash', ?)", (row,))
        connection.executemany(
            "INSERT INTO turn (conversation, repeat, turn, status, attempts, token_source, session) "
            "VALUES (0, 1, ?, 'answered', 1, 'none', 1)",
            ((turn,) for turn in range(1, count + 1)),
        )
    connection.close()
    with pytest.raises(RunFileError, match="reading it takes much longer than its size allows"):
        reader.open_to_read(path)


def test_values_of_a_large_file_are_looked_at_when_reading_has_failed(good, tmp_path, monkeypatch):
    path = next(hostile.make(good, tmp_path, {"a score": hostile.VALUES["a score of text"]}))
    monkeypatch.setattr("evalkit.runfile.table_checks._SMALL", 0)
    with pytest.raises(
        RunFileError, match="the score of turn 1 of conversation number 1, repeat 1 has 'good' as its value"
    ):
        ek.Run(path).measures()


def test_a_fault_of_the_caller_stays_what_it_is(good):
    with pytest.raises(ValueError, match="mine"), reader.reading(good):
        raise ValueError("mine")


def test_a_good_file_is_checked_once_for_each_state_of_it(good, tmp_path, monkeypatch):
    path = tmp_path / "r.evalkit"
    shutil.copy(good, path)
    checked = []
    limits = reader.table_checks.limits_fault
    monkeypatch.setattr(reader.table_checks, "limits_fault", lambda *given: checked.append(given) or limits(*given))
    for _ in range(3):
        ek.Run(path).failures()
    assert len(checked) == 1
    os.utime(path, ns=(0, 0))
    ek.Run(path).failures()
    assert len(checked) == 2
