"""``evalkit view`` in a process of its own: it prints its address, serves until a signal, opens a browser if asked."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from commands import evalkit
from runfiles import S, T, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    write(folder / "r.evalkit", [S([T("a", 1, score=1.0)])])
    return folder


def fetched(address):
    with urllib.request.urlopen(address, timeout=20) as answer:
        return answer.read()


def test_it_prints_its_address_and_serves_until_interrupted(folder):
    command = [sys.executable, "-m", "evalkit.cli", "view", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        address = child.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        assert b"<title>evalkit: runs</title>" in fetched(address)
        assert json.loads(fetched(f"{address}files"))["files"] == ["r.evalkit"]
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    assert (child.returncode, out) == (130, "")
    assert err.splitlines() == [f"the runs of {folder}, until interrupted (Ctrl-C)", "stopped"]
    with pytest.raises(urllib.error.URLError):
        fetched(address)


def test_json_is_one_object_and_the_browser_is_opened_only_if_asked(folder, tmp_path):
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {opened}\n')
    browser.chmod(0o755)
    env = {**os.environ, "BROWSER": str(browser)}
    for flags in ([], ["--open"]):
        command = [sys.executable, "-m", "evalkit.cli", "view", str(folder), "--json", *flags]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as child:
            told = json.loads(child.stdout.readline())
            fetched(told["address"])
            while flags and not opened.exists():
                assert child.poll() is None
            child.send_signal(signal.SIGTERM)
            assert child.communicate(timeout=30) == ("", "stopped\n")
        assert child.returncode == 143
        assert told.keys() == {"folder", "address"}
        assert opened.exists() == bool(flags)
    assert opened.read_text().strip() == told["address"]


def test_what_cannot_be_served_is_refused(folder, tmp_path):
    for arguments in ((tmp_path / "nowhere",), (folder / "r.evalkit",), (folder, "--port", "99999")):
        done = evalkit("view", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ")
        assert ".." not in done.stderr
