"""``evalkit load`` and ``calibrate`` from the command line."""

import json
import signal
import subprocess
import sys
import time

import pytest
from commands import evalkit, evalkit_process

from evalkit.scripted.server import Arithmetic, Law, Script, serve


@pytest.fixture(scope="module")
def server():
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=5)), process=True) as running:
        yield running


def flags(server):
    return ["--base-url", server.base_url, "--model", "scripted"]


def test_load_prints_plain_tables_in_a_pipe(server, sums, tmp_path):
    data, folder = sums(8, 2), tmp_path / "steps"
    done = evalkit("load", data, *flags(server), "--concurrency", "1,2", "--slo", "ttft=1s", "--out", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert lines[0] == (
        f"sums.jsonl against scripted ({server.base_url}); closed loop, conversations in parallel; SLO ttft ≤ 1000 ms"
    )
    assert lines[1].split("  ")[0] == "concurrency"
    for word in ("turns", "errors", "turns/s", "tokens/s", "goodput/s", "in SLO", "accuracy (95 % interval)"):
        assert word in lines[1]
    assert [line.split()[0] for line in lines[2:4]] == ["1", "2"]
    assert " ".join(lines[4].split()) == "concurrency TTFT p50 p95 p99 TPOT p50 p95 latency p50 p95 p99"
    assert [line.split()[0] for line in lines[5:7]] == ["1", "2"]
    assert lines[7] == "times in ms; – means missing: too little data, or nothing to measure"
    assert any(line.startswith("knee: concurrency ") for line in lines)
    assert lines[-1] == f"run files: {folder}"
    assert max(map(len, lines[1:8])) <= 120


def test_load_json_is_one_object_and_nothing_else(server, sums, tmp_path):
    done = evalkit("load", sums(8, 2), *flags(server), "--concurrency", "2", "--json", "--out", tmp_path / "steps")
    result = json.loads(done.stdout)
    assert (result["by"], result["knee"], result["stopped"], len(result["steps"])) == ("concurrency", None, None, 1)
    assert result["steps"][0]["goodput"] is None
    assert (
        json.loads(evalkit("show", result["steps"][0]["run"], "--json").stdout)["answered"] == 48
    )  # 8 conversations of 2 turns, 3 times


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--concurrency", "1,x"], "--concurrency '1,x': write whole numbers separated by commas, such as "
         "--concurrency 1,2,4,8"),
        (["--rate", "1,"], "--rate '1,': write numbers separated by commas, such as --rate 1,2,4,8"),
        (["--concurrency", "1", "--rate", "1"], "concurrency and rate exclude each other: give one of them"),
        (["--slo", "ttft=200"], "slo ttft is '200': write a number and its unit (us, ms, s, min), such as 200ms or "
         "1.5s"),
    ],
)  # fmt: skip
def test_load_says_what_to_write(sums, tmp_path, given, message):
    # without an endpoint: the error comes before the embedded model is started
    done = evalkit("load", sums(), *given, "--out", tmp_path / "steps")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {message}\n")


def test_load_of_a_dataset_that_is_not_there(tmp_path):
    done = evalkit("load", "missing.jsonl", cwd=tmp_path)
    assert done.returncode == 2
    assert "missing.jsonl" in done.stderr


def test_calibrate_prints_the_bias_and_how_far_to_trust_this_machine():
    done = evalkit_process("calibrate", "--streams", "4,8")
    assert (done.returncode, done.stderr) == (0, "")
    assert "TTFT error p50" in done.stdout
    assert " ms at 4 streams, this machine\n" in done.stdout
    assert "trusted" in done.stdout.splitlines()[-1]


def test_calibrate_json_is_one_object():
    done = evalkit_process("calibrate", "--streams", "2", "--json")
    result = json.loads(done.stdout)
    assert result["law"] == {"ttft_ms": 50, "itl_ms": 10, "tokens": 20}
    assert [level["streams"] for level in result["levels"]] == [2]


@pytest.mark.parametrize("command", ["load", "calibrate"])
def test_help_has_an_example(command):
    shown = evalkit(command, "--help")
    assert shown.returncode == 0
    assert f"example:\n  evalkit {command} " in shown.stdout


def test_a_stop_names_the_folder_of_the_steps_so_far(sums, tmp_path):
    folder = tmp_path / "steps"
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=50))) as slow:
        command = [sys.executable, "-m", "evalkit.cli", "load", sums(20, 2), *flags(slow), "--concurrency", "1,2"]
        with subprocess.Popen(
            [*command, "--out", folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as child:
            until = time.monotonic() + 30
            while slow.stats()["requests"] < 4 and time.monotonic() < until:
                time.sleep(0.05)
            child.send_signal(signal.SIGINT)
            stdout, stderr = child.communicate(timeout=30)
    assert (child.returncode, stdout) == (130, "")
    assert (
        stderr.splitlines(keepends=True)[-1]
        == f"stopped. Each step so far has a run file in {folder}: evalkit show {folder}/…\n"
    )
    assert json.loads(evalkit("show", folder / "concurrency-1.evalkit", "--json").stdout)["answered"] >= 3


@pytest.mark.parametrize("flag", [[], ["--json"]])
def test_an_interrupt_shows_the_steps_that_were_measured(sums, tmp_path, flag):
    folder = tmp_path / "steps"
    with serve(Script(answer=Arithmetic(), law=Law(ttft_ms=20)), process=True) as server:
        command = [sys.executable, "-m", "evalkit.cli", "load", str(sums(20, 1)), *flags(server)]
        how = ["--concurrency", "1,2,4", "--per-step", "40", "--out", folder, *flag]
        with subprocess.Popen(
            [*command, *how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as load:  # fmt: skip
            until = time.monotonic() + 30
            while server.stats()["requests"] < 48 and time.monotonic() < until:  # 42 of them are of the first step
                time.sleep(0.02)
            load.send_signal(signal.SIGINT)
            out, said = load.communicate(timeout=30)
    assert load.returncode == 130
    assert f"Each step so far has a run file in {folder}: " in said
    if flag:
        told = json.loads(out)
        assert ([step["concurrency"] for step in told["steps"]], told["partial"]["concurrency"]) == ([1], 2)
        assert told["stopped"].startswith("by an interrupt at concurrency 2: ")
    else:
        assert "stopped: by an interrupt at concurrency 2: that step was cut short and is not measured" in out
        assert "knee: unknown, the test was cut short" in out


def test_an_open_loop_shows_the_realised_rate(server, sums, tmp_path):
    how = ["--rate", "100", "--arrivals", "poisson", "--seed", "5", "--per-step", "40", "--out", tmp_path / "steps"]
    done = evalkit("load", sums(20, 1), *flags(server), *how)
    lines = done.stdout.splitlines()
    assert "open loop, poisson arrivals, conversations per second (seed 5)" in lines[0]
    assert lines[1].split()[:3] == ["rate", "realised", "turns"]
