"""Standard output and standard error whose readers may go."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def tolerate_closed_readers() -> Iterator[None]:
    """Let a command end as it would have when the reader of its output goes (``evalkit show … | head``).

    What nobody reads is dropped. So no other broken pipe is taken for this one, and the exit code stays true.
    """
    _open_all()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = ours = _enduring(sys.stdout, 1), _enduring(sys.stderr, 2)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream, was in zip(ours, before, strict=True):
            stream.flush()
            if stream is not was:
                stream.detach()  # it would close what others write to


def _open_all() -> None:
    """See that 0, 1 and 2 are taken: a run file with such a number would get what is printed."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            os.set_inheritable(descriptor, True)


class _Text(io.TextIOWrapper):
    """A text stream that takes everything, also when nobody reads it any more."""

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
        nobody = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nobody, self.fileno())
        os.close(nobody)


def _enduring(stream: Any, descriptor: int) -> Any:
    if stream is None:  # it was closed
        return _Text(io.BufferedWriter(io.FileIO(descriptor, "wb", closefd=False)), "utf-8")
    try:
        stream.fileno()
    except (OSError, ValueError):  # it is none of the system's
        return stream
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    return _Text(stream.buffer, stream.encoding, stream.errors, "\n", stream.line_buffering, stream.write_through)
