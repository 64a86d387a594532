"""Standard output and standard error whose readers may go."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def enduring() -> Iterator[None]:
    """Let a command end as it would have when the reader of its output goes (``evalkit show … | head``).

    What nobody reads is dropped. So no other broken pipe is taken for this one, and the exit code stays true.
    """
    _open_all()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _enduring(sys.stdout, 1), _enduring(sys.stderr, 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _open_all() -> None:
    """See that 0, 1 and 2 are taken: a run file with such a number would get what is printed."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            os.set_inheritable(descriptor, True)


class _Pipe(io.FileIO):
    """A descriptor that takes everything, also when nobody reads it any more."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            return memoryview(data).nbytes


def _enduring(stream: Any, descriptor: int) -> Any:
    if stream is None:  # it was closed
        return io.TextIOWrapper(io.BufferedWriter(_Pipe(descriptor, "wb", closefd=False)), "utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    try:
        raw = _Pipe(stream.fileno(), "wb", closefd=False)
    except (OSError, ValueError):  # it is closed, or a test's
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(raw), stream.encoding, stream.errors, "", stream.line_buffering, stream.write_through
    )
