"""A run over HTTP whose conversations have every kind of turn."""

import json
import os
import subprocess
import sys

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


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "talks.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def server():
    with serve(Script(answer=Arithmetic()), process=True) as running:
        yield running


@pytest.fixture(scope="session")
def run(server, data, tmp_path_factory):
    """Two repeats of the dataset."""
    endpoint = ek.Endpoint(server.base_url, "scripted", params={"temperature": 0, "max_tokens": 64})
    return ek.evaluate(data, endpoint, repeats=2, out=tmp_path_factory.mktemp("runs") / "run.evalkit")


@pytest.fixture(scope="session")
def golden(server, data, tmp_path_factory):
    endpoint = ek.Endpoint(server.base_url, "scripted")
    return ek.evaluate(data, endpoint, history="golden", out=tmp_path_factory.mktemp("runs") / "golden.evalkit")


@pytest.fixture(scope="session")
def tools_python(pytestconfig, tmp_path_factory):
    """Runs code in an environment that has inspect and OpenTelemetry; it stays in pytest's cache for the next run."""
    cache = getattr(pytestconfig, "cache", None)
    folder = (cache.mkdir("exporting") if cache else tmp_path_factory.mktemp("exporting")) / "venv"
    python = folder / "bin" / "python"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(code, *arguments):
        command = [python, "-c", code, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)

    needed = "import inspect_ai, opentelemetry.proto"
    if not python.exists() or run(needed).returncode:
        install = [
            python,
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "inspect_ai",
            "opentelemetry-proto",
        ]
        try:
            subprocess.run(
                [sys.executable, "-m", "venv", "--clear", folder], check=True, capture_output=True, timeout=60
            )
            subprocess.run(install, check=True, capture_output=True, timeout=200)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"inspect_ai and opentelemetry-proto cannot be installed here: {type(error).__name__}")
    return run
