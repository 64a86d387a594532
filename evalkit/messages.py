"""What the asking process and its parent tell each other: messages, each a line of JSON.

A message is a list whose first item is its name. The same lines are the spool, which may outlive both.
"""

from __future__ import annotations

from typing import Any

import orjson

# from the asking process
BEGUN = "begun"  # (stamp, wall clock): the first request is about to go
TURNS = "turns"  # ([(row of the conversation if it is its first, whether it is its last, row, rows of attempts), …])
CALL = "call"  # (number, function, arguments)
END = "end"  # (outcome, trust, error name or None, error text, failures)
# to it
COMMITTED = "committed"  # (turns committed so far)
STOP = "stop"  # (outcome): ask nothing new; "stopped": be quick about it
RESULT = "result"  # (number, text)


class FrameReader:
    """Cuts what was read into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[list[Any]]:
        """The messages that end in these bytes."""
        *lines, self._rest = (self._rest + data if self._rest else data).split(b"\n")
        return [orjson.loads(line) for line in lines]


def frame(*message: Any) -> bytes:
    """One message as bytes."""
    return orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE)
