"""Commands as a user types them: real processes."""

import os
import subprocess
import sys


def evalkit(*arguments, env=None, cwd=None, timeout=60):
    command = [sys.executable, "-m", "evalkit.cli", *map(str, arguments)]
    environment = {**os.environ, **(env or {})}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=timeout, check=False
    )


def flags(server):
    return ["--base-url", server.base_url, "--model", "scripted"]
