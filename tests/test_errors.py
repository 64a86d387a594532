"""Where evalkit does not run it says so in one sentence."""

import subprocess
import sys

import pytest

WITHOUT_LOCKS = "import sys; sys.modules['fcntl'] = None; sys.platform = 'win32'; "
SENTENCE = "evalkit runs on Linux, macOS and WSL, and this is win32: on Windows install and start it in WSL"


def python(code):
    return subprocess.run([sys.executable, "-c", WITHOUT_LOCKS + code], capture_output=True, text=True)


@pytest.mark.parametrize("arguments", [["demo"], ["run", "d.jsonl"], ["show", "r.evalkit"], ["--help"], ["nonsense"]])
def test_a_command_says_where_evalkit_runs(arguments):
    done = python(f"from evalkit.cli.main import main; sys.exit(main({arguments}))")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {SENTENCE}\n")


@pytest.mark.parametrize("name", ["evaluate", "Endpoint", "connect", "Run", "compare"])
def test_the_library_says_where_evalkit_runs(name):
    done = python(f"import evalkit as ek\ntry: ek.{name}\nexcept ek.InputError as error: print(error)")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{SENTENCE}\n", "")
    done = python(f"from evalkit import {name}")
    assert done.stderr.endswith(f"WrongPlatform: {SENTENCE}\n")
