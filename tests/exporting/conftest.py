"""A run over HTTP whose conversations have every kind of turn."""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time

import pytest

import evalkit as ek
from evalkit.scripted.server import Arithmetic, Script, serve

ROWS = [
    {"id": "long", "system": "Be brief.", "turns": [
        {"user": "12 + 23?", "target": 35, "assistant": "35"},
        {"user": "and 12 * 23?", "target": 276, "assistant": "276"},
        {"user": "and 1 + 1?", "target": 3, "assistant": "3"}, {"user": "and 2 + 2?", "target": 4},
    ]},
    {"id": "right", "turns": [{"user": "2 + 3?", "target": 5}], "tags": ["sum"]},
    {"id": "wrong", "turns": [{"user": "2 + 3?", "target": 6}]},
    {"id": "late", "turns": [{"user": "Hello", "assistant": "Hi"}, {"user": "7 + 8?", "target": 15}]},
    {"id": "trailing", "turns": [{"user": "1 + 2?", "target": 3, "assistant": "3"}, {"user": "Thanks"}]},
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "talks.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def server():
    with serve(Script(answer=Arithmetic()), process=True) as running:
        yield running


@pytest.fixture(scope="module")
def run(server, data, tmp_path_factory):
    """Two repeats of the dataset."""
    endpoint = ek.Endpoint(server.base_url, "scripted", params={"temperature": 0, "max_tokens": 64})
    return ek.evaluate(data, endpoint, repeats=2, out=tmp_path_factory.mktemp("runs") / "run.evalkit")


@pytest.fixture(scope="module")
def golden(server, data, tmp_path_factory):
    endpoint = ek.Endpoint(server.base_url, "scripted")
    return ek.evaluate(data, endpoint, history="golden", out=tmp_path_factory.mktemp("runs") / "golden.evalkit")


TOOLS = {"inspect_ai": "0.3.285", "opentelemetry-proto": "1.45.2"}
HAS_TOOLS = f"""
from importlib.metadata import version
import inspect_ai, opentelemetry.proto
assert all(version(name) == wanted for name, wanted in {TOOLS}.items())
"""


@contextlib.contextmanager
def locked(folder):
    """One process at a time."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed
        yield


@pytest.fixture(scope="session")
def tools_python(pytestconfig, tmp_path_factory):
    """Runs code in an environment that has inspect and OpenTelemetry; it stays in pytest's cache for the next run.

    Workers share it: the first one makes it, and if that fails, those that waited for it do not try again.
    """
    cache = getattr(pytestconfig, "cache", None)
    folder = cache.mkdir("exporting") if cache else tmp_path_factory.mktemp("exporting")
    python, failed = folder / "venv" / "bin" / "python", folder / "failed"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(code, *arguments):
        command = [python, "-c", code, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)

    begun = time.time()
    with locked(folder):
        if not python.exists() or run(HAS_TOOLS).returncode:
            if failed.exists() and failed.stat().st_mtime >= begun:
                pytest.skip("inspect_ai and opentelemetry-proto could not be installed by another worker")
            wanted = [f"{name}=={version}" for name, version in TOOLS.items()]
            install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *wanted]
            make = [sys.executable, "-m", "venv", "--clear", folder / "venv"]
            try:
                subprocess.run(make, check=True, capture_output=True, timeout=60)
                subprocess.run(install, check=True, capture_output=True, timeout=200)
            except (OSError, subprocess.SubprocessError) as error:
                failed.touch()
                pytest.skip(f"inspect_ai and opentelemetry-proto cannot be installed here: {type(error).__name__}")
    return run
