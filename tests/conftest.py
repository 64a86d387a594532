"""Fixtures that several test modules share."""

import json
import os
import sys

import asking_processes
import pytest
from hypothesis import settings

from evalkit.engine import child_process

settings.register_profile("few", max_examples=15)

# jsonschema imports it where it is there, for two formats that no test checks: it builds 38 parsers, which takes 2.5 s
sys.modules["rfc3987_syntax"] = None

ENDPOINT_VARIABLES = (
    "SERVICE_HOST", "TASKINGAI_API_KEY", "ASSISTANT_ID", "OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL",
)  # fmt: skip


# what modules share that takes long to start
SLOW_TO_START = {"address", "browser", "chromium", "embedded", "variables"}


def pytest_collection_modifyitems(items):
    """Put modules with a browser or a model first: one worker runs them, and others take the rest of its tests."""
    slow = {item.path for item in items if SLOW_TO_START.intersection(item.fixturenames)}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True, scope="session")
def _only_the_tests_own_endpoints():
    """A developer's own variables must not send a test to a service that costs money, nor their prices bend one."""
    kept = {name: os.environ.pop(name) for name in (*ENDPOINT_VARIABLES, "EVALKIT_PRICES") if name in os.environ}
    os.environ["EVALKIT_PRICES"] = os.devnull
    yield
    del os.environ["EVALKIT_PRICES"]
    os.environ.update(kept)


@pytest.fixture(autouse=True, scope="session")
def _forked_asking_processes(_only_the_tests_own_endpoints):
    """The runs of all tests would import the same modules a thousand times."""
    with asking_processes.forked():
        yield


@pytest.fixture
def real_asking_process(monkeypatch):
    """The asking process is started as users start it."""
    monkeypatch.setattr(child_process, "_start", asking_processes.REAL_START)


@pytest.fixture(scope="session")
def embedded():
    """The embedded endpoint, one for the whole session."""
    from evalkit import local_endpoint

    with local_endpoint(params={"temperature": 0, "max_tokens": 32}) as endpoint:
        yield endpoint


@pytest.fixture
def sums(tmp_path):
    """Make a dataset of sums: ``sums(conversations, turns)`` gives its path."""

    def make(conversations=3, turns=2, name="sums.jsonl"):
        path = tmp_path / name
        rows = [
            {
                "id": f"sum-{c}",
                "turns": [
                    {"user": f"What is {c} + {t}?", "target": c + t, "assistant": f"{c} + {t} is {c + t}."}
                    for t in range(1, turns + 1)
                ],
            }
            for c in range(conversations)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return make


@pytest.fixture(autouse=True)
def _no_figure_of_another_test():
    """A figure that a test left open in pyplot is closed after it: the next test may count the open ones."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")
