"""Standard output and standard error whose readers may exit early."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def tolerate_closed_readers() -> Iterator[None]:
    """Let a command end normally when the reader of its output exits early (``evalkit show … | head``).

    Unread output is dropped. Other broken pipes still raise, and the exit code stays correct.
    """
    _open_all()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = ours = _tolerant(sys.stdout, 1), _tolerant(sys.stderr, 2)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream, was in zip(ours, before, strict=True):
            stream.flush()
            if stream is not was:
                stream.detach()  # otherwise it would close the stream that others write to


def _open_all() -> None:
    """Make sure that 0, 1 and 2 are open: a run file with one of these numbers would receive printed text."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # uses the lowest free number
            os.set_inheritable(descriptor, True)


class _Text(io.TextIOWrapper):
    """A text stream that drops its output once the reader has gone."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            self._drop()

    def _drop(self) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)


def _tolerant(stream: Any, descriptor: int) -> Any:
    if stream is None:  # closed
        return _Text(io.BufferedWriter(io.FileIO(descriptor, "wb", closefd=False)), "utf-8")
    try:
        stream.fileno()
    except (OSError, ValueError):  # not a stream of the system
        return stream
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    return _Text(stream.buffer, stream.encoding, stream.errors, "\n", stream.line_buffering, stream.write_through)
