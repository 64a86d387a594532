"""Starts the asking process, and ends it."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from types import TracebackType
from typing import Self

from evalkit.asking import TASK_LENGTH, Task

_LAST_WORDS_S = 30.0  # a little more than the asking process takes to end when it is told to


class Launched:
    """An asking process on its way, and the line to it.

    It starts while its parent sees to dataset and run file, and waits for its task. When the block ends, or its parent,
    so does it.

    Attributes
    ----------
    line : socket
    code : int or None
        Its exit code, once the line is closed.
    """

    def __init__(self) -> None:
        self.line, theirs = socket.socketpair()
        self.code: int | None = None
        code = "from evalkit.asking import main; main()"
        with theirs:
            self._child = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-c", code, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,  # an interrupt from the terminal is ours to handle
            )

    def give(self, task: Task) -> None:
        """Hand over what is to be asked."""
        packed = pickle.dumps(task)
        self.line.sendall(len(packed).to_bytes(TASK_LENGTH) + packed)

    def close(self) -> None:
        """Close the line, which ends the process if nothing else has, and wait for it."""
        self.line.close()
        try:
            self.code = self._child.wait(_LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self.code = self._child.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
