"""Sessions that are stopped, killed, frozen, forked or changed: no turn is lost, no process or lock is left behind."""

import contextlib
import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest
from commands import evalkit_process, flags

import evalkit as ek
from evalkit.engine.asking.schedule import Schedule
from evalkit.engine.asking.session_task import GRACE_S
from evalkit.errors import DatasetError, RunFileError
from evalkit.scripted.server import Arithmetic, Calling, Law, Script, serve
from evalkit.settings import Settings

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
pytestmark = pytest.mark.usefixtures("real_asking_process")
OWN = """
    import multiprocessing, os, sys, threading, time
    def slow(text, target):
        time.sleep(0.2)
        return True
    def never(text, target):
        threading.Event().wait()
    def forked(text, target):
        global pool
        if "pool" not in globals():
            pool = multiprocessing.get_context("fork").Pool(1)
        return True
    def leaves(text, target):
        sys.exit("not mine")
    def wanders(text, target):
        os.chdir("/")
        return True
    def half(text, target):
        from evalkit.scorers.scoring import Verdict
        return Verdict(1.0, "half a pair: \\ud83d", {"x": "\\ud83d"})
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text(textwrap.dedent(OWN), encoding="utf-8")


@pytest.fixture
def server():
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=20))) as running:
        yield running


def turns(path):
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT status, count(*) FROM turn GROUP BY 1 ORDER BY 1").fetchall()
    finally:
        connection.close()


def start(tmp_path, *arguments, **how):
    command = [sys.executable, "-m", "evalkit.cli", *map(str, arguments)]
    return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def scores(out):
    with contextlib.closing(sqlite3.connect(f"file:{out}?mode=ro", uri=True)) as file:
        return file.execute("SELECT count(*) FROM score").fetchone()[0]


def lock_is_free(out):
    """Whether nobody, and no copy of anybody, holds the run file."""
    try:
        with Path(f"{out}-lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        pass
    except BlockingIOError:
        return False
    return True


def searching(folder):
    """An environment in which Python looks for modules in a folder first."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))}


# --- interrupts


@pytest.mark.parametrize("scorer", ["own:slow", "own:never"])
def test_an_interrupt_does_not_wait_for_scorers_and_resume_scores_what_they_left(own, server, sums, tmp_path, scorer):
    out = tmp_path / "r.evalkit"
    run = start(tmp_path, "run", sums(100, 1), *flags(server), "--out", out, "--scorer", scorer, "--concurrency", 8)
    wait_for(lambda: server.stats()["requests"] >= 100)
    time.sleep(1)  # all is answered, and scoring has a long way to go
    run.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, said = run.communicate(timeout=30)
    assert run.returncode == 130
    assert time.monotonic() - began < 15  # scoring has 19 s to go
    assert said.splitlines()[0].startswith("stopping: no new requests, and those in flight have 5 s to end")
    assert turns(out) == [("answered", 100)]
    if scorer == "own:slow":
        (tmp_path / "own.py").write_text((tmp_path / "own.py").read_text().replace("sleep(0.2)", "sleep(0.0)"))
        refused = evalkit_process("resume", out, "--scorer", scorer, cwd=tmp_path)
        assert (refused.returncode, "and that function has changed" in refused.stderr) == (2, True)


def test_a_frozen_asking_process_does_not_keep_an_interrupt_from_ending_the_run(server, sums, tmp_path):
    out = tmp_path / "r.evalkit"
    run = start(tmp_path, "run", sums(2000, 1), *flags(server), "--out", out)
    wait_for(lambda: server.stats()["requests"] >= 20)
    (child,) = psutil.Process(run.pid).children()
    child.suspend()
    run.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, said = run.communicate(timeout=30)
    assert run.returncode == 130
    assert time.monotonic() - began < 12  # grace, and a little more
    assert "stopped. The answers so far are in" in said
    assert not child.is_running()
    assert lock_is_free(out)


def test_a_second_interrupt_kills_the_asking_process_and_keeps_what_was_received(sums, tmp_path):
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=60_000))) as server:
        out = tmp_path / "r.evalkit"
        run = start(tmp_path, "run", sums(50, 1), *flags(server), "--out", out)
        wait_for(lambda: server.stats()["requests"] >= 4)
        run.send_signal(signal.SIGINT)
        time.sleep(0.6)
        run.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, said = run.communicate(timeout=30)
    assert run.returncode == 130
    assert time.monotonic() - began < GRACE_S - 0.6  # what the requests in flight would have had
    assert [line.partition(" ")[0] for line in said.splitlines()] == ["stopping:", "cancelling", "stopped."]
    assert lock_is_free(out)


def test_a_key_held_down_is_one_interrupt_and_leaves_no_lock(server, sums, tmp_path):
    code = """
        import os, signal, sys, threading, time, evalkit as ek
        data, url, out = sys.argv[1:]
        ended = threading.Event()
        def hold():
            while not os.path.exists(out): time.sleep(0.005)
            while not ended.is_set():
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.03)
        threading.Thread(target=hold, daemon=True).start()
        try:
            ek.evaluate(data, ek.Endpoint(url, "scripted"), out=out)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            ended.set()
            print(ek.resume(out, watch=lambda progress: progress.done > 3).outcome)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), sums(500, 1), server.base_url, tmp_path / "r.evalkit"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "stopped\n", done.stderr


def test_a_stop_before_the_task_takes_effect(own, server, sums, tmp_path):
    """Earlier answers are scored first, for their scores may end the run: a stop must not wait for that."""
    data, out = sums(120, 1), tmp_path / "r.evalkit"
    settings = (*flags(server), "--out", out, "--until", "ci=0.01", "--scorer", "own:slow", "--concurrency", 8)
    run = start(tmp_path, "run", data, *settings)
    wait_for(lambda: server.stats()["requests"] >= 120)
    run.kill()
    run.communicate()
    scored = scores(out)
    resumed = start(tmp_path, "resume", out, "--scorer", "own:slow")
    wait_for(lambda: scores(out) > scored)
    resumed.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, said = resumed.communicate(timeout=30)
    assert time.monotonic() - began < 15  # scoring takes 24 s
    assert resumed.returncode == 130, said


def test_only_a_watcher_that_returns_exactly_true_stops_a_run(server, sums, tmp_path):
    run = ek.evaluate(
        sums(30, 1), ek.Endpoint(server.base_url, "scripted"), out=tmp_path / "r.evalkit", watch=lambda progress: 1
    )
    assert run.outcome == "done"


# --- processes


def test_a_fork_of_the_users_process_keeps_neither_socket_nor_lock(own, server, sums, tmp_path):
    out = tmp_path / "r.evalkit"
    began = time.monotonic()
    done = evalkit_process(
        "run", sums(10, 1), *flags(server), "--out", out, "--scorer", "own:forked", cwd=tmp_path, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 28  # a socket that a fork holds is given up after 30 s
    assert lock_is_free(out)


def test_the_asking_process_ends_with_its_parent_although_a_fork_lives(server, sums, tmp_path):
    out = tmp_path / "r.evalkit"
    code = """
        import os, sys, time, evalkit as ek
        data, url, out = sys.argv[1:]
        forked = []
        def watch(progress):
            if progress.done > 5 and not forked:
                forked.append(os.fork())
                if not forked[0]:
                    time.sleep(20)
                    os._exit(0)
                print(forked[0], flush=True)
        ek.evaluate(data, ek.Endpoint(url, "scripted"), out=out, watch=watch)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(sums(5000, 1)), server.base_url, str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        fork = psutil.Process(int(parent.stdout.readline()))
        (asking,) = [child for child in psutil.Process(parent.pid).children() if child != fork]
        parent.kill()
        parent.wait()
        try:
            gone, _ = psutil.wait_procs([asking], timeout=3)
            assert gone == [asking]
            assert fork.is_running()
            assert lock_is_free(out)
        finally:
            fork.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the group of processes is stopped as one")
@pytest.mark.parametrize("number", [signal.SIGTSTP, signal.SIGSTOP])
def test_the_asking_process_pauses_and_continues_with_its_parent(server, sums, tmp_path, number):
    out = tmp_path / "r.evalkit"
    # a group of its own, as a shell gives each job: in one without a shell the system drops SIGTSTP
    run = start(tmp_path, "run", sums(2000, 1), *flags(server), "--out", out, process_group=0)
    wait_for(lambda: server.stats()["requests"] >= 20)
    run.send_signal(number)
    wait_for(lambda: psutil.Process(run.pid).status() == psutil.STATUS_STOPPED)
    time.sleep(1)
    before = server.stats()["requests"]
    time.sleep(1)
    assert server.stats()["requests"] == before
    run.send_signal(signal.SIGCONT)
    wait_for(lambda: server.stats()["requests"] > before + 20)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=30)
    assert run.returncode == 130


def test_an_asking_process_that_crashes_before_its_task_is_an_error(server, sums, tmp_path):
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "uvloop.py").write_text("raise ImportError('libuv: cannot open shared object file')\n")
    for conversations in (3, 20_000):
        done = evalkit_process(
            "run", sums(conversations, 1), *flags(server), "--out", tmp_path / f"{conversations}.evalkit",
            "--fail-under", "accuracy>=0.9", "--json", env=searching(modules),
        )  # fmt: skip
        assert done.returncode == json.loads(done.stdout)["exit"] == 2
        assert "the process that sends requests ended unexpectedly" in json.loads(done.stdout)["error"]
        assert "the process that sends requests ended unexpectedly" in done.stderr
    assert server.stats()["requests"] == 0


def test_text_printed_in_the_asking_process_is_not_output_of_the_command(server, sums, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print('hello from a site hook')\n")
    done = evalkit_process(
        "run", sums(), *flags(server), "--out", tmp_path / "r.evalkit", "--json",
        env=searching(tmp_path),
    )  # fmt: skip
    *before, last = done.stdout.splitlines()
    assert json.loads(last)["answered"] == 6
    assert before == ["hello from a site hook"]  # of the command's own process, before it was one


# --- what belongs to a run


def test_resume_needs_the_functions_of_the_run(tmp_path):
    data, out = tmp_path / "d.jsonl", tmp_path / "r.evalkit"
    rows = [{"id": f"c{n}", "turns": [{"user": "go"}], "tools": [TOOL]} for n in range(40)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def f():
        return "ok"

    def other():
        return "something else"

    with serve(Script(answer=Calling(), law=Law(ttft_ms=20))) as server:
        endpoint = ek.Endpoint(server.base_url, "scripted")
        ek.evaluate(
            data, endpoint, out=out, functions={"f": f}, concurrency=2, watch=lambda progress: progress.done >= 10
        )
        for functions, why in (
            (None, "was started with the functions f, and f is not given"),
            ({"f": f, "g": f}, "was started without the functions g"),
            ({"f": other}, "was started with another version of the functions f"),
        ):
            with pytest.raises(RunFileError, match=why):
                ek.resume(out, functions=functions)
        ek.resume(out, functions={"f": f})
    with sqlite3.connect(out) as connection:
        found = connection.execute("SELECT DISTINCT answer, exchange IS NOT NULL FROM turn").fetchall()
    assert found == [("The tool says: ok", 1)]


def test_scorers_are_found_once_for_a_run(server, sums, tmp_path):
    """Two runs at once, with scorers that one factory made: each keeps its own."""

    def make(value):
        def score(text, target):
            return value

        return score

    data, endpoint = sums(40, 1), ek.Endpoint(server.base_url, "scripted")

    def ask(value):
        ek.evaluate(data, endpoint, out=tmp_path / f"{value}.evalkit", scorer=make(value), concurrency=2)

    threads = [threading.Thread(target=ask, args=(value,)) for value in (0.25, 0.75)]
    for thread in threads:
        thread.start()
        time.sleep(0.3)
    for thread in threads:
        thread.join()
    for value in (0.25, 0.75):
        with sqlite3.connect(tmp_path / f"{value}.evalkit") as connection:
            assert connection.execute("SELECT value, count(*) FROM score GROUP BY 1").fetchall() == [(value, 40)]


@pytest.mark.parametrize("scorer", ["own:leaves", "own:wanders", "own:half"])
def test_user_scorers_may_do_odd_things(own, server, sums, tmp_path, scorer):
    done = evalkit_process(
        "run", sums(5, 1), *flags(server), "--out", "r.evalkit", "--scorer", scorer, "--json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    accuracy = json.loads(done.stdout)["accuracy"]
    assert (accuracy["n"], accuracy["unscored"]) == ((0, 5) if scorer == "own:leaves" else (5, 0))
    assert turns(tmp_path / "r.evalkit") == [("answered", 5)]


# --- the dataset


def test_rows_added_during_a_run_are_not_sent(server, sums, tmp_path):
    data, out = sums(40, 1), tmp_path / "r.evalkit"

    def append(progress):
        if progress.done >= 5 and "sum-99" not in data.read_text():
            with data.open("a") as file:
                file.write('{"id": "sum-99", "turns": [{"user": "What is 9 + 9?", "target": 18}]}\n')

    endpoint = ek.Endpoint(server.base_url, "scripted")
    with pytest.raises(DatasetError, match=r"has changed: it had [\d,]+ bytes and now has [\d,]+ since it was checked"):
        ek.evaluate(data, endpoint, out=out, concurrency=2, repeats=2, watch=append)
    with sqlite3.connect(out) as connection:
        assert connection.execute("SELECT count(*) FROM conversation WHERE id = 'sum-99'").fetchone() == (0,)
        assert connection.execute("SELECT outcome FROM session").fetchall() == [("failed",)]


def test_a_dataset_that_is_replaced_between_repeats_ends_the_run(server, sums, tmp_path):
    data, out = sums(20, 1), tmp_path / "r.evalkit"
    before = data.read_text()

    def replace(progress):
        if progress.done >= 5:
            data.write_text(before.replace("What is 7 + 1?", "What is 1 + 7?"))

    with pytest.raises(DatasetError, match="has changed since it was checked"):
        ek.evaluate(data, ek.Endpoint(server.base_url, "scripted"), out=out, concurrency=2, repeats=3, watch=replace)


def test_a_dataset_rewritten_with_the_same_content_is_accepted(server, sums, tmp_path):
    data = sums(20, 1)
    before = data.read_text()

    def write_again(progress):
        (tmp_path / "draft").write_text(before)
        (tmp_path / "draft").replace(data)

    endpoint = ek.Endpoint(server.base_url, "scripted")
    run = ek.evaluate(data, endpoint, out=tmp_path / "r.evalkit", concurrency=2, repeats=2, watch=write_again)
    assert turns(run.path) == [("answered", 40)]


def test_a_json_list_is_read_in_pieces_in_each_repeat(sums, tmp_path):
    rows = [json.loads(line) for line in sums(5_000, 1).read_text().splitlines()]
    path = tmp_path / "d.json"
    path.write_text(json.dumps(rows))
    items = list(Schedule(path, Settings(repeats=3, limit=5)))
    assert [(item.position, item.repeat) for item in items] == [
        (position, repeat) for repeat in (1, 2, 3) for position in range(5)
    ]
    path.write_text(json.dumps(rows)[:-1] + "?")  # the end is not parsed before the first row is there
    assert next(iter(Schedule(path, Settings()))).conversation.id == "sum-0"
