"""Names of files that evalkit makes up: never one that is taken, never too long."""

import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest

from evalkit import Endpoint, EvalkitError, evaluate, load
from evalkit.cli.main import main
from evalkit.errors import RunFileError
from evalkit.judging import judge_run
from evalkit.runfile import file_names
from evalkit.scripted.server import Script, serve

SAME_SECOND = "import time; time.strftime = lambda *_: '20260101-120000'\n"
RUN = SAME_SECOND + "import sys; from evalkit.cli.main import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def same_second(monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda *_: "20260101-120000")


@pytest.fixture
def endpoint():
    with serve(Script()) as server:
        yield Endpoint(server.base_url, server.model)


def test_runs_of_one_second_get_numbers(sums, endpoint, same_second):
    runs = [evaluate(sums(1, 1), endpoint) for _ in range(3)]
    stem = f"sums-{endpoint.model}-20260101-120000"
    assert [run.path.name for run in runs] == [f"{stem}{n}.evalkit" for n in ("", "-2", "-3")]
    assert [run.info["name"] for run in runs] == [run.path.stem for run in runs]


def test_runs_of_one_second_in_threads(sums, endpoint, same_second):
    data, runs = sums(2, 1), []
    threads = [threading.Thread(target=lambda: runs.append(evaluate(data, endpoint))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({run.path for run in runs}) == 4
    assert all(len(run.turns()) == 2 for run in runs)


@pytest.mark.parametrize(
    "arguments", [["run", "sums.jsonl"], ["load", "sums.jsonl", "--concurrency", "1", "--per-step", "1"]]
)
def test_commands_of_one_second_in_processes(sums, endpoint, arguments):
    sums(1, 1)
    where = ["--base-url", endpoint.base_url, "--model", endpoint.model]
    command = [sys.executable, "-c", RUN, *arguments, *where]
    commands = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(3)]
    said = [each.communicate()[1] for each in commands]
    assert [each.returncode for each in commands] == [0] * 3, said
    assert len(list(Path("runs").iterdir())) == 3


def test_demos_of_one_second(endpoint, same_second, monkeypatch, capsys):
    monkeypatch.setattr("evalkit.endpoint.local_endpoint", lambda **_: nullcontext(endpoint))
    for _ in range(2):
        assert main(["demo"]) == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == [
        "demo-20260101-120000-2.evalkit", "demo-20260101-120000.evalkit",
    ]  # fmt: skip


def test_a_name_is_kept_from_other_processes_until_its_file_is_there(same_second):
    other = (
        SAME_SECOND
        + "from evalkit.runfile import file_names\nwith file_names.unused_run_file('demo') as path: print(path)"
    )
    with file_names.unused_run_file("demo") as path:
        found = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=True).stdout
    assert (path.name, found.strip()) == ("demo-20260101-120000.evalkit", "runs/demo-20260101-120000-2.evalkit")
    assert not list(Path("runs").iterdir())


def test_a_name_that_the_user_gave_is_never_made_another(sums, endpoint):
    for how in ({"name": "mine"}, {"out": "there.evalkit"}):
        evaluate(sums(1, 1), endpoint, **how)
        with pytest.raises(RunFileError, match="exists already"):
            evaluate(sums(1, 1), endpoint, **how)


def test_a_dataset_that_cannot_be_read_leaves_no_name_taken(endpoint, tmp_path, same_second):
    (tmp_path / "bad.jsonl").write_text("{}\n")
    for _ in range(2):
        with pytest.raises(EvalkitError):
            evaluate("bad.jsonl", endpoint)
    assert not list(Path("runs").iterdir())


def test_load_tests_of_one_second_get_folders_of_their_own(sums, endpoint, same_second):
    folders = [load(sums(1, 1), endpoint, concurrency=[1], per_step=1).folder.name for _ in range(2)]
    assert folders == [f"load-sums-{endpoint.model}-20260101-120000{n}" for n in ("", "-2")]


@pytest.mark.parametrize("letter", ["x", "ä", "語", "🙂"])
def test_long_names_are_cut_with_room_for_all_that_lies_beside(sums, endpoint, tmp_path, letter):
    named = evaluate(sums(1, 1), endpoint, name="語" * 300).path
    data = tmp_path / f"{letter * (240 // len(letter.encode()))}.jsonl"
    data.write_text(sums(1, 1).read_text())
    own = evaluate(data, endpoint).path
    with ExitStack() as stack:
        both = [stack.enter_context(file_names.new_run_file(data, "m" * 400)) for _ in range(2)]
    assert both[0] != both[1]
    for path in (named, own, *both):
        judges = f"{path.stem}.judge-123"
        for stem in (path.stem, judges):
            assert len(os.fsencode(f"{stem}-saved-20260101-120000.evalkit-spool-0")) <= 255
    assert judge_run.stem_of(own).name == own.stem


def test_names_that_are_cut_stay_apart():
    names = {file_names.shortened("a" * 300 + end) for end in ("", "b", "c")}
    assert len(names) == 3
    assert {len(name) for name in names} == {200}
    assert file_names.shortened("a" * 200) == "a" * 200


def test_a_name_of_the_users_that_leaves_no_room_is_refused_before_anything_is_asked(sums, endpoint, tmp_path):
    evaluate(sums(1, 1), endpoint, out=tmp_path / f"{'x' * 239}.evalkit")
    with pytest.raises(RunFileError, match="has 248 bytes, the maximum is 247: shorten it"):
        evaluate(sums(1, 1), endpoint, out=tmp_path / f"{'x' * 240}.evalkit")
