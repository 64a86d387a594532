"""``evalkit serve`` in a process of its own."""

import json
import os
import signal
import subprocess
import sys

KEY = "tkKNOWN1KNOWNKEYforTheTestsOnly42"


def test_serve_json_is_one_line_without_the_key_of_a_named_variable():
    command = [sys.executable, "-m", "evalkit.cli", "serve", "--json", "--key", "MY_KEY"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "MY_KEY": KEY}) as child:
        told = json.loads(child.stdout.readline())
        child.send_signal(signal.SIGINT)
        rest, _ = child.communicate(timeout=30)
    assert (child.returncode, rest) == (130, "")
    assert told["base_url"].startswith("http://127.0.0.1:")
    assert (told["key_env"], told["api_key"]) == ("MY_KEY", None)
