"""Run the notebooks against the scripted TaskingAI.

    python tests/notebooks/run_at_taskingai.py [notebooks/03*.ipynb …]

That service ignores temperature and token limits, and sends neither usage nor finish reason in its streams. Every cell
must run, every assert must hold, and every output that cannot change must be as committed. Takes a few minutes.
"""

import os
import subprocess
import sys
from pathlib import Path

from evalkit.scripted.script import Law, Script
from evalkit.scripted.server import serve

ROOT = Path(__file__).parents[2]


def answer(body):
    """A talkative teacher, right about half of the time."""
    question = str(body["messages"][-1].get("content"))
    return f"Let us think step by step. You asked: {question[:60]} The answer is {len(question) % 7 + 30}."


def main(paths):
    script = Script(profile="taskingai", law=Law(ttft_ms=120, itl_ms=10), answer=answer, key="tk-of-this-check")
    with serve(script) as server:
        environment = {
            **os.environ,
            "SERVICE_HOST": server.base_url.removesuffix("/v1"),
            "TASKINGAI_API_KEY": "tk-of-this-check",
            "ASSISTANT_ID": server.model,
        }
        command = [sys.executable, "-m", "pytest", "-q", "--nbval", "--nbval-cell-timeout=240", "--timeout=600"]
        command += ["-p", "no:cacheprovider", *(paths or sorted(map(str, (ROOT / "notebooks").glob("*.ipynb"))))]
        return subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
