"""The command ``evalkit``, as a user types it: in this process, or in one of its own."""

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import warnings
from unittest import mock

from evalkit.cli.main import main

# printed every ten seconds, so only where the machine is busy
_PROGRESS = re.compile(r"^\d[\d,]*/\d[\d,]* [a-z ]+ · \d.*\n", re.MULTILINE)


def evalkit(*arguments, env=None, cwd=None):
    """The command in this process, which starts in no time: exit code and both output streams, without progress."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd or "."),
        mock.patch.dict(os.environ, env or {}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")  # as a user has it
        try:
            code = main(list(map(str, arguments)))
        except SystemExit as error:  # argparse: wrong usage, help
            code = error.code or 0
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), _PROGRESS.sub("", err.getvalue()))


def evalkit_process(*arguments, env=None, cwd=None, timeout=240):
    """The command in a process of its own: for what a process has, such as modules, signals and descriptors."""
    command = [sys.executable, "-m", "evalkit.cli", *map(str, arguments)]
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=timeout, check=False
    )
    done.stderr = _PROGRESS.sub("", done.stderr)
    return done


def flags(server):
    return ["--base-url", server.base_url, "--model", "scripted"]
