"""Hostile requests as cURL commands: run by three shells, and read back.

    python tests/benchmarks/bench_curl.py [N]

Prints how many of N requests (default: 1,000) arrive byte for byte from each shell, how many are the same request when
their command is read by ``from_curl``, and how long one takes. No figure depends on the machine but the times.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from hostile_requests import hostile_request
from recording_server import recording

from evalkit.replaying.pasted_curl import from_curl

SHELLS = ("sh", "bash", "dash")
AT_A_TIME = 50


def main() -> int:
    """Run all; the exit code is 1 unless every request is the same everywhere."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    wrong = 0
    with recording() as server, tempfile.TemporaryDirectory() as folder:
        requests = [hostile_request(f"{server.base_url}/chat/completions", seed) for seed in range(count)]
        started = time.perf_counter()
        commands = [request.curl() for request in requests]
        written_s = time.perf_counter() - started
        started = time.perf_counter()
        same = sum(from_curl(command) == request for command, request in zip(commands, requests, strict=True))
        read_s = time.perf_counter() - started
        wrong += count - same
        megabytes = sum(map(len, commands)) / 1e6
        print(f"{count:,} requests, {megabytes:.1f} MB of commands; printed in {written_s:.2f} s")
        print(f"read back: {same:,} of {count:,} the same request, in {read_s:.2f} s")
        for shell in SHELLS:
            server.received.clear()
            started = time.perf_counter()
            for first in range(0, count, AT_A_TIME):
                script = "\n".join(commands[first : first + AT_A_TIME])
                environment = {**os.environ, "THE_KEY": "key-of-the-benchmark"}
                subprocess.run(
                    [shell], input=script.encode(), capture_output=True, cwd=folder, env=environment, check=True
                )
            pairs = zip(server.received, requests, strict=False)
            same = sum(received.body == request.body for received, request in pairs)
            wrong += count - same
            each = (time.perf_counter() - started) / count * 1e3
            print(f"{shell}: {same:,} of {count:,} bodies arrived byte for byte, {each:.0f} ms each")
        left = list(Path(folder).iterdir())
        print(f"files that a command left behind: {len(left)}")
    return 1 if wrong or left else 0


if __name__ == "__main__":
    sys.exit(main())
