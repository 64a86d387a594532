"""Files beside run files: written whole, and never over what evalkit did not write itself."""

import os
import signal
import subprocess
import sys
import threading
import zipfile

import pytest
from commands import evalkit
from comparing import said
from importing import EVAL
from runfiles import S, T, write

from evalkit.cli.main import main
from evalkit.errors import SettingsError
from evalkit.exporting.inspect_log import MARK
from evalkit.report.html_report import report
from evalkit.runfile import output_files

# an output of each kind: the arguments that write it, and the name of the file
COMMANDS = {
    "report": (["report", "RUN", "-o", "OUT"], "out.html"),
    "markdown": (["report", "RUN", "-o", "OUT"], "out.md"),
    "jsonl": (["export", "RUN", "--format", "jsonl", "-o", "OUT"], "out.jsonl"),
    "csv": (["export", "RUN", "--format", "csv", "-o", "OUT"], "out.csv"),
    "parquet": (["export", "RUN", "--format", "parquet", "-o", "OUT"], "out.parquet"),
    "junit": (["show", "RUN", "--junit", "OUT"], "out.xml"),
}
FLAGGED = [name for name in COMMANDS if name != "junit"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "d.jsonl"
    path.write_text('{"turns": [{"user": "a"}]}\n', encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory, data):
    path = write(tmp_path_factory.mktemp("run") / "r.evalkit", [S([T(f"c{n}", 1, score=1.0) for n in range(3)])])
    endpoint = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "params": {}}
    return said(path, endpoint=endpoint, dataset={"path": str(data), "turns": 3, "hash": "h"})


def names(folder):
    return [path.name for path in folder.iterdir()]


def make(name, run, out, *more):
    """The exit code of the command that writes this output."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    arguments = [{"RUN": str(run), "OUT": str(out)}.get(each, each) for each in COMMANDS[name][0]]
    try:
        return main([*arguments, *more])
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


@pytest.mark.parametrize("name", COMMANDS)
def test_an_earlier_output_is_written_over_only_when_asked_for(run, tmp_path, capsys, name):
    out = tmp_path / COMMANDS[name][1]
    assert make(name, run, out) == 0
    first = out.read_bytes(), out.stat().st_ino
    if name == "junit":  # a build writes it each time
        assert make(name, run, out) == 0
    else:
        assert make(name, run, out) == 2
        assert "exists already, an earlier " in (err := capsys.readouterr().err)
        assert "--overwrite" in err
        assert (out.read_bytes(), out.stat().st_ino) == first
        assert make(name, run, out, "--overwrite") == 0
    assert (out.read_bytes(), out.stat().st_ino != first[1]) == (first[0], True)
    assert names(tmp_path) == [out.name]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    "place", ["run", "copy", "log", "spool", "dataset", "other dataset", "text", "link", "hard link"]
)
def test_nothing_but_an_output_of_evalkit_is_ever_written_over(run, data, tmp_path, capsys, name, place):
    target = {
        "run": run, "copy": tmp_path / "backup.db", "log": tmp_path / "r.evalkit-wal",
        "spool": tmp_path / "r.evalkit-spool-0", "dataset": data, "other dataset": tmp_path / "rows.jsonl",
        "text": tmp_path / "notes.md", "link": tmp_path / "link.html", "hard link": tmp_path / "hard.html",
    }[place]  # fmt: skip
    match place:
        case "copy":
            target.write_bytes(run.read_bytes())
        case "log" | "spool":
            target.write_bytes(b"x")
        case "other dataset":
            target.write_bytes(data.read_bytes())
        case "text":
            target.write_text("# Notes\n\nevalkit report\n", encoding="utf-8")
        case "link":
            target.symlink_to(run)
        case "hard link":
            target.hardlink_to(data)
    before = target.read_bytes()
    for more in ([],) if name == "junit" else ([], ["--overwrite"]):
        assert make(name, run, target, *more) == 2
        err = capsys.readouterr().err
        assert str(target) in err
        assert "another name" in err
    assert target.read_bytes() == before


def inspect_log(run, path, *more):
    return evalkit("export", run, "--format", "inspect", "-o", path, *more)


def replaced(run, path):
    """Whether ``--overwrite`` writes another log for inspect over this file; if not, the file is as before."""
    before = path.read_bytes()
    done = inspect_log(run, path)
    assert (done.returncode, path.read_bytes()) == (2, before)
    known = "exists already, an earlier export" in done.stderr
    done = inspect_log(run, path, "--overwrite")
    assert (done.returncode == 0, "evalkit did not write it" not in done.stderr) == (known, known)
    assert known or path.read_bytes() == before
    return known


def entries(path, count, comment=b"", last="header.json", of_zip=b"", first="samples/0.json"):
    """A zip of tiny files; ``comment`` is that of the last one."""
    with zipfile.ZipFile(path, "w") as log:
        for name in (first, *(f"samples/{number}.json" for number in range(1, count - 1)), last):
            log.writestr(zipfile.ZipInfo(name), b"{}")
        log.infolist()[-1].comment, log.comment = comment, of_zip
    return path


@pytest.mark.parametrize(
    ("count", "mark"),  # from 65,536 on, the records of zip64 are before the end; older logs have the mark of the zip
    [(3, {"of_zip": MARK}), (65_535, {"comment": MARK}), (65_536, {"comment": MARK}), (65_536, {"of_zip": MARK})],
)
def test_a_log_for_inspect_is_an_output_whatever_its_number_of_files(run, tmp_path, count, mark):
    path = entries(tmp_path / "x.eval", count, **mark)
    assert (b"PK\x06\x06" in path.read_bytes()[-120:]) == (count > 65_535)
    assert replaced(run, path)
    with zipfile.ZipFile(path) as log:
        assert len(log.namelist()) == 5


def test_a_log_for_inspect_is_an_output_whatever_its_size(run, tmp_path, monkeypatch):
    path = tmp_path / "x.eval"
    many = write(tmp_path / "many.evalkit", [S([T(f"c{n}", 1, score=1.0) for n in range(30)])])
    assert inspect_log(said(many, endpoint={"model": "m"}), path).returncode == 0
    with zipfile.ZipFile(path) as log:
        header = log.infolist()[-1]
    assert header.filename == "header.json"
    assert header.file_size < header.header_offset / 2
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", header.header_offset - 1)  # 2 GiB
    assert inspect_log(many, path, "--overwrite").returncode == 0
    monkeypatch.undo()
    assert b"header.json\x01\0\x08\0" in path.read_bytes()[-150:]
    assert replaced(run, path)


@pytest.mark.parametrize(
    "other",
    [
        {}, {"comment": b"evalkits"}, {"comment": MARK, "last": "footer.json"}, {"comment": MARK, "of_zip": b"mine"},
        {"of_zip": b"an evalkit"}, {"of_zip": b"evalkit "}, {"comment": MARK, "first": "a", "count": 2},
        {"comment": b"header.json" + MARK + b"PK\x05\x06" + b"x" * 18},
    ],
)  # fmt: skip
def test_another_zip_is_none(run, tmp_path, other):
    assert not replaced(run, entries(tmp_path / "x.eval", **({"count": 3} | other)))


def test_a_log_of_inspect_itself_is_none(run, tmp_path):
    path = tmp_path / "x.eval"
    path.write_bytes(EVAL.read_bytes())
    assert not replaced(run, path)


def test_a_name_that_a_run_may_take_is_none_for_an_output(run, tmp_path):
    for name in ("new.evalkit", "new.evalkit-spool-1", "new.evalkit-shm"):
        with pytest.raises(SettingsError, match="is the name of a run file"):
            output_files.check(tmp_path / name, output_files.REPORT)
    output_files.check(tmp_path / "r.evalkit.csv", output_files.EXPORT)


def test_a_junit_file_replaces_no_other_output_and_none_of_another_tool(run, tmp_path):
    out = tmp_path / "out.html"
    assert make("report", run, out) == 0
    assert make("junit", run, out) == 2
    out = tmp_path / "pytest.xml"
    out.write_text('<?xml version="1.0"?><testsuites><testsuite name="pytest"/></testsuites>', encoding="utf-8")
    assert make("junit", run, out) == 2
    assert "pytest" in out.read_text(encoding="utf-8")


def test_an_empty_file_holds_nothing_that_could_be_lost(run, tmp_path):
    out = tmp_path / "made-by-mktemp"
    out.touch(mode=0o600)
    assert make("csv", run, out) == 0
    assert out.read_bytes().startswith(b"conversation,")
    assert out.stat().st_mode & 0o777 == 0o600  # the rights of the file that it replaces


def test_a_link_to_an_output_stays_a_link(run, tmp_path):
    (tmp_path / "deep").mkdir()
    link, target = tmp_path / "latest.csv", tmp_path / "deep" / "out.csv"
    link.symlink_to(target)  # leads nowhere yet
    assert make("csv", run, link) == 0
    assert make("csv", run, link, "--overwrite") == 0
    assert link.is_symlink()
    assert target.read_bytes().startswith(b"conversation,")
    assert names(tmp_path / "deep") == ["out.csv"]


@pytest.mark.parametrize("name", ["jsonl", "csv", "junit"])
@pytest.mark.parametrize("where", ["/dev/stdout", "file", "fifo"])
def test_pipes_and_devices_are_written_as_they_are(run, tmp_path, name, where):
    if where == "fifo":
        out = tmp_path / "pipe"
        os.mkfifo(out)
        got = []
        reader = threading.Thread(target=lambda: got.append(out.read_bytes()))
        reader.start()
        assert make(name, run, out) == 0
        reader.join(10)
        (content,) = got
    else:
        arguments = [{"RUN": str(run), "OUT": "/dev/stdout"}.get(each, each) for each in COMMANDS[name][0]]
        with (tmp_path / "to").open("wb") as to:
            done = subprocess.run(
                [sys.executable, "-m", "evalkit.cli", *arguments], stdout=to if where == "file" else subprocess.PIPE,
                stderr=subprocess.PIPE, check=False,
            )  # fmt: skip
        assert done.returncode == 0, done.stderr
        content = (tmp_path / "to").read_bytes() if where == "file" else done.stdout
    begin = {"jsonl": b'{"conversation":', "csv": b"conversation,", "junit": b"<?xml"}
    assert begin[name] in content
    if (name, where) == ("junit", "file"):  # behind what the command shows
        assert content.startswith(b"d.jsonl against m")


def stopped(out):
    with output_files.writing(out, output_files.EXPORT) as draft:
        draft.write_bytes(b"half")
        raise KeyboardInterrupt


def test_what_cannot_be_finished_leaves_the_old_file_and_no_draft(run, tmp_path):
    out = tmp_path / "out.csv"
    assert make("csv", run, out) == 0
    before = out.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        stopped(out)
    # a disk that takes no more in the middle of it
    limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh", sys.executable, "-m", "evalkit.cli"]
    done = subprocess.run(
        [*limited, "export", run, "--format", "csv", "-o", out, "--overwrite"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"error: {out} cannot be written: File too large" in done.stderr
    assert (out.read_bytes(), names(tmp_path)) == (before, ["out.csv"])


def test_a_new_file_has_the_rights_that_the_user_wants(run, tmp_path):
    before = os.umask(0o027)
    try:
        assert make("csv", run, tmp_path / "out.csv") == 0
    finally:
        os.umask(before)
    assert (tmp_path / "out.csv").stat().st_mode & 0o777 == 0o640


def test_a_place_that_cannot_be_is_named(run, tmp_path, capsys):
    assert make("csv", run, tmp_path / "gone" / "out.csv") == 2
    assert f"there is no folder {tmp_path / 'gone'}" in capsys.readouterr().err
    assert make("csv", run, tmp_path) == 2
    assert "it is a folder" in capsys.readouterr().err
    assert make("csv", run, "/proc/out.csv") == 2
    assert "/proc/out.csv cannot be written" in capsys.readouterr().err


def test_the_dataset_of_a_new_run_is_no_place_for_its_junit_file(data, tmp_path, capsys):
    before = data.read_bytes()
    code = main(["run", str(data), "--junit", str(data), "--base-url", "http://127.0.0.1:9", "--model", "m"])
    assert (code, data.read_bytes()) == (2, before)
    assert "give the JUnit file another name" in capsys.readouterr().err


def test_python_writes_over_its_own_and_nothing_else(run, tmp_path):
    out, text = tmp_path / "out.html", tmp_path / "text.html"
    text.write_text("mine", encoding="utf-8")
    for _ in range(2):  # a cell of a notebook that is run again
        report([run], out)
    with pytest.raises(SettingsError, match="and evalkit did not write it"):
        report([run], text)
    with pytest.raises(SettingsError, match="exists already, an earlier "):
        report([run], out, overwrite=False)
    assert text.read_text(encoding="utf-8") == "mine"
    assert sorted(names(tmp_path)) == ["out.html", "text.html"]
